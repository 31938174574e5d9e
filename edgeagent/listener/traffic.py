"""What devices say to the listener, and what becomes of it: the joint of broker, inbox, store and connections.

A message that brings an event goes to the inbox, and is passed on when that is safe; every other one is passed on at
once, whatever the outbox does. A retained message above QoS 0 is answered when it is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

import msgspec

from edgeagent.common.foreign import shown
from edgeagent.errors import MessageError
from edgeagent.events.dedupe import EXACTLY_ONCE
from edgeagent.listener.access import Rights
from edgeagent.listener.broker import DeviceBroker
from edgeagent.listener.client import ConnectedDevice
from edgeagent.listener.inbox import DeviceInbox, EventMessage
from edgeagent.listener.outgoing import Outgoing
from edgeagent.listener.packets import (
    ConnAck,
    Connect,
    ConnectionEnded,
    Input,
    PacketReleased,
    Publish,
    Subscribe,
    Unsubscribe,
)
from edgeagent.listener.parcels import size_of
from edgeagent.listener.reasons import Reason
from edgeagent.listener.store import ListenerStore
from edgeagent.ports.device import EventPort
from edgeagent.ports.event_topics import EventRoute, EventTopics
from edgeagent.ports.link import MARK

_TOKEN_BYTES: Final = 8
# A new session is on disk before its client is let in; longer than this no client waits for a disk that refuses.
_SESSION_WAIT_S: Final = 2.0
# How often `tick` is called: while somebody waits for it, while devices are here, and while none is.
_TICK_S: Final = 1.0
_QUIET_TICK_S: Final = 2.0
_EMPTY_TICK_S: Final = 10.0

_log = logging.getLogger(__name__)


class TrafficCounts(msgspec.Struct):
    """Since the agent started, in messages of devices. `own`: brought what edgeagent itself publishes; no events."""

    received: int = 0
    denied: int = 0
    own: int = 0


class DeviceTraffic:
    """Owns the devices that were let in, the inbox of their events, and what goes out to them.

    All methods are called in the loop's thread. Promises to answer a message above QoS 0 only when it is safe: one that
    brings an event when the inbox says so, a retained one when it is on disk. Must never hold up a device that sends
    no events while the outbox refuses them.

    Attributes:
        topics: what is an event.
    """

    def __init__(self, broker: DeviceBroker, store: ListenerStore, events: EventPort, topics: EventTopics) -> None:
        """The parts that it joins; `topics`: what is an event."""
        self.counts = TrafficCounts()
        self.inbox = DeviceInbox(events, self._taken, self._filled)
        self.clients: set[ConnectedDevice] = set()  # those that were let in, while their sockets are open
        self.outgoing = Outgoing(broker.counts, self.clients)
        self.is_closing = False  # nothing is read, and no end of a connection means anything any more
        self._broker = broker
        self._store = store
        self._events = events
        self.topics = topics
        self._loop = asyncio.get_running_loop()
        self._entering: dict[ConnectedDevice, tuple[ConnAck, float]] = {}  # whose session is not on disk yet
        self._arrival = asyncio.Event()

    # Connections

    def admit(
        self, client: ConnectedDevice, connect: Connect, user: str | None, rights: Rights, fresh_id: str
    ) -> Reason:
        """Let a device in whose name and password were checked. Returns why not, else SUCCESS."""
        now = self._loop.time()
        admitted = self._broker.connect(connect, user, rights, client, fresh_id, now)
        if isinstance(admitted, Reason):
            return admitted
        session = client.session = admitted.session
        client.rights = rights
        self.clients.add(client)
        if isinstance(admitted.taken_over, ConnectedDevice):
            admitted.taken_over.disconnect(Reason.SESSION_TAKEN_OVER, "another connection uses this client id")
        self._publish_wills(admitted.wills)
        ack = ConnAck(admitted.is_present, assigned_client_id=None if connect.client_id else session.client_id)
        self._entering[client] = (ack, now)
        self._arrival.set()
        if session.is_stored and not admitted.is_present:
            self._store.when_kept(partial(self._let_in, client))
        else:
            self._let_in(client)
        self._look()
        return Reason.SUCCESS

    def _let_in(self, client: ConnectedDevice) -> None:
        entering, session = self._entering.pop(client, None), client.session
        if entering is None or session is None or client.is_over:
            return
        client.is_up = True
        self.inbox.settle(client)
        client.accept(entering[0], session.inbound, session.outbound)
        self.outgoing.pump(client)

    def came(self, client: ConnectedDevice, inputs: Sequence[Input]) -> None:
        """A device that was let in said this."""
        events: list[EventMessage] = []
        for each in inputs:
            if type(each) is Publish:  # nearly always: `benchmarks path`, CPU an event
                if event := self._message(client, each):
                    events.append(event)
                continue
            if events:
                self.inbox.put(events)
                events = []
            match each:
                case PacketReleased():
                    self._release(client, each)
                case Subscribe():
                    self._subscribe(client, each)
                case Unsubscribe():
                    self._unsubscribe(client, each)
                case ConnectionEnded():
                    self._ended(client, each)
        if events:
            self.inbox.put(events)
        self._look()

    def _ended(self, client: ConnectedDevice, ended: ConnectionEnded) -> None:
        client.is_over, client.is_up, client.replays = True, False, None
        session = client.session
        if session is not None and not self.is_closing:
            is_normal, expiry_s = not ended.publishes_will, ended.session_expiry_s
            now = self._loop.time()
            self._publish_wills(self._broker.gone(session, client, now, is_normal=is_normal, expiry_s=expiry_s))
        if not ended.is_by_client:
            return
        if client.pending and not self.inbox.held:  # while the outbox refuses, that may be longer than a connection may
            client.is_leaving = True
        else:
            self._loop.call_soon(client.close)

    def left(self, client: ConnectedDevice) -> None:
        """A socket is closed."""
        self.clients.discard(client)
        self._entering.pop(client, None)

    # Messages

    def _message(self, client: ConnectedDevice, publish: Publish) -> EventMessage | None:
        """The message for the inbox, if it brings an event; with every other one this is all that is done."""
        self.counts.received += 1
        rights = client.rights
        if rights is None or not rights.may_publish(publish.topic):
            self._deny(client, publish)
            return None
        route = self._route(publish)
        if route is not None:
            return EventMessage(client, publish, route, size_of(publish))
        published = self._broker.publish(publish, client.session, self._loop.time())
        self.outgoing.send(published.deliveries)
        if publish.qos:
            reason = published.reason(is_event=False)
            if published.is_unwritten:
                self._store.when_kept(partial(self._answer, client, (publish.packet_id,), reason))
            else:
                client.acknowledge((publish.packet_id,), reason)
        return None

    def _deny(self, client: ConnectedDevice, publish: Publish) -> None:
        self.counts.denied += 1
        if publish.qos:
            client.acknowledge((publish.packet_id,), Reason.NOT_AUTHORIZED)
        who = client.session.client_id if client.session is not None else ""
        by_tables = client.rights is not None and client.rights.by_tables
        _log.warning(
            "%s may not publish on %s: the message is dropped; %s; the topics of events are %s ([[mqtt.subscribe]])",
            shown(who),
            shown(publish.topic),
            "[[mqtt.allow]] says what it may" if by_tables else "without [[mqtt.allow]] only events are taken",
            shown(", ".join(self.topics.filters)) or "none",
            extra={"event": "mqtt_denied", "foreign": True, "client": shown(who), "topic": shown(publish.topic)},
        )

    def _route(self, publish: Publish) -> EventRoute | None:
        """What is made of an event; None of a message that is none."""
        try:
            route = self.topics.route(publish.topic)
        except MessageError as exc:
            self._events.refuse(exc)
            _log.error(
                "a message on %s is no event: %s",
                shown(publish.topic),
                exc,
                extra={"event": "mqtt_refused", "foreign": True, "topic": shown(publish.topic)},
            )
            return None
        if route is None:
            return None
        is_marked = bool(publish.user_properties) and any(name == MARK for name, _ in publish.user_properties)
        if not route.is_own and not is_marked:
            return route
        self.counts.own += 1
        _log.error(
            "%s, by the subscription %s, brings what edgeagent itself publishes or listens to; such messages are no "
            "events, or each trigger would become one: subscribe to topics of devices only",
            shown(publish.topic),
            route.subscription.topic,
            extra={"event": "mqtt_own_message", "foreign": True, "topic": shown(publish.topic)},
        )
        return None

    def _taken(self, messages: Sequence[EventMessage]) -> None:
        """Events are safe: pass them on, and answer them, with as few calls as possible."""
        now = self._loop.time()
        answers: dict[ConnectedDevice, list[int]] = {}
        for message in messages:
            client, publish = message.client, message.publish
            session = client.session if client is not None else None
            published = self._broker.publish(publish, session, now)
            if published.deliveries:
                self.outgoing.send(published.deliveries)
            if client is None:
                continue
            if publish.qos:
                if published.is_unwritten:
                    self._store.when_kept(partial(self._answer, client, (publish.packet_id,), Reason.SUCCESS))
                else:
                    answers.setdefault(client, []).append(publish.packet_id)
            if not client.pending:
                client.leave()
        for client, packet_ids in answers.items():
            self._answer(client, packet_ids, Reason.SUCCESS)
        self._look()

    def _answer(self, client: ConnectedDevice, packet_ids: Iterable[int], reason: Reason) -> None:
        """These messages are safe. What is said too late for their connection is known to the session's next one."""
        client.acknowledge(packet_ids, reason)
        if client.is_over and client.session is not None:
            successor = client.session.connection
            if isinstance(successor, ConnectedDevice) and successor.is_up:
                successor.send_answers()

    def _release(self, client: ConnectedDevice, released: PacketReleased) -> None:
        """Free a packet id. That of an event is free when the disk knows that the next message with it is another."""
        session, packet_id = client.session, released.packet_id
        done = partial(client.complete, packet_id)
        if session is not None and self._events.complete(session.token, packet_id + EXACTLY_ONCE, done):
            return
        client.complete(packet_id, Reason.SUCCESS if released.is_known else Reason.PACKET_ID_NOT_FOUND)

    def _publish_wills(self, wills: Iterable[Publish]) -> None:
        for will in wills:
            route = self._route(will)
            if route is not None:
                self.inbox.put([EventMessage(None, will, route, size_of(will))])
            else:
                self.publish(will)

    def publish(self, publish: Publish) -> None:
        """Pass on a message of the agent itself."""
        self.outgoing.send(self._broker.publish(publish, None, self._loop.time()).deliveries)

    # Subscriptions

    def _subscribe(self, client: ConnectedDevice, subscribe: Subscribe) -> None:
        session, rights = client.session, client.rights
        if session is None or rights is None or session.connection is not client:
            return
        subscribed = self._broker.subscribe(session, subscribe, rights)
        client.suback(subscribe.packet_id, subscribed.codes)
        if not subscribed.replay.is_done:
            self.outgoing.replay(client, subscribed.replay)

    def _unsubscribe(self, client: ConnectedDevice, unsubscribe: Unsubscribe) -> None:
        session = client.session
        if session is not None and session.connection is client:
            client.unsuback(unsubscribe.packet_id, self._broker.unsubscribe(session, unsubscribe))

    # Time, and memory

    async def until_tick(self) -> None:
        """Return when `tick` is to be called: after a second if it may have to do something, else later.

        What is known to be due is not late by more than a second. A listener at rest does not wake the machine.
        """
        now = self._loop.time()
        if not self._entering and not any(client.waits_for_more for client in self.clients):
            at, due_at = now + (_QUIET_TICK_S if self.clients else _EMPTY_TICK_S), self._broker.due_at()
            at = at if due_at is None else min(at, max(due_at, now + _TICK_S))
            self._arrival.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(at):
                    await self._arrival.wait()
            if not self._arrival.is_set():
                return
        await asyncio.sleep(_TICK_S)

    def tick(self) -> None:
        """Do what the time brings; see `until_tick`."""
        now = self._loop.time()
        due_at = self._broker.due_at()
        if due_at is not None and due_at <= now:
            self._publish_wills(self._broker.tick(now))
        for client, (_, since) in list(self._entering.items()):
            if now - since >= _SESSION_WAIT_S:
                self._let_in(client)
        for client in self.clients:  # the room that they share may have grown
            if client.waits_for_more:
                self.outgoing.pump(client)
        self._look()

    def stop_reading(self) -> None:
        """From now on nothing is read, and no connection's end means anything."""
        self.is_closing = self.inbox.is_closing = True
        for client in list(self.clients):
            self.inbox.settle(client)
            client.read_out()

    def _filled(self) -> None:
        """What is held of all devices has come to its bound, or there is room again."""
        is_full = self.inbox.is_full
        if is_full:
            _log.warning(
                "messages of devices take %d bytes of memory, which is the limit: no device is read until less wait",
                self.inbox.used_bytes,
                extra={"event": "mqtt_memory_full", "used_bytes": self.inbox.used_bytes},
            )
        for client in self.clients:
            self.inbox.settle(client)

    def _look(self) -> None:
        """Have written what changed, and forget what ended."""
        self._store.look()
        if self._broker.ended:
            self.inbox.end_sessions(self._broker.ended)
            self._broker.ended.clear()


def fresh_id() -> str:
    """The token of a new session, and the client id of a device that gives none."""
    return os.urandom(_TOKEN_BYTES).hex()
