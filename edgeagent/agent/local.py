"""The local broker: device messages become events, and reports go back (contract sections 2 and 6).

A message is acknowledged to the broker, in order, when its event is synced, or when it cannot be an event. While the
outbox refuses, messages are held unacknowledged, so that the broker stops at its receive maximum; they are taken up in
order when there is room again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

import msgspec

from edgeagent.agent.local_session import LocalSession
from edgeagent.agent.notices import ConnectionNotices
from edgeagent.agent.relay import LocalRelay
from edgeagent.common.foreign import shown
from edgeagent.common.trace_context import read_traceparent
from edgeagent.errors import EdgeAgentError, MessageError, StorageFailed, UplinkError
from edgeagent.events.event import Draft, named
from edgeagent.ports.device import EventPort
from edgeagent.ports.event_topics import EventRoute, EventTopics
from edgeagent.ports.link import Ack, Link, Message

# While the outbox refuses, the held messages are offered again this often.
_HELD_RETRY_S = 1.0
# The size of one group commit: enough to fill a sync, few enough to answer soon.
_BATCH_MESSAGES = 128
_BATCH_BYTES = 1 << 20
# Under load, when the last commit had this many, a commit first waits for what this many turns of the loop bring: with
# `python -m benchmarks path` that gives 4 % more events a second and takes 6 % less processor time.
_LOADED_MESSAGES = 8
_PATIENT_TURNS = 4

_log = logging.getLogger(__name__)


class LocalCounts(msgspec.Struct):
    """Messages since the agent started. `own`: dropped, because edgeagent itself had published them."""

    received: int = 0
    ignored: int = 0
    own: int = 0
    malformed: int = 0
    redelivered: int = 0


class LocalBroker:
    """The owner of the local link: it offers what devices publish to the intake, and acknowledges it.

    It owns the messages that are not acknowledged yet. It acknowledges none before its event is synced or refused for
    good, and offers none of a connection that has ended: the broker delivers those again. `run` takes messages up;
    the relay sends the reports. `held`: why messages wait, empty while they do not. `notices`: of its connection.
    """

    def __init__(
        self,
        topics: EventTopics,
        events: EventPort,
        relay: LocalRelay,
        notices: ConnectionNotices,
        session: LocalSession,
    ) -> None:
        self.counts = LocalCounts()
        self.held = ""
        self._topics = topics
        self._events = events
        self._relay = relay
        self.notices = notices
        self._session = session
        self._session_lost = False
        self._link: Link | None = None
        self._inbox: deque[Message] = deque()
        self._work = asyncio.Event()

    def on_up(self, link: Link, *, session_present: bool) -> None:
        """Connected; see `LinkOwner`."""
        self.notices.up()
        self._link = link
        self._session_lost = self._session_lost or not session_present
        self._relay.up(link)

    def on_down(self, error: UplinkError) -> None:
        """Not connected; what was not acknowledged comes again. See `LinkOwner`."""
        self.notices.down(error)
        self._link = None
        self._inbox.clear()
        self._relay.down()

    def on_messages(self, messages: Sequence[Message]) -> None:
        """Device messages; see `LinkOwner`."""
        self._inbox.extend(messages)
        self._work.set()

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """Reports were taken; see `LinkOwner`."""
        self._relay.acknowledged(acks)

    def on_room(self) -> None:
        """The link takes more; see `LinkOwner`."""
        self._relay.more()

    async def run(self) -> None:
        """Take messages up until cancelled."""
        batch: list[Message] = []
        while True:
            await self._work.wait()
            self._work.clear()
            while self._inbox:
                if len(batch) >= _LOADED_MESSAGES:
                    await self._let_come()
                if self._session_lost and not await self._begin_session():
                    await asyncio.sleep(_HELD_RETRY_S)
                    continue
                batch = self._batch()
                await self._take(batch)

    async def _let_come(self) -> None:
        """Let more messages arrive before the next commit, because a commit costs as much as several events."""
        for _ in range(_PATIENT_TURNS):
            if len(self._inbox) < _BATCH_MESSAGES:
                await asyncio.sleep(0)

    async def _begin_session(self) -> bool:
        """Start a session whose packet ids begin anew, so that its deliveries differ from earlier ones.

        Returns False if the disk refuses.
        """
        self._session_lost = False  # it may be lost again while we wait
        ended = self._session.token
        try:
            await self._session.renew()
        except StorageFailed as exc:
            self._session_lost = True
            self._hold(exc)
            return False
        self._events.end_session(ended)
        return True

    def _hold(self, error: EdgeAgentError) -> None:
        """Keep messages unacknowledged, and log that once."""
        if not self.held:
            _log.warning("local messages are held: %s", error, extra={"event": "local_held"})
        self.held = str(error)

    def _batch(self) -> list[Message]:
        inbox, batch, size = self._inbox, list[Message](), 0
        for _ in range(min(len(inbox), _BATCH_MESSAGES)):
            message = inbox.popleft()
            batch.append(message)
            size += len(message.payload)
            if size >= _BATCH_BYTES:
                break
        return batch

    async def _take(self, messages: Sequence[Message]) -> None:
        """Offer messages until each is taken or refused for good, then acknowledge all of them."""
        link = self._link
        self.counts.received += len(messages)
        events = [(message, draft) for message in messages if (draft := self._draft(message)) is not None]
        while events and (events := await self._offer(events)):
            await asyncio.sleep(_HELD_RETRY_S)
            if self._link is not link:
                return  # the broker delivers them again
        if link is not None:
            link.acknowledge(messages)

    async def _offer(self, events: Sequence[tuple[Message, Draft]]) -> list[tuple[Message, Draft]]:
        """Offer events to the intake; returns those that are to be offered again."""
        refused = await self._events.take([draft for _, draft in events])
        later: list[tuple[Message, Draft]] = []
        for place, refusal in sorted(refused.items()):
            if refusal.later:
                self._hold(refusal.error)
                later.append(events[place])
            else:
                self._refuse(*events[place], refusal.error)
        self.counts.redelivered += sum([draft.repeated for _, draft in events]) - sum(
            [draft.repeated for _, draft in later]
        )
        if self.held and not later:
            _log.info("local messages are taken again", extra={"event": "local_taken"})
            self.held = ""
        return later

    def _draft(self, message: Message) -> Draft | None:
        """The message as an event, or None if it cannot be one; then it is counted, logged and acknowledged."""
        try:
            route = self._topics.route(message.topic)
            if route is None or message.retain:
                self.counts.ignored += 1
                return None
            if route.is_own or message.mark is not None:
                self._drop_own(message, route)
                return None
            draft = route.draft(message.topic, message.payload)
        except MessageError as exc:
            self._events.refuse(exc)
            self._refuse(message, None, exc)
            return None
        if message.traceparent is not None and not draft.traceparent:
            draft.traceparent = read_traceparent(draft.traceparent, message.traceparent)
        if message.delivery_id and not draft.id:
            draft.delivery = (self._session.token, message.delivery_id)
            draft.redelivered = message.duplicate
        return draft

    def _drop_own(self, message: Message, route: EventRoute) -> None:
        """Drop a message of edgeagent itself: as an event its trigger would come back as the next event, for ever."""
        self.counts.own += 1
        if self.counts.own == 1:
            _log.error(
                "%s, by the subscription %s, brings what edgeagent itself publishes or listens to (%s); such messages "
                "are dropped and counted, or each trigger would become an event: subscribe to topics of devices only",
                shown(message.topic),
                route.subscription.topic,
                "its topic says so" if message.mark is None else f"published by {shown(message.mark)}",
                extra={"event": "local_own_message", "topic": shown(message.topic)},
            )

    def _refuse(self, message: Message, draft: Draft | None, error: EdgeAgentError) -> None:
        """Count and log a message that cannot be an event (`draft` None), or that the intake refused for good."""
        self.counts.malformed += 1
        _log.error(
            "the message on %s is not taken: %s",
            message.topic,
            error,
            extra={"event": "local_refused", "foreign": True, "topic": message.topic, **named(draft)},
        )
