"""Who gets what, against a model that compares each filter with each topic and keeps a list for each client."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edgeagent.listener.packets import Subscribe, TopicSubscription, Unsubscribe
from edgeagent.wire.topics import matches
from tests.fakes.device_broker import EVERYTHING, Devices, told, waiting

CLIENTS = st.sampled_from(["a", "b", "c"])
FILTERS = st.sampled_from(["#", "x/#", "x/+", "x/y", "+/y", "z", "+"])
TOPICS = st.sampled_from(["x", "x/y", "x/z", "z", "q/y"])
QUEUE = 3
WAITING = 2


class Client:
    """What the model knows of a client that has a session."""

    def __init__(self, expiry_s: int) -> None:
        self.expiry_s = expiry_s
        self.filters: dict[str, int] = {}
        self.is_connected = True
        self.gone_at = 0.0
        self.went = 0
        self.queue: list[bytes] = []


class Gateway(RuleBasedStateMachine):
    """Clients that come, subscribe, publish and go, and a broker between them."""

    def __init__(self) -> None:
        super().__init__()
        self.devices = Devices(queue=QUEUE, max_waiting=WAITING, max_retained=3)
        self.model: dict[str, Client] = {}
        self.retained: dict[str, bytes] = {}
        self.number = 0

    @rule(name=CLIENTS, clean=st.booleans(), expiry_s=st.sampled_from([0, 30]))
    def connect(self, name: str, clean: bool, expiry_s: int) -> None:
        """A client comes, or comes again by another connection."""
        accepted = self.devices.connect(name, clean=clean, expiry_s=expiry_s)
        before = self.model.get(name)
        goes_on = before is not None and not clean and (before.expiry_s > 0 or not before.is_connected)
        assert accepted.is_present == goes_on
        assert (accepted.taken_over is not None) == (before is not None and before.is_connected)
        if before is not None and goes_on:
            before.is_connected, before.expiry_s = True, expiry_s
            while (parcel := accepted.session.queue.pop(self.devices.now)) is not None:
                assert parcel.publish.payload == before.queue.pop(0)
            assert not before.queue
        else:
            self.model[name] = Client(expiry_s)

    @rule(name=CLIENTS)
    def leave(self, name: str) -> None:
        """A client goes."""
        client = self.model.get(name)
        if client is None or not client.is_connected:
            return
        self.devices.leave(self.devices.sessions.of(name))
        self.number += 1
        client.is_connected, client.gone_at, client.went = False, self.devices.now, self.number
        if not client.expiry_s:
            del self.model[name]
        away = [each for each, found in self.model.items() if not found.is_connected]
        if len(away) > WAITING:
            del self.model[min(away, key=self.order)]

    def order(self, name: str) -> int:
        """Who went first."""
        return self.model[name].went

    @rule(name=CLIENTS, each=FILTERS, qos=st.integers(0, 2))
    def subscribe(self, name: str, each: str, qos: int) -> None:
        """A client subscribes, and is told what is retained."""
        client = self.model.get(name)
        if client is None or not client.is_connected:
            return
        session = self.devices.sessions.of(name)
        answer = self.devices.broker.subscribe(session, Subscribe(1, (TopicSubscription(each, qos),)), EVERYTHING)
        client.filters[each] = qos
        assert answer.codes == (qos,)
        found = {parcel.publish.topic: parcel.publish.payload for parcel in answer.replay.take(1000, self.devices.now)}
        assert found == {topic: payload for topic, payload in self.retained.items() if matches(each, topic)}

    @rule(name=CLIENTS, each=FILTERS)
    def unsubscribe(self, name: str, each: str) -> None:
        """A client unsubscribes."""
        client = self.model.get(name)
        if client is None or not client.is_connected:
            return
        codes = self.devices.broker.unsubscribe(self.devices.sessions.of(name), Unsubscribe(1, (each,)))
        assert (codes == (0,)) == (client.filters.pop(each, None) is not None)

    @rule(topic=TOPICS, qos=st.integers(0, 2), retain=st.booleans(), empty=st.booleans())
    def publish(self, topic: str, qos: int, retain: bool, empty: bool) -> None:
        """Somebody publishes."""
        self.number += 1
        payload = b"" if empty and retain else b"%d" % self.number
        published = self.devices.publish(topic, payload, qos=qos, retain=retain)
        if retain and not payload:
            self.retained.pop(topic, None)
        elif retain and (topic in self.retained or len(self.retained) < 3):
            self.retained[topic] = payload
        expected = {}
        for name, client in self.model.items():
            granted = [own for each, own in client.filters.items() if matches(each, topic)]
            if not granted:
                continue
            if client.is_connected:
                expected[name] = (payload, min(max(granted), qos))
            elif min(max(granted), qos):
                client.queue = [*client.queue, payload][-QUEUE:]
        assert told(published.deliveries) == expected

    @rule(seconds=st.sampled_from([1, 10, 31]))
    def wait(self, seconds: int) -> None:
        """Time goes by."""
        self.devices.now += seconds
        self.devices.broker.tick(self.devices.now)
        for name, client in list(self.model.items()):
            if not client.is_connected and self.devices.now >= client.gone_at + client.expiry_s:
                del self.model[name]

    @invariant()
    def both_know_the_same(self) -> None:
        """Sessions, subscriptions and what waits are those of the model, and all of it is accounted for."""
        assert {session.client_id for session in self.devices.sessions} == set(self.model)
        for name, client in self.model.items():
            session = self.devices.sessions.of(name)
            grants = self.devices.broker.subscriptions.of(name)
            assert {each: grant.qos for each, grant in grants.items()} == client.filters
            assert (session.connection is not None) == client.is_connected
            assert waiting(session) == client.queue
        assert self.devices.broker.subscriptions.count == sum(len(each.filters) for each in self.model.values())
        assert len(self.devices.retained) == len(self.retained)
        assert (self.devices.sessions.room.used_bytes > 0) == any(each.queue for each in self.model.values())


Gateway.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestGateway = Gateway.TestCase
