"""An `EventPort` before the intake that moves large data of messages to the spool, and hands on what is left of them.

A message is in memory as a whole anyway. What it becomes is the same as over HTTP: an event with an artifact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from edgeagent.errors import MessageError, OutboxError, RecordTooLarge
from edgeagent.events.artifact import OCTETS, Artifact
from edgeagent.events.event import Draft
from edgeagent.ports.device import EventPort, RefusedEvent
from edgeagent.ports.large import LargeDataPort


class SpooledEvents:
    """Hands everything on to another port, large data by the spool. Owns nothing for longer than a call."""

    def __init__(self, events: EventPort, large: LargeDataPort) -> None:
        self._events = events
        self._large = large

    async def take(self, drafts: Sequence[Draft]) -> Mapping[int, RefusedEvent]:
        """Take events; see `EventPort`. Those behind one that must wait for room wait too, to stay in order."""
        if all(len(draft.data) <= self._large.inline_bytes for draft in drafts):
            return await self._events.take(drafts)
        offered: list[Draft] = []
        refused: dict[int, RefusedEvent] = {}
        held: list[Artifact] = []
        try:
            for place, draft in enumerate(drafts):
                offered.append(draft)
                if len(draft.data) <= self._large.inline_bytes:
                    continue
                try:
                    held.append(await self._spooled(draft))
                except RecordTooLarge:
                    continue  # the intake refuses it, and counts it
                except OutboxError as exc:
                    offered.pop()
                    refused = {later: RefusedEvent(exc) for later in range(place, len(drafts))}
                    break
                offered[-1] = _with(draft, held[-1])
            refused |= await self._events.take(offered) if offered else {}
        finally:
            for artifact in held:
                self._large.let_go(artifact)
        for draft, taken in zip(drafts, offered, strict=False):
            if taken is not draft:
                draft.id, draft.time, draft.repeated = taken.id, taken.time, taken.repeated
                draft.time_quality = taken.time_quality
        return refused

    def refuse(self, error: MessageError) -> None:
        """Count a message that cannot be made into a draft; see `EventPort`."""
        self._events.refuse(error)

    def complete(self, session: str, packet_id: int, done: Callable[[], None]) -> bool:
        """Forget a delivery at QoS 2; see `EventPort`."""
        return self._events.complete(session, packet_id, done)

    def end_session(self, session: str) -> None:
        """Forget the deliveries of a session; see `EventPort`."""
        self._events.end_session(session)

    async def _spooled(self, draft: Draft) -> Artifact:
        """Write the data of an event to the spool, and hold it there.

        Raises:
            OutboxError: it is not taken, or not now.
        """
        arrival = self._large.begin(len(draft.data))
        try:
            arrival.write(draft.data)
            return await arrival.finish(draft.datacontenttype or OCTETS)
        finally:
            arrival.abandon()  # does nothing if it is finished


def _with(draft: Draft, artifact: Artifact) -> Draft:
    return msgspec.structs.replace(
        draft,
        data=artifact.claim(),
        is_json=True,
        value=msgspec.UNSET,
        artifact=artifact,
        datacontenttype=artifact.content_type,
    )
