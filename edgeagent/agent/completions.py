"""The end of MQTT deliveries at QoS 2 that brought events: PUBREL is answered when the disk knows of it.

The states of a packet id at QoS 2, of one session, as a crash leaves them (docs/devices.md):

* free: no event of it is known. A message with it is a new event.
* received: its event is synced with session, packet id and digest. The same bytes again, with DUP or without, are that
  event; other bytes are another one. PUBREC goes out in this state only.
* completed: synced too, in the next commit of the outbox. PUBCOMP goes out in this state only, so that no client uses
  the packet id again before. From then on it is free, and the same bytes are a new event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from edgeagent.events.dedupe import Deliveries
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import NORMAL, Completed, Group

# What the outbox refused is offered again after this time.
_RETRY_S = 1.0

_Place = tuple[str, int]  # session and packet id


class Completions:
    """Owns the deliveries that are complete and of which the disk does not know it yet.

    Those of one turn of the loop are written together. Promises to call `done` for each `complete` that returned True
    when the disk knows: what the outbox refuses is offered again. Must never call it before, since the client may then
    use the packet id for another message.
    """

    def __init__(self, deliveries: Deliveries, outbox: Outbox) -> None:
        """`deliveries`: those of which events are known."""
        self._loop = asyncio.get_running_loop()
        self._deliveries = deliveries
        self._outbox = outbox
        self._waiting: dict[_Place, list[Callable[[], None]]] = {}  # those that the disk does not know yet
        self._new: list[_Place] = []  # those of them that are not on their way to it
        self._is_due = False

    def complete(self, session: str, packet_id: int, done: Callable[[], None]) -> bool:
        """See `EventPort.complete`."""
        place = session, packet_id
        if (waiting := self._waiting.get(place)) is not None:  # the client says so again, on its next connection
            waiting.append(done)
            return True
        if not self._deliveries.complete(session, packet_id):
            return False
        self._waiting[place] = [done]
        self._new.append(place)
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._submit)
        return True

    def _submit(self) -> None:
        self._is_due = False
        places, self._new = self._new, []
        packet_ids: dict[str, list[int]] = {}
        for session, packet_id in places:
            packet_ids.setdefault(session, []).append(packet_id)
        completed = [Completed(session, tuple(ids)) for session, ids in packet_ids.items()]
        self._outbox.submit(Group(NORMAL, (), (), completed=completed), partial(self._decided, places))

    def _decided(self, places: Sequence[_Place], outcome: int | BaseException) -> None:
        if not isinstance(outcome, BaseException):
            for place in places:
                for done in self._waiting.pop(place):
                    done()
            return
        self._new += places
        if not self._is_due:
            self._is_due = True
            self._loop.call_later(_RETRY_S, self._submit)
