"""Messages that bring events, of all devices: in the order in which they came, one commit for many of them.

A message is answered, and passed on to its subscribers, when its event is synced or can be none. While the outbox
refuses, what it refused is held and offered again, and the devices that sent it are not read; those that send no events
notice nothing. What is held of all devices together is bounded: beyond that no device is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from edgeagent.common.foreign import shown
from edgeagent.common.trace_context import read_traceparent
from edgeagent.errors import EdgeAgentError, MessageError
from edgeagent.events.dedupe import EXACTLY_ONCE
from edgeagent.events.event import Draft, named
from edgeagent.listener.client import ConnectedDevice
from edgeagent.listener.framing import MOST_QOS
from edgeagent.listener.packets import Publish
from edgeagent.ports.device import EventPort
from edgeagent.ports.event_topics import EventRoute
from edgeagent.ports.link import TRACEPARENT

# While the outbox refuses, the held messages are offered again this often.
_HELD_RETRY_S = 1.0
# One group commit's worth: enough to fill a sync, little enough to answer soon.
_BATCH_MESSAGES = 128
_BATCH_BYTES = 1 << 20
# Under load, which is when the last commit had so many, a commit waits for what so many turns of the loop bring, as in
# `agent.local` (`benchmarks path`).
_LOADED_MESSAGES = 8
_PATIENT_TURNS = 4
# So many messages of one device wait: then it is not read until half of them are taken, and others have their turns.
_MOST_OF_ONE = 256
# What is here of all devices; what one read of one socket brings may come on top.
MAX_INBOX_BYTES: Final = 16 << 20


class EventMessage(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A message that brings an event. `client`: None for a will. `route`: what becomes of its topic's messages.

    `size_bytes`: what the message takes (`size_of`).
    """

    client: ConnectedDevice | None
    publish: Publish
    route: EventRoute
    size_bytes: int


class InboxCounts(msgspec.Struct):
    """Since the agent started, in messages that should bring an event. `refused`: for good."""

    events: int = 0
    redelivered: int = 0
    refused: int = 0


