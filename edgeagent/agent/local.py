"""The local broker: device messages become events, and reports go back (contract sections 2 and 6).

A message is acknowledged to the broker when its event is synced, or when it can be no event; in order. While the
outbox refuses, messages are held unacknowledged, so that the broker stops at its receive maximum, and taken up in
order when there is room again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec

from edgeagent.agent.clock import Clock
from edgeagent.agent.ingest import Ingest, Prepared
from edgeagent.agent.relay import LocalRelay
from edgeagent.agent.uplink import ConnectionTold
from edgeagent.common.foreign import shown
from edgeagent.config.tables import LocalSubscription
from edgeagent.errors import (
    Draining,
    EventConflict,
    MessageError,
    OutboxError,
    RecordTooLarge,
    StorageFailed,
    UplinkError,
)
from edgeagent.events.dedupe import Deliveries
from edgeagent.events.event import Draft, body
from edgeagent.events.formats import cloudevent
from edgeagent.events.payload import read
from edgeagent.lang.gjson.path import MISSING, Path, compile_path, lookup, text_of
from edgeagent.mqtt.link import Ack, Link, Message
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import digest_of
from edgeagent.wire.topics import is_reserved, matches, source_from_topic

# While the outbox refuses, the held messages are offered again this often.
_HELD_RETRY_S = 1.0
# One group commit's worth: enough to fill a sync, little enough to answer soon.
_BATCH_MESSAGES = 128
_BATCH_BYTES = 1 << 20
# Under load, which is when the last commit had so many, a commit waits for what so many turns of the loop bring.
_LOADED_MESSAGES = 8
_PATIENT_TURNS = 4

# Topics whose subscription is remembered; a device that makes up ever new ones costs time, never memory.
_MAX_ROUTES = 4096
_CLOUDEVENT_FORMS = frozenset({"auto", "json"})
_log = logging.getLogger(__name__)


class _Route(NamedTuple):
    """What becomes of a topic's messages. `id_path`: where in the data the event's id is, if it has one.

    `is_own`: the topic is one that we publish on or listen to for ourselves.
    """

    subscription: LocalSubscription
    id_path: Path | None
    source: str = ""
    is_own: bool = False


class LocalCounts(msgspec.Struct):
    """Since the agent started, in messages. `own`: dropped, because edgeagent itself had published them."""

    received: int = 0
    ignored: int = 0
    own: int = 0
    malformed: int = 0
    redelivered: int = 0


class LocalBroker:
    """The owner of the local link. `run` takes messages up; reports are the relay's."""

    def __init__(
        self,
        subscriptions: Sequence[LocalSubscription],
        ingest: Ingest,
        outbox: Outbox,
        relay: LocalRelay,
        told: ConnectionTold,
        clock: Clock,
        *,
        deliveries: Deliveries,
        new_session: Callable[[], Awaitable[str]],
        own_topics: Sequence[str] = (),
    ) -> None:
        """Take the parts that it stands on.

        `new_session` makes a token for a new MQTT session and keeps it, synced. `own_topics`: filters of what the agent
        publishes on or listens to for itself, as configured.
        """
        self.counts = LocalCounts()
        self.held = ""
        self._routes: dict[str, _Route] = {}
        self._subscriptions = [
            (subscription, compile_path(subscription.id) if subscription.id else None) for subscription in subscriptions
        ]
        self._ingest = ingest
        self._outbox = outbox
        self._relay = relay
        self._told = told
        self._clock = clock
        self._deliveries = deliveries
        self._new_session = new_session
        self._own_topics = own_topics
        self._session_lost = False
        self._together = _BATCH_MESSAGES  # how many messages are tried to be stored in one group
        self._link: Link | None = None
        self._inbox: deque[Message] = deque()
        self._work = asyncio.Event()

    def on_up(self, link: Link, *, session_present: bool) -> None:
        """Connected; see `LinkOwner`."""
        self._told.up()
        self._link = link
        self._session_lost = self._session_lost or not session_present
        self._relay.up(link)

    def on_down(self, error: UplinkError) -> None:
        """Not connected; what was not acknowledged comes again. See `LinkOwner`."""
        self._told.down(error)
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
        """Let more messages come in before the next commit, since each commit costs as much as several events."""
        for _ in range(_PATIENT_TURNS):
            if len(self._inbox) < _BATCH_MESSAGES:
                await asyncio.sleep(0)

    async def _begin_session(self) -> bool:
        """The packet ids began anew: tell what comes from now on from what came before. False if the disk refuses."""
        self._session_lost = False  # it may be lost again while we wait
        try:
            self._deliveries = Deliveries(await self._new_session())
        except StorageFailed as exc:
            self._session_lost = True
            self._hold(exc)
            return False
        return True

    def _hold(self, error: OutboxError | Draining) -> None:
        """Messages stay unacknowledged; it is told once."""
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
        link = self._link
        self.counts.received += len(messages)
        drafts = [(message, draft) for message in messages if (draft := self._draft(message)) is not None]
        self._together = len(drafts)
        while drafts:
            if not await self._store_some(drafts):
                await asyncio.sleep(_HELD_RETRY_S)
                if self._link is not link:
                    return  # the broker delivers them again
        if link is not None:
            link.acknowledge(messages)

    async def _store_some(self, drafts: list[tuple[Message, Draft]]) -> bool:
        """Store the first of these events, and take out of `drafts` what is stored or can be no event.

        False while the outbox refuses them; then nothing of them is stored.
        """
        prepared: list[Prepared] = []  # of the first in `drafts`
        prepare, moment = self._ingest.prepare, self._clock.moment()
        try:
            for message, draft in drafts[: self._together]:
                try:
                    prepared.append(prepare(draft, moment))
                except (MessageError, EventConflict, RecordTooLarge) as exc:
                    drafts.remove((message, draft))
                    self._refuse(message, exc)
            await self._store(prepared)
        except RecordTooLarge as exc:  # one segment must take them: fewer of them, or this one never
            self._together = len(prepared) // 2
            if not self._together:
                message, _ = drafts.pop(0)
                self._together = len(drafts)
                self._refuse(message, exc)
            return True
        except Draining as exc:
            self._ingest.take_back(prepared)
            self._hold(exc)
            return False
        except OutboxError as exc:  # what of them is not stored was taken back
            self._hold(exc)
            return False
        if self.held:
            _log.info("local messages are taken again", extra={"event": "local_taken"})
        self.held = ""
        add = self._deliveries.add
        for (_, draft), event in zip(drafts, prepared, strict=False):
            delivery = draft.delivery
            if delivery is not None:
                add(delivery[1], event.digest, event.event_id)
        del drafts[: len(prepared)]
        return True

    async def _store(self, prepared: Sequence[Prepared]) -> None:
        unfounded = await self._ingest.store(prepared)
        if unfounded is not None:
            raise unfounded

    def _draft(self, message: Message) -> Draft | None:
        """The message as an event; None when it is none (then it is counted, told, and acknowledged)."""
        try:
            route = self._routes.get(message.topic) or self._route(message.topic)
            if route is None or message.retain:
                self.counts.ignored += 1
                return None
            if route.is_own or message.mark is not None:
                self._drop_own(message, route)
                return None
            draft = _event(message, route)
            if route.id_path is not None:
                draft.id = _id(draft, route.id_path)
        except MessageError as exc:
            self._refuse(message, exc)
            return None
        if message.qos and not draft.id:
            draft.delivery = (self._deliveries.session, message.packet_id)
            if message.duplicate:
                self._recognise(draft, message)
        return draft

    def _route(self, topic: str) -> _Route | None:
        """Where this topic goes; None: a subscription that the configuration no longer has, or no events.

        Raises:
            MessageError: no source can be made of it.
        """
        found = next((found for found in self._subscriptions if matches(found[0].topic, topic)), None)
        if found is None or is_reserved(topic):
            return None
        template = found[0].source
        try:
            if any(matches(own, topic) for own in self._own_topics):
                route = _Route(*found, is_own=True)
            else:
                route = _Route(*found, source_from_topic(template, topic))
        except IndexError:
            raise MessageError("event", "source", f"the topic has no such level for {template!r}") from None
        if len(self._routes) >= _MAX_ROUTES:
            self._routes.clear()
        self._routes[topic] = route
        return route

    def _drop_own(self, message: Message, route: _Route) -> None:
        """A message of edgeagent itself is no event: its trigger would come back as the next one, for ever."""
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

    def _recognise(self, draft: Draft, message: Message) -> None:
        """An event without an id that is delivered again is the same event."""
        known = self._deliveries.event_id(message.packet_id, digest_of(draft))
        if known is not None:
            self.counts.redelivered += 1
            draft.id, draft.repeated = known, True

    def _refuse(self, message: Message, error: MessageError | EventConflict | RecordTooLarge) -> None:
        self.counts.malformed += 1
        counts = self._outbox.events
        counts.received += 1
        if isinstance(error, EventConflict):
            counts.conflict += 1
        else:
            counts.refused += 1
        _log.error(
            "the message on %s is not taken: %s",
            message.topic,
            error,
            extra={"event": "local_refused", "foreign": True, "topic": message.topic},
        )


def _event(message: Message, route: _Route) -> Draft:
    payload, subscription = message.payload, route.subscription
    draft = cloudevent(payload, route.source) if subscription.data in _CLOUDEVENT_FORMS else None
    if draft is None:
        data, is_json, value = read(payload, subscription.data, nan_is_null=subscription.nan == "null")
        return Draft(
            source=route.source,
            data=data,
            is_json=is_json,
            value=value,
            type=subscription.type,
            topic=message.topic,
        )
    draft.topic = message.topic
    return draft


def _id(draft: Draft, path: Path) -> str:
    value = MISSING
    if draft.is_json:
        value = lookup(path, {"body": body(draft)})
    if value is MISSING or not isinstance(value, (str, int, float)):
        raise MessageError("event", "id", f"the data has no text or number at {path.text}")
    return text_of(value)
