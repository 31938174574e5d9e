"""The machine of one connection against a simple model of a client and a disk, over many connections of one session.

The client follows the protocol: it numbers its messages, sends again on a new connection what was not acknowledged, and
answers what it gets. Connections break at any time, and bytes arrive in any pieces. What must hold:

* nothing is acknowledged that was not safe, and answers come in the order of the messages;
* a message at QoS 1 is given on at least once, one at QoS 2 exactly once, whatever is repeated;
* the client gets every message of ours, at QoS 2 once, each for the first time in order, never more than it takes;
* when everything has settled nothing is left under way.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from edgeagent.listener.flows import Inbound, Outbound
from edgeagent.listener.framing import Frames
from edgeagent.listener.packets import MQTT_5, MQTT_31, MQTT_311, Publish
from tests.fakes.listener_peer import Peer
from tests.fakes.mqtt_bytes import answer, publish

PUBACK, PUBREC, PUBREL, PUBCOMP, PUBLISH, CONNACK = 0x40, 0x50, 0x62, 0x70, 0x30, 0x20
MOST_UNDER_WAY = 6
EXAMPLES, SOAK_EXAMPLES = 60, 3000


class Device:
    """What a client of the protocol knows: its own messages by packet id, and what it was sent."""

    def __init__(self) -> None:
        self.published: dict[int, tuple[int, bytes]] = {}  # not acknowledged: QoS and payload, in order
        self.released: list[int] = []  # PUBREL sent, no PUBCOMP yet
        self.known: set[int] = set()  # packet ids of messages of ours at QoS 2, until PUBREL
        self.got: list[bytes] = []  # payloads of ours, repetitions at QoS 1 included
        self.to_answer: list[bytes] = []
        self.awaited: list[int] = []  # packet ids to be answered on this connection, in order


class ListenerMachine(RuleBasedStateMachine):
    """Owns one session of the listener, and plays its client, its disk and its broker, on one connection after another.

    Each rule is something that one of them does. What must hold is asserted on the way, and in `holds` and `teardown`.
    """

    @initialize(version=st.sampled_from([MQTT_31, MQTT_311, MQTT_5]), window=st.integers(1, 3))
    def begin(self, version: int, window: int) -> None:
        """The first connection of a session."""
        self.version, self.window = version, window
        self.device = Device()
        self.inbound, self.outbound = Inbound(), Outbound()
        self.number = self.published = 0
        self.unsafe: list[tuple[Peer, int, bytes]] = []  # given on, not yet on disk: by which connection, packet id
        self.on_disk: list[bytes] = []
        self.given: list[bytes] = []  # to the broker; a payload names one message
        self.exactly_once: set[bytes] = set()  # of those, at QoS 2
        self.queue: list[tuple[int, bytes]] = []
        self.sent: list[tuple[int, bytes]] = []
        self.connect()

    def connect(self) -> None:
        """The client comes back, with its session."""
        props = b"\x21" + self.window.to_bytes(2, "big")
        self.peer = Peer(self.version, inbound=self.inbound, outbound=self.outbound, props=props)
        self.frames, self.cut = Frames(1 << 20), 1000
        self.device.awaited, self.device.to_answer = [], []
        self.hear()
        device = self.device
        again = [answer(PUBREL, packet_id) for packet_id in device.released]
        for packet_id, (qos, payload) in device.published.items():
            device.awaited.append(packet_id)
            again.append(publish(self.version, "t", payload, qos=qos, packet_id=packet_id, duplicate=True))
        self.say(b"".join(again))

    def say(self, data: bytes) -> None:
        """The client sends; the owner takes what comes out."""
        pieces = [data[place : place + self.cut] for place in range(0, len(data), self.cut)]
        for message in self.peer.feed(*pieces):
            assert isinstance(message, Publish), message
            assert message.payload not in self.exactly_once, "a message at QoS 2 was given on twice"
            self.given.append(message.payload)
            if message.qos == 2:
                self.exactly_once.add(message.payload)
            if message.qos:
                self.unsafe.append((self.peer, message.packet_id, message.payload))
            else:
                self.on_disk.append(message.payload)
        self.hear()

    def hear(self) -> None:
        """The client reads, and answers later."""

        def note(data: bytes, position: int, body: int, end: int) -> None:
            self.take(data[position], data[body:end])

        self.frames.take(self.peer.sent(), note, [])  # type: ignore[arg-type]
        assert len(self.device.known) + sum(each[0] == PUBACK for each in self.device.to_answer) <= self.room

    @property
    def room(self) -> int:
        """How many of ours may be under way."""
        return self.window if self.version == MQTT_5 else 100

    def take(self, first: int, body: bytes) -> None:
        """The client reads a packet."""
        device = self.device
        packet_id = int.from_bytes(body[:2], "big")
        kind = first & 0xF0
        if kind == PUBLISH:
            self.take_message(first, body)
        elif first in {PUBACK, PUBREC} and device.awaited and packet_id == device.awaited[0]:
            device.awaited.pop(0)
            qos, payload = device.published.pop(packet_id)
            assert qos == (1 if first == PUBACK else 2)
            assert payload in self.on_disk, "acknowledged before it was safe"
            if first == PUBREC:
                device.released.append(packet_id)
                device.to_answer.append(answer(PUBREL, packet_id))
        elif first == PUBREL:
            device.known.discard(packet_id)
            device.to_answer.append(answer(PUBCOMP, packet_id))
        elif first == PUBCOMP:
            device.released.remove(packet_id)
        else:
            assert first == CONNACK, f"an unexpected 0x{first:02x} for packet id {packet_id}, awaited {device.awaited}"

    def take_message(self, first: int, body: bytes) -> None:
        """The client reads a message."""
        device, qos = self.device, first >> 1 & 3
        packet_id = int.from_bytes(body[3:5], "big")
        payload = body[3 + (2 if qos else 0) + (self.version == MQTT_5) :]
        if qos == 2:
            if packet_id not in device.known:
                device.got.append(payload)
            device.known.add(packet_id)
            device.to_answer.append(answer(PUBREC, packet_id))
            return
        device.got.append(payload)
        if qos:
            device.to_answer.append(answer(PUBACK, packet_id))

    @rule(qos=st.integers(0, 2), count=st.integers(1, 3), cut=st.sampled_from([1, 5, 1000]))
    def device_publishes(self, qos: int, count: int, cut: int) -> None:
        """Some messages at once, in pieces of `cut` bytes."""
        device, data = self.device, b""
        for _ in range(count):
            if len(device.published) + len(device.released) >= MOST_UNDER_WAY:
                break
            self.number += 1
            self.published += 1
            payload = b"%d" % self.number
            packet_id = next(n for n in range(1, 99) if n not in device.published and n not in device.released)
            if qos:
                device.published[packet_id] = (qos, payload)
                device.awaited.append(packet_id)
            data += publish(self.version, "t", payload, qos=qos, packet_id=packet_id)
        self.cut = cut
        self.say(data)

    @rule(order=st.randoms(use_true_random=False), share=st.floats(0.2, 1))
    def disk_syncs(self, order: object, share: float) -> None:
        """Some of what was given on is safe now, in any order; the connection may be another one by now."""
        order.shuffle(self.unsafe)  # type: ignore[attr-defined]
        count = int(len(self.unsafe) * share + 0.5)
        done, self.unsafe = self.unsafe[:count], self.unsafe[count:]
        for peer, packet_id, payload in done:
            self.on_disk.append(payload)
            peer.connection.acknowledge([packet_id])
        self.peer.connection.send_answers()
        self.hear()

    @rule(count=st.integers(1, 5))
    def device_answers(self, count: int) -> None:
        """It answers some of what it got, in order."""
        answers, self.device.to_answer = self.device.to_answer[:count], self.device.to_answer[count:]
        self.say(b"".join(answers))
        self.pump()

    @rule(qos=st.integers(1, 2), count=st.integers(1, 4))
    def broker_publishes(self, qos: int, count: int) -> None:
        """Messages for the client, queued while there is no room."""
        for _ in range(count):
            self.number += 1
            self.queue.append((qos, b"%d" % self.number))
        self.pump()

    def pump(self) -> None:
        """Send what is queued, as far as there is room."""
        while self.queue and self.peer.connection.room:
            qos, payload = self.queue.pop(0)
            assert self.peer.connection.publish(Publish("t", payload), qos, 0)
            self.sent.append((qos, payload))
        self.hear()

    @rule(hears=st.booleans())
    def connection_breaks(self, hears: bool) -> None:
        """It breaks, what was written last may be lost, and the client is back at once."""
        (ended,) = self.peer.connection.lost("gone")
        assert ended.publishes_will  # type: ignore[union-attr]
        if hears:
            self.hear()
        self.peer.sent()
        self.connect()
        self.pump()

    @invariant()
    def holds(self) -> None:
        """What must hold at any time."""
        if not hasattr(self, "peer"):
            return
        assert not self.peer.connection.is_ended
        exactly_once = [payload for qos, payload in self.sent if qos == 2]
        assert all(self.device.got.count(payload) <= 1 for payload in exactly_once)
        firsts = list(dict.fromkeys(self.device.got))
        assert firsts == [payload for _, payload in self.sent if payload in self.device.got]

    def teardown(self) -> None:
        """Let everything settle."""
        if not hasattr(self, "peer"):
            return
        for _ in range(200):
            for peer, packet_id, payload in self.unsafe:
                self.on_disk.append(payload)
                peer.connection.acknowledge([packet_id])
            self.unsafe = []
            self.peer.connection.send_answers()
            self.hear()
            answers, self.device.to_answer = self.device.to_answer, []
            self.say(b"".join(answers))
            self.pump()
        device = self.device
        assert (device.published, device.released, device.known, self.queue) == ({}, [], set(), [])
        assert (len(self.inbound), len(self.outbound), self.inbound.unanswered) == (0, 0, 0)
        assert len(set(self.given)) == self.published
        assert set(device.got) == {payload for _, payload in self.sent}
        assert self.peer.ended is None


@pytest.mark.slow
@pytest.mark.parametrize("examples", [pytest.param(EXAMPLES), pytest.param(SOAK_EXAMPLES, marks=[pytest.mark.soak])])
def test_a_connection_keeps_what_the_protocol_promises(examples: int) -> None:
    run_state_machine_as_test(
        ListenerMachine, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None)
    )