class DeviceInbox:
    """Owns the messages that bring events and are not taken yet; `run` must be running.

    Promises to hand a message to `taken`, which answers it, only when its event is synced or it can be none; and the
    events of one device in the order in which they came. Must never let a device be read while more than
    `max_bytes` wait.

    Attributes:
        held: why messages wait, empty while they do not.
        used_bytes: what is here takes, about.
        is_full: no device is to be read.
        is_closing: none is read any more.
    """

    def __init__(
        self,
        events: EventPort,
        taken: Callable[[Sequence[EventMessage]], None],
        filled: Callable[[], None],
        *,
        max_bytes: int = MAX_INBOX_BYTES,
    ) -> None:
        """`taken`: is told of messages that are safe, in order. `filled`: is told when `is_full` has changed."""
        self.counts = InboxCounts()
        self.held = ""
        self.used_bytes = 0
        self.is_full = False
        self.is_closing = False
        self._events = events
        self._taken = taken
        self._filled = filled
        self._max_bytes = max_bytes
        self._new: deque[EventMessage] = deque()
        self._held: deque[EventMessage] = deque()
        self._offered = 0  # under way to the outbox
        self._ended: list[str] = []
        self._work = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()

    def __len__(self) -> int:
        """How many messages are here."""
        return len(self._new) + len(self._held) + self._offered

    def put(self, messages: Sequence[EventMessage]) -> None:
        """Take messages of one device in, at least one."""
        client = messages[0].client
        if client is not None:
            client.pending += len(messages)
            if client.pending >= _MOST_OF_ONE and not client.is_ahead:
                client.is_ahead = True
                self.settle(client)
        if not self._new:  # else it is known that there is work
            self._quiet.clear()
            self._work.set()
        self._new.extend(messages)
        self._account(sum([message.size_bytes for message in messages]))

    def settle(self, client: ConnectedDevice) -> None:
        """Read a device, or read it no more, as it is by now."""
        client.hold(held=self.is_full or self.is_closing or client.held > 0 or client.is_ahead)

    def end_sessions(self, tokens: Iterable[str]) -> None:
        """These sessions ended: their packet ids mean nothing any more."""
        self._ended += tokens
        self._work.set()

    async def until_quiet(self) -> None:
        """Return when all that came is taken, but for what is held."""
        await self._quiet.wait()

    async def run(self) -> None:
        """Take messages up until cancelled."""
        loop = asyncio.get_running_loop()
        retry_at = loop.time()
        count = 0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(retry_at if self._held else None):
                    await self._work.wait()
            self._work.clear()
            self._forget_sessions()
            if self._held and loop.time() >= retry_at:
                await self._offer_held()
                retry_at = loop.time() + _HELD_RETRY_S
            while self._new:
                if count >= _LOADED_MESSAGES:
                    await self._let_come()
                was_held = bool(self._held)
                batch, drafts = self._batch()
                count = len(batch)
                self._held.extend(await self._offer(batch, drafts))
                if self._held and not was_held:
                    retry_at = loop.time() + _HELD_RETRY_S
                if self._held and loop.time() >= retry_at:
                    break
            if not self._new:
                self._quiet.set()
            else:
                self._work.set()

    def _forget_sessions(self) -> None:
        """While nothing is under way, so that no message of them comes after it."""
        for token in self._ended:
            self._events.end_session(token)
        self._ended.clear()

    async def _let_come(self) -> None:
        """Let more messages come in before the next commit, since each commit costs as much as several events."""
        for _ in range(_PATIENT_TURNS):
            if len(self._new) < _BATCH_MESSAGES:
                await asyncio.sleep(0)

    def _batch(self) -> tuple[list[EventMessage], list[Draft | None]]:
        """The next messages with their drafts; those behind a held one of the same device are held too."""
        new, batch, drafts, size = self._new, list[EventMessage](), list[Draft | None](), 0
        while new and len(batch) < _BATCH_MESSAGES and size < _BATCH_BYTES:
            message = new.popleft()
            client = message.client
            if client is not None and client.held:
                client.held += 1
                self._held.append(message)
                continue
            draft = self._draft(message)
            if draft is not None and message.publish.duplicate and _has(drafts, draft):
                new.appendleft(message)
                break  # the intake knows it when the first one is stored
            batch.append(message)
            drafts.append(draft)
            size += message.size_bytes
        return batch, drafts

    async def _offer_held(self) -> None:
        """Offer what is held, until something is refused again."""
        while self._held:
            batch, drafts = list[EventMessage](), list[Draft | None]()
            while self._held and len(batch) < _BATCH_MESSAGES:
                draft = self._draft(self._held[0])
                if draft is not None and self._held[0].publish.duplicate and _has(drafts, draft):
                    break
                message = self._held.popleft()
                if message.client is not None:
                    message.client.held -= 1
                batch.append(message)
                drafts.append(draft)
            if later := await self._offer(batch, drafts):
                self._held.extendleft(reversed(later))
                return

    async def _offer(self, batch: Sequence[EventMessage], drafts: Sequence[Draft | None]) -> list[EventMessage]:
        """Offer messages to the intake. Returns what it refuses for now, which is to be held."""
        offered = [draft for draft in drafts if draft is not None]
        self._offered = len(batch)
        refused = await self._events.take(offered) if offered else {}
        self._offered = 0
        if not refused:
            self.counts.redelivered += sum([draft.repeated for draft in offered])
            self._done(batch)
            if self.held:
                self._go_on()
            return []
        done, later, place = list[EventMessage](), list[EventMessage](), -1
        for message, draft in zip(batch, drafts, strict=True):
            place += draft is not None
            refusal = refused.get(place) if draft is not None else None
            if refusal is not None and refusal.later:
                self._hold(refusal.error)
                later.append(message)
                continue
            if refusal is not None:
                self._refuse(message, draft, refusal.error)
            elif draft is not None:
                self.counts.redelivered += draft.repeated
            done.append(message)
        for message in later:
            if message.client is not None:
                message.client.held += 1
                self.settle(message.client)
                message.client.leave()
        self._done(done)
        if self.held and not later:
            self._go_on()
        return later

    def _done(self, messages: Sequence[EventMessage]) -> None:
        """These are safe, or can be no events."""
        self.counts.events += len(messages)
        size = 0
        for message in messages:
            size += message.size_bytes
            client = message.client
            if client is not None:
                client.pending -= 1
                if client.is_ahead and client.pending <= _MOST_OF_ONE // 2:
                    client.is_ahead = False
                    self.settle(client)
        self._taken(messages)
        self._account(-size)
        if self.held:
            for client in {message.client for message in messages}:
                if client is not None and not client.held:
                    self.settle(client)

    def _go_on(self) -> None:
        """All that was offered last was taken."""
        if not self._held:
            _log.info("messages of devices are taken again", extra={"event": "mqtt_taken"})
            self.held = ""

    def _hold(self, error: EdgeAgentError) -> None:
        """Messages wait; it is told once."""
        if not self.held:
            _log.warning(
                "messages of devices are held, and the devices are not read: %s", error, extra={"event": "mqtt_held"}
            )
        self.held = str(error)

    def _draft(self, message: EventMessage) -> Draft | None:
        """The message as an event; None when it can be none."""
        client, publish, route = message.client, message.publish, message.route
        try:
            draft = route.draft(publish.topic, publish.payload)
        except MessageError as exc:
            self._events.refuse(exc)
            self._refuse(message, None, exc)
            return None
        if publish.user_properties and not draft.traceparent:
            found = dict(reversed(publish.user_properties)).get(TRACEPARENT)  # of several the first counts
            draft.traceparent = read_traceparent(draft.traceparent, found)
        session = client.session if client is not None else None
        if publish.packet_id and not draft.id and session is not None and session.is_kept:
            if publish.qos == MOST_QOS:  # until PUBREL the packet id stands for this message, marked with DUP or not
                draft.delivery, draft.redelivered = (session.token, publish.packet_id + EXACTLY_ONCE), True
            else:
                draft.delivery, draft.redelivered = (session.token, publish.packet_id), publish.duplicate
        return draft

    def _refuse(self, message: EventMessage, draft: Draft | None, error: EdgeAgentError) -> None:
        """It can be no event (`draft` None), or the intake refused it for good."""
        self.counts.refused += 1
        client, topic = message.client, message.publish.topic
        who = client.session.client_id if client is not None and client.session is not None else "a will"
        _log.error(
            "the message of %s on %s is not taken: %s",
            shown(who),
            shown(topic),
            error,
            extra={
                "event": "mqtt_refused",
                "foreign": True,
                "topic": shown(topic),
                "client": shown(who),
                **named(draft),
            },
        )

    def _account(self, size_bytes: int) -> None:
        self.used_bytes += size_bytes
        is_full = self.used_bytes > (self._max_bytes // 2 if self.is_full else self._max_bytes)
        if is_full is not self.is_full:
            self.is_full = is_full
            self._filled()


_log = logging.getLogger(__name__)


def _has(drafts: Sequence[Draft | None], draft: Draft) -> bool:
    """Whether the very delivery is among these."""
    return any(each is not None and each.delivery == draft.delivery for each in drafts)
