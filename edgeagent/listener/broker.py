"""The broker for the devices of this gateway: which are connected, which gets what, what is kept (contract section 2).

It decides, and waits for nothing: values and a time come in, and what is to be done comes out. Which messages are
events is not its business, and what is to be published as a will is handed out, since that may be an event too: the
owner publishes it as it does any message. Times are seconds of a clock that does not go back.

A session is ended when its expiry interval is over; one that is connected again before that goes on with its
subscriptions and what waits in its queue. Messages at QoS 0 do not wait for a client that is not connected.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from edgeagent.listener.access import Rights
from edgeagent.listener.changes import Changes, StoredSession, Urgency, WaitingParcels
from edgeagent.listener.packets import (
    MQTT_5,
    MQTT_31,
    RETAINED_ALWAYS,
    RETAINED_IF_NEW,
    Connect,
    Publish,
    Subscribe,
    TopicSubscription,
    Unsubscribe,
)
from edgeagent.listener.parcels import Kept, Parcel, expiry_of
from edgeagent.listener.reasons import FAILURE, Reason
from edgeagent.listener.retained import Replay, Retained, RetainOutcome
from edgeagent.listener.sessions import Session, Sessions
from edgeagent.listener.subscriptions import Grant, Subscriptions
from edgeagent.wire.topics import filter_problem

MAX_CLIENT_ID_CHARS: Final = 256
_SHARED = "$share/"


class BrokerCounts(msgspec.Struct):
    """Since the agent started. `sent`: messages that were handed to a connection or queued, one for each receiver.

    `dropped`: messages that waited for a device and had to go. `unkept`: retained messages that there was no room for.
    """

    published: int = 0
    sent: int = 0
    dropped: int = 0
    unkept: int = 0
    denied: int = 0
    evicted: int = 0


class Admitted(msgspec.Struct, frozen=True):
    """A client is connected.

    Attributes:
        session: its session.
        is_present: it was there before.
        taken_over: the connection that is to be ended with SESSION_TAKEN_OVER, None without one.
        wills: what is to be published now, of the connection or the session before.
    """

    session: Session
    is_present: bool
    taken_over: object | None
    wills: Sequence[Publish]


class DeviceDelivery(NamedTuple):
    """A message for a session that is connected.

    The connection sends it, or puts it into `session.queue`, if something waits there or it takes no more.
    """

    session: Session
    parcel: Parcel


class Published(msgspec.Struct, frozen=True):
    """What became of a message.

    Attributes:
        deliveries: what is to be sent now.
        is_wanted: somebody subscribes to it.
        outcome: what became of it as a retained message, None for one that is none.
        is_unwritten: what its topic retains by it is not on disk yet.
    """

    deliveries: Sequence[DeviceDelivery]
    is_wanted: bool
    outcome: RetainOutcome | None = None
    is_unwritten: bool = False

    def reason(self, *, is_event: bool) -> Reason:
        """How a message at QoS 1 or 2 is answered."""
        if is_event:
            return Reason.SUCCESS
        if self.outcome is RetainOutcome.NO_ROOM:
            return Reason.QUOTA_EXCEEDED
        wanted = self.is_wanted or self.outcome is not None
        return Reason.SUCCESS if wanted else Reason.NO_MATCHING_SUBSCRIBERS


_UNHEARD: Final = Published((), False)  # of most events; made once


class Subscribed(msgspec.Struct, frozen=True):
    """The answer to SUBSCRIBE: a code for each filter (the QoS that is granted, or why not), and what is retained."""

    codes: tuple[int, ...]
    replay: Replay


class DeviceBroker:
    """Owns what clients have here: sessions, subscriptions and retained messages.

    Promises to note in `changes` what becomes of a retained message, and of a session that outlives its connection.
    Must never wait, write, or send anything to a device: it returns what is to be sent.
    """

    def __init__(self, sessions: Sessions, subscriptions: Subscriptions, retained: Retained, changes: Changes) -> None:
        """Take the parts that it joins."""
        self.counts = BrokerCounts()
        self.sessions = sessions
        self.subscriptions = subscriptions
        self.retained = retained
        self.changes = changes
        self.ended: list[str] = []  # the tokens of sessions that ended; the owner takes them out

    # Sessions

    def connect(
        self, connect: Connect, user: str | None, rights: Rights, connection: object, fresh_id: str, now: float
    ) -> Admitted | Reason:
        """Let a client in whose name and password were checked.

        Args:
            connect: what it says.
            user: its name, None without one.
            rights: what it may do.
            connection: what is told to end when the client comes by another one.
            fresh_id: never used before: the token of a new session, and the client id of one that has none.
            now: the time.
        """
        client_id = connect.client_id or fresh_id
        if reason := self._objection(connect, client_id, user, rights):
            return reason
        before, wills, taken_over = self.sessions.get(client_id), list[Publish](), None
        if before is not None:
            taken_over = before.connection
            if taken_over is not None:
                wills += self._leave(before, now)
            if connect.clean_start or before.user != user or (taken_over is not None and not before.outlives):
                wills += self._end(before)
        session = self.sessions.get(client_id)
        is_present = session is not None
        if session is None:
            session = self.sessions.begin(connect, client_id, user, fresh_id)
        terms = session.expiry_s, session.version
        self.sessions.connected(session, connect, connection)
        if session.outlives != session.is_stored or terms != (session.expiry_s, session.version):
            self._keep(session)
        return Admitted(session, is_present, taken_over, wills)

    def _objection(self, connect: Connect, client_id: str, user: str | None, rights: Rights) -> Reason | None:
        """Why a client is not let in."""
        has_no_id = not connect.client_id
        if len(client_id) > MAX_CLIENT_ID_CHARS or (has_no_id and connect.version == MQTT_31):
            return Reason.CLIENT_ID_NOT_VALID
        if has_no_id and connect.version != MQTT_5 and not connect.clean_start:
            return Reason.CLIENT_ID_NOT_VALID  # MQTT 3.1.1, 3.1.3-8
        before = self.sessions.get(client_id)
        if before is not None and before.connection is not None and before.user != user:
            return Reason.CLIENT_ID_NOT_VALID
        if connect.will is not None and not rights.may_publish(connect.will.message.topic):
            self.counts.denied += 1
            return Reason.NOT_AUTHORIZED
        return None

    def gone(
        self, session: Session, connection: object, now: float, *, is_normal: bool, expiry_s: int | None = None
    ) -> Sequence[Publish]:
        """A connection ended. Returns the wills that are to be published now.

        Args:
            session: whose it was.
            connection: as it was given; one that was taken over changes nothing any more.
            now: the time.
            is_normal: the client said DISCONNECT, and nothing of a will.
            expiry_s: the expiry interval that it said then, None without one.
        """
        if session.connection is not connection:
            return ()
        if expiry_s is not None and session.outlives:  # it cannot make one that ends with the connection outlive it
            session.expiry_s = expiry_s
            self._keep(session)
        if is_normal:
            session.will = None
        wills = self._leave(session, now)
        if not session.outlives:
            return [*wills, *self._end(session)]
        evicted = self.sessions.disconnected(session, now)
        if evicted is not None:
            self.counts.evicted += 1
            wills += self._end(evicted)
        return wills

    def _leave(self, session: Session, now: float) -> list[Publish]:
        """The connection of a session is no more. Returns its will, if that does not wait."""
        session.connection, will = None, session.will
        if will is None:
            return []
        if will.delay_s:
            session.will_at = now + will.delay_s
            return []
        session.will = None
        return [will.message]

    def _end(self, session: Session) -> list[Publish]:
        """Forget a session. Returns its will, which does not wait any longer."""
        will, session.will = session.will, None
        if session.token:
            self.ended.append(session.token)
        self.subscriptions.remove_all(session.client_id)
        self.counts.dropped += self.sessions.end(session)
        if session.is_stored:
            self.changes.no_session(session.client_id)
        return [will.message] if will is not None else []

    def tick(self, now: float) -> Sequence[Publish]:
        """End what has come to its end. Returns the wills that are to be published now."""
        wills = self.sessions.wills(now)
        for session in self.sessions.ended(now):
            wills += self._end(session)
        for topic in self.retained.expired(now):
            self.changes.no_message(topic, Urgency.LATER)
        return wills

    def due_at(self) -> float | None:
        """When there is something to do for `tick`; None: nothing is to come."""
        return min((at for at in (self.sessions.due_at(), self.retained.due_at()) if at is not None), default=None)

    # Messages

    def publish(self, publish: Publish, publisher: Session | None, now: float) -> Published:
        """Pass a message on to its subscribers, and keep it if it is to be retained.

        `publisher`: None for one of the agent itself, and for a will.
        """
        self.counts.published += 1
        outcome = self._retain(publish, now) if publish.retain else None
        is_unwritten = outcome is not None and self.changes.is_unwritten(publish.topic)
        receivers = self.subscriptions.receivers(publish.topic)
        if not receivers:
            return _UNHEARD if outcome is None else Published((), False, outcome, is_unwritten)
        own_id = publisher.client_id if publisher is not None else None
        expires_at = expiry_of(publish, now)
        deliveries: list[DeviceDelivery] = []
        for receiver in receivers:
            as_it_is = receiver if receiver.client_id != own_id else receiver.of_own()
            if as_it_is is None:
                continue
            qos, retain = min(as_it_is.qos, publish.qos), publish.retain and as_it_is.retain_as_published
            parcel = Parcel(publish, qos, retain, as_it_is.identifiers, expires_at)
            session = self.sessions.of(receiver.client_id)
            if session.connection is not None:
                deliveries.append(DeviceDelivery(session, parcel))
            elif qos:
                self.counts.dropped += session.queue.put(parcel)
            else:
                continue
            self.counts.sent += 1
        return Published(deliveries, True, outcome, is_unwritten)

    def _retain(self, publish: Publish, now: float) -> RetainOutcome:
        topic = publish.topic
        was_there = self.retained.get(topic) is not None
        outcome = self.retained.put(publish, now)
        now_kept = self.retained.get(topic)
        if outcome is RetainOutcome.NO_ROOM:
            self.counts.unkept += 1
        if now_kept is None and was_there:
            self.changes.no_message(topic)
        elif now_kept is not None and outcome is not RetainOutcome.SAME:
            self.changes.message(now_kept, is_new=not was_there)
        return outcome

    # Subscriptions

    def subscribe(self, session: Session, subscribe: Subscribe, rights: Rights) -> Subscribed:
        """Grant what may be granted."""
        codes: list[int] = []
        replayed: dict[str, Grant] = {}
        identifier = subscribe.subscription_id or 0
        for subscription in subscribe.subscriptions:
            topic_filter = subscription.topic_filter
            code = self._grant(session, subscription, rights)
            codes.append(code)
            if code >= FAILURE:
                continue
            is_new = self.subscriptions.add(session.client_id, subscription, identifier)
            handling = subscription.retain_handling
            if handling == RETAINED_ALWAYS or (handling == RETAINED_IF_NEW and is_new):
                replayed[topic_filter] = self.subscriptions.of(session.client_id)[topic_filter]
        if any(code < FAILURE for code in codes):
            self._keep(session)
        return Subscribed(tuple(codes), Replay(self.retained, replayed))

    def _grant(self, session: Session, subscription: TopicSubscription, rights: Rights) -> int:
        topic_filter = subscription.topic_filter
        if filter_problem(topic_filter) is not None:
            return Reason.TOPIC_FILTER_INVALID
        if topic_filter.startswith(_SHARED):
            return Reason.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
        if not rights.may_subscribe(topic_filter):
            self.counts.denied += 1
            return Reason.NOT_AUTHORIZED
        if not self.subscriptions.has_room(session.client_id, topic_filter):
            return Reason.QUOTA_EXCEEDED
        return subscription.qos

    def unsubscribe(self, session: Session, unsubscribe: Unsubscribe) -> tuple[int, ...]:
        """End subscriptions; a code for each filter."""
        ended = [self.subscriptions.remove(session.client_id, each) for each in unsubscribe.topic_filters]
        if any(ended):
            self._keep(session)
        return tuple(Reason.SUCCESS if one else Reason.NO_SUBSCRIPTION_EXISTED for one in ended)

    # The disk

    def _keep(self, session: Session) -> None:
        """Have a session written, or removed if it does not outlive its connection."""
        if session.outlives:
            self.changes.session(self._stored(session), is_new=not session.is_stored)
        elif session.is_stored:
            self.changes.no_session(session.client_id)
        session.is_stored = session.outlives

    def _stored(self, session: Session) -> StoredSession:
        subscriptions = tuple(
            (TopicSubscription(each, grant.qos, grant.no_local, grant.retain_as_published), grant.identifier)
            for each, grant in self.subscriptions.of(session.client_id).items()
        )
        return StoredSession(
            session.client_id, session.user, session.version, session.expiry_s, subscriptions, session.token
        )

    def restore(self, messages: Sequence[Kept], sessions: Sequence[StoredSession], now: float) -> None:
        """Take back what was on disk, before anybody connects. The sessions' time begins anew."""
        for message in messages:
            if not self.retained.restore(message):  # fewer are allowed than when it was written
                self.changes.no_message(message.publish.topic, Urgency.LATER)
        for stored in sessions:
            connect = Connect(stored.version, stored.client_id, clean_start=False, session_expiry_s=stored.expiry_s)
            session = self.sessions.begin(connect, stored.client_id, stored.user, stored.token)
            session.is_stored = True
            for subscription, identifier in stored.subscriptions:
                if self.subscriptions.has_room(stored.client_id, subscription.topic_filter):
                    self.subscriptions.add(stored.client_id, subscription, identifier)
            evicted = self.sessions.disconnected(session, now)
            if evicted is not None:
                self._end(evicted)

    def restore_waiting(self, waiting: Sequence[WaitingParcels]) -> None:
        """Take back what waited in sessions at an orderly end."""
        for client_id, messages in waiting:
            session = self.sessions.get(client_id)
            if session is not None:
                self.counts.dropped += sum(session.queue.put(message) for message in messages)

    def waiting(self) -> list[WaitingParcels]:
        """What waits in the sessions that outlive this process, for an orderly end.

        What was sent and not acknowledged comes first, to be sent once more then.
        """
        found = [
            WaitingParcels(session.client_id, (*_unacknowledged(session), *session.queue))
            for session in self.sessions
            if session.outlives
        ]
        return [waiting for waiting in found if waiting.messages]


def _unacknowledged(session: Session) -> Iterator[Parcel]:
    for sent in session.outbound.unacknowledged():
        expires_at = expiry_of(sent.message, sent.sent_s)
        yield Parcel(sent.message, sent.qos, sent.retain, sent.subscription_ids, expires_at)
