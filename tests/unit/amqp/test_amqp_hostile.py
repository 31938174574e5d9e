"""A broker that lies: each lie ends the connection with a reason, and nothing raises, loops or fills the memory."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body, commands, frame, header

from edgeagent.amqp.codec import FRAME_MAX_BYTES, FrameReader
from edgeagent.amqp.connection import AmqpPhase
from edgeagent.amqp.heartbeats import Heartbeats
from edgeagent.amqp.opening import CONSUMING, PUBLISHING
from tests.fakes.amqp_peer import AmqpPeer, content, request, start

DELIVER = commands.Basic.Deliver("0", 1, False, "amq.topic", "k")
HEAD = header.ContentHeader(0, 4, commands.Basic.Properties())


def opened() -> AmqpPeer:
    peer = AmqpPeer()
    peer.open()
    return peer


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "no frame of AMQP"),
        (b"AMQP\x00\x01\x00\x00", "another version of AMQP"),
        (b"\x01\x00\x00\xff\xff\xff\xff", "more than agreed"),
        (b"\x01\x00\x00\x00\x00\x00\x01\x00\x00", "without its end"),
        (b"\x01\x00\x00\x00\x00\x00\x04\x00\x63\x00\x63\xce", "a malformed frame"),
        (b"\x01\x00\x00\x00\x00\x00\x00\xce", "a malformed frame"),
        (frame.marshal(commands.Basic.Get(), 1), "an unexpected"),
    ],
)
def test_bytes_that_are_no_frame_end_the_connection(data: bytes, words: str) -> None:
    peer = opened()
    peer.machine.receive(data)
    assert peer.machine.phase is AmqpPhase.ENDED
    assert words in str(peer.machine.error)


@pytest.mark.parametrize(
    "frames",
    [
        [(CONSUMING, body.ContentBody(b"x"))],
        [(CONSUMING, HEAD)],
        [(CONSUMING, DELIVER), (CONSUMING, body.ContentBody(b"x"))],
        [(CONSUMING, DELIVER), (CONSUMING, HEAD), (CONSUMING, HEAD)],
        [(CONSUMING, DELIVER), (CONSUMING, HEAD), (CONSUMING, body.ContentBody(b"12345"))],
        [(CONSUMING, DELIVER), (CONSUMING, HEAD), (CONSUMING, DELIVER)],
        [(PUBLISHING, DELIVER)],
        [(9, DELIVER)],
        [(PUBLISHING, commands.Basic.Ack(1))],
        [(PUBLISHING, commands.Basic.Ack(1, True))],
        [(0, commands.Connection.Start())],
    ],
)
def test_frames_out_of_place_end_the_connection(frames: list[tuple[int, object]]) -> None:
    peer = opened()
    for channel, value in frames:
        peer.send(channel, value)
    assert peer.machine.phase is AmqpPhase.ENDED
    assert not peer.machine.messages


@pytest.mark.parametrize("acknowledges", [False, True])
def test_a_broker_that_sends_more_than_agreed_is_left(acknowledges: bool) -> None:
    peer = opened()
    for number in range(1, 400):
        peer.deliver(number, b"x")
        if acknowledges:
            peer.machine.acknowledge(peer.machine.messages[-1:])
    assert len(peer.machine.messages) == (399 if acknowledges else 256)
    if not acknowledges:
        assert "more messages than agreed: 256 are not acknowledged" in str(peer.machine.error)


def test_a_queue_whose_name_is_none_ends_the_connection() -> None:
    peer = AmqpPeer(request(session_expiry_s=0))
    good = commands.Queue.DeclareOk("amq.gen-1", 0, 0)
    peer.answers = lambda written: _spoiled(type(peer).answers(peer, written), peer.framed(1, good))  # type: ignore[method-assign]
    peer.answer(peer.send(0, start()))
    assert "a name of a queue that is none" in str(peer.machine.error)


def _spoiled(answer: bytes, good: bytes) -> bytes:
    return answer.replace(b"amq.gen-1", b"amq.gen\x00\x01") if answer == good else answer


def test_a_delivery_tag_in_use_or_a_consumer_that_is_not_ours_ends_the_connection() -> None:
    peer = opened()
    peer.deliver(1, b"x")
    peer.deliver(1, b"x")
    assert "delivery tag 1" in str(peer.machine.error)
    other = opened()
    other.send(CONSUMING, commands.Basic.Deliver("zz", 1, False, "amq.topic", "k"), *content(b"x"))
    assert "no consumer of ours" in str(other.machine.error)


def test_a_body_that_is_too_large_is_not_kept() -> None:
    peer = opened()
    head = header.ContentHeader(0, 1 << 29, commands.Basic.Properties())
    peer.send(CONSUMING, DELIVER, head, body.ContentBody(bytes(100_000)))
    assert not peer.machine._content[CONSUMING].payload


def test_a_header_of_another_class_is_malformed() -> None:
    peer = opened()
    peer.send(CONSUMING, DELIVER)
    peer.machine.receive(framed(2, b"\x00\x3d\x00\x00" + (4).to_bytes(8, "big") + b"\x00\x80\x01\xff"))
    assert "a malformed frame" in str(peer.machine.error)


def framed(kind: int, payload: bytes) -> bytes:
    """A frame of the consuming channel."""
    return bytes([kind, 0, CONSUMING]) + len(payload).to_bytes(4, "big") + payload + b"\xce"


# What RabbitMQ passes on as the publisher wrote it: the flags of the properties, and their bytes.
UNREADABLE = {
    "a message id that is not UTF-8": (1 << 7, b"\x01\xff"),
    "an app id that is not UTF-8": (1 << 3, b"\x04caf\xe9"),
    "a time in microseconds": (1 << 6, (1_700_000_000_000_000).to_bytes(8, "big")),
    "the last time": (1 << 6, b"\xff" * 8),
    "a header's name that is not UTF-8": (1 << 13, b"\x00\x00\x00\x07\x01\xffS\x00\x00\x00\x00"),
    "a time in a header": (1 << 13, b"\x00\x00\x00\x0b\x01aT" + b"\xff" * 8),
    "tables nested without end": (1 << 13, b"\x01kF" * 20_000),
    "nothing where there must be something": (1 << 15, b""),
}


@pytest.mark.parametrize(("flags", "properties"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_message_whose_properties_cannot_be_read_is_one_without_any(flags: int, properties: bytes) -> None:
    peer = opened()
    peer.send(CONSUMING, DELIVER)
    head = b"\x00\x3c\x00\x00" + (4).to_bytes(8, "big") + flags.to_bytes(2, "big") + properties
    peer.machine.receive(framed(2, head))
    peer.send(CONSUMING, body.ContentBody(b"abcd"))
    (message,) = peer.machine.messages
    assert (message.payload, message.response_topic, message.correlation_data) == (b"abcd", None, None)
    assert peer.machine.unreadable == ["k"]
    peer.deliver(2, b"x", correlation_id="c0ffee")
    assert peer.machine.messages[-1].correlation_data == b"c0ffee"
    acks = peer.heard(peer.machine.acknowledge(peer.machine.messages))
    assert [(ack.delivery_tag, ack.multiple) for _, ack in acks if isinstance(ack, commands.Basic.Ack)] == [(2, True)]


def test_a_routing_key_that_is_not_utf8_is_a_topic_that_binds_nobody() -> None:
    peer = opened()
    good = frame.marshal(commands.Basic.Deliver("0", 1, True, "amq.topic", "argo.workflows.trigger.?"), CONSUMING)
    peer.machine.receive(good.replace(b"?", b"\xff"))
    peer.send(CONSUMING, *content(b"x"))
    (message,) = peer.machine.messages
    assert message.topic == "argo/workflows/trigger/\ufffd"
    assert message.duplicate
    assert peer.machine.acknowledge([message])


@given(st.binary(max_size=400), st.integers(0, 3))
def test_any_bytes_at_any_time_end_in_words_or_are_waited_for(data: bytes, kind: int) -> None:
    framed = bytes([kind, 0, 1]) + len(data).to_bytes(4, "big") + data + b"\xce"
    for peer in (AmqpPeer(), opened()):
        peer.machine.receive(data)
        peer.machine.receive(framed)
        assert peer.machine.phase is not AmqpPhase.ENDED or str(peer.machine.error)


def test_turned_bits_in_a_good_stream_never_raise() -> None:
    good = b"".join(frame.marshal(value, 1) for value in (DELIVER, *content(b"abcd", headers={"a": ["b", {"c": 1}]})))
    random = Random(7)  # noqa: S311  chance for tests
    for _ in range(300):
        data = bytearray(good)
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        opened().machine.receive(bytes(data))


def test_frames_come_whole_however_they_are_cut() -> None:
    data = frame.marshal(start(), 0) + frame.marshal(DELIVER, 1)
    reader, found = FrameReader(), list[object]()
    for at in range(len(data)):
        frames, fault = reader.take(data[at : at + 1])
        assert not fault
        found += frames
    assert len(found) == 2
    assert reader.frame_max_bytes == FRAME_MAX_BYTES


def test_a_silent_broker_is_gone_after_one_and_a_half_intervals() -> None:
    heartbeats, now_s = Heartbeats(30.0, 0.0), 0.0
    sent = 0
    while not heartbeats.is_gone(now_s):
        if heartbeats.is_due(now_s):
            heartbeats.sent(now_s)
            sent += 1
        now_s = heartbeats.next_s()
    assert now_s == 45.0
    assert sent == 2, "one in each half of the interval"


def test_a_process_that_stood_still_gives_the_broker_half_an_interval() -> None:
    heartbeats = Heartbeats(30.0, 0.0)
    assert not heartbeats.is_gone(1000.0)
    heartbeats.received(1001.0)
    assert not heartbeats.is_gone(1015.0)
    silent = Heartbeats(30.0, 0.0)
    assert not silent.is_gone(1000.0)
    assert silent.is_gone(1015.0)
