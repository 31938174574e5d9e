from __future__ import annotations

import mqtt5
import pytest

from edgeagent.mqtt.reason_codes import answer
from edgeagent.ports.link import Ack, Publication, Subscription
from tests.fakes.link import code_of
from tests.fakes.mqtt_peer import Peer, message


def publications(count: int, first: int = 0) -> list[Publication]:
    return [Publication(token, "t", b"x") for token in range(first, first + count)]


def test_one_call_is_one_write_and_every_field_goes_out() -> None:
    peer = Peer()
    full = Publication(
        7,
        "argo/workflows/trigger",
        b"{}",
        content_type="application/json",
        correlation_data=b"9f2c",
        response_topic="argo/workflows/response/gw",
        expiry_s=60,
        user_properties=(("agent", "gw"), ("rule", "overheat")),
    )
    peer.link.publish([full, Publication(8, "b", b"", qos=0, retain=True)])
    assert len(peer.transport.writes) == 1
    first, second = peer.transport.packets()
    assert (first.topic, first.payload, first.packet_id, first.retain) == ("argo/workflows/trigger", b"{}", 1, False)
    assert (first.content_type, first.correlation_data) == ("application/json", b"9f2c")
    assert (first.response_topic, first.message_expiry_interval) == ("argo/workflows/response/gw", 60)
    assert first.user_properties == [("agent", "gw"), ("rule", "overheat")]
    assert (second.topic, second.packet_id, second.retain) == ("b", None, True)


def test_acks_come_back_with_the_owners_tokens_and_the_brokers_reasons_in_one_batch() -> None:
    peer = Peer()
    peer.link.publish(publications(3, first=70))
    codes = mqtt5.PubAckReasonCode
    peer.feed(
        mqtt5.PubAckPacket(2, reason_code=codes.NO_MATCHING_SUBSCRIBERS),
        mqtt5.PubAckPacket(1),
        mqtt5.PubAckPacket(3, reason_code=codes.NOT_AUTHORIZED, reason_str="acl"),
    )
    assert peer.owner.acks == [answer(71, 0x10), Ack(70), answer(72, 0x87, "acl")]
    assert peer.owner.calls == ["up", "acks"]
    assert type(code_of(peer.owner.acks[0])) is int


def test_room_is_the_brokers_receive_maximum_less_what_is_not_acknowledged() -> None:
    peer = Peer(connack={"receive_max": 20})
    assert peer.link.room == 20
    peer.link.publish([*publications(3), Publication(9, "t", b"", qos=0)])
    assert peer.link.room == 17
    peer.feed(mqtt5.PubAckPacket(2))
    assert peer.link.room == 18


def test_a_full_socket_has_no_room_and_says_when_it_has() -> None:
    peer = Peer()
    peer.link.pause_writing()
    assert peer.link.room == 0
    peer.link.resume_writing()
    assert peer.link.room > 0
    assert peer.owner.calls == ["up", "room"]


def test_packet_ids_wrap_around_and_pass_over_those_in_flight() -> None:
    peer = Peer()
    peer.link.publish(publications(2))
    peer.feed(mqtt5.PubAckPacket(2))
    peer.link._publishing.last_packet_id = 65534
    peer.link.publish(publications(3, first=2))
    assert [packet.packet_id for packet in peer.transport.packets()] == [1, 2, 65535, 2, 3]
    peer.feed(mqtt5.PubAckPacket(65535), mqtt5.PubAckPacket(1))
    assert [ack.token for ack in peer.owner.acks] == [1, 2, 0]


def test_a_publication_larger_than_the_broker_takes_is_not_written_and_told_in_the_next_turn() -> None:
    peer = Peer(connack={"max_packet_size": 100})
    assert peer.link.max_packet_bytes == 100
    # The second is too large only with its topic and properties.
    large = [Publication(1, "t", bytes(101)), Publication(2, "t", bytes(90), content_type="application/json")]
    peer.link.publish([*large, Publication(3, "t", b"x")])
    assert [packet.payload for packet in peer.transport.packets()] == [b"x"]
    assert peer.owner.acks == []
    peer.loop.turn()
    assert [(ack.token, code_of(ack)) for ack in peer.owner.acks] == [(1, 0x95), (2, 0x95)]
    assert not peer.transport.closed
    assert str(peer.owner.acks[0].outcome) == (
        "the broker refused the message: the packet is larger than it takes (0x95): it has 101 bytes, "
        "at most 100 are taken"
    )


@pytest.mark.parametrize(
    ("publication", "reason_code"),
    [
        (Publication(1, "t" * 65536, b""), 0x81),
        (Publication(1, "t", b"", expiry_s=-1), 0x81),
        (Publication(1, "t\ud800", b""), 0x81),
        (Publication(1, "t", b"", retain=True), 0x9A),
        (Publication(1, "t", b"", qos=2), 0x9B),
        (Publication(1, "t" * 65536, b"", qos=0), 0x81),
    ],
)
def test_what_the_broker_would_end_the_connection_over_is_never_written(
    publication: Publication, reason_code: int
) -> None:
    peer = Peer(connack={"retain_available": False})
    peer.link.publish([publication])
    peer.loop.turn()
    assert peer.transport.writes == []
    assert [(ack.token, code_of(ack)) for ack in peer.owner.acks] == [(1, reason_code)]
    assert peer.link.room == 65535


def test_more_than_the_brokers_receive_maximum_is_never_in_flight() -> None:
    peer = Peer(connack={"receive_max": 2})
    peer.link.publish(publications(3))
    peer.loop.turn()
    assert len(peer.transport.packets()) == 2
    assert [(ack.token, code_of(ack)) for ack in peer.owner.acks] == [(2, 0x93)]


def test_after_the_end_nothing_is_written_and_nothing_more_is_told() -> None:
    peer = Peer(connack={"max_packet_size": 100})
    peer.feed(message(1))
    peer.link.publish([Publication(1, "t", bytes(200))])
    peer.link.connection_lost(None)
    peer.transport.writes.clear()
    peer.link.publish(publications(1))
    peer.link.acknowledge(peer.owner.messages)
    peer.feed(message(2))
    peer.link.resume_writing()
    peer.loop.turn()
    assert peer.transport.writes == []
    assert peer.owner.calls == ["up", "messages"]
    assert peer.link.room == 0


def test_a_message_carries_what_a_reply_needs() -> None:
    peer = Peer()
    peer.feed(
        message(5, "a/b", b"1", retain=True, duplicate=True, response_topic="r", correlation_data=b"c"),
        message(None, "c"),
    )
    first, second = peer.owner.messages
    assert (first.topic, first.payload, first.delivery_id) == ("a/b", b"1", 5)
    assert (first.retain, first.duplicate, first.response_topic, first.correlation_data) == (True, True, "r", b"c")
    assert (second.topic, second.receipt, second.delivery_id) == ("c", None, 0)
    another = Peer()
    another.feed(message(5, "a/b", b"1"))
    assert first.receipt not in {None, another.owner.messages[0].receipt}, "unique in the process"


def test_acks_are_told_before_messages_of_the_same_read() -> None:
    peer = Peer()
    peer.link.publish(publications(1))
    peer.feed(message(1), mqtt5.PubAckPacket(1), message(2))
    assert peer.owner.calls == ["up", "acks", "messages"]


def test_acknowledgements_of_one_call_leave_in_one_write() -> None:
    peer = Peer()
    peer.feed(message(3), message(1), message(None), message(2))
    peer.link.acknowledge(peer.owner.messages)
    assert len(peer.transport.writes) == 1
    assert [packet.packet_id for packet in peer.transport.packets()] == [3, 1, 2]


def test_acknowledgements_leave_in_order_of_receipt_whatever_the_owners_order() -> None:
    peer = Peer()
    peer.feed(message(1), message(2), message(3))
    first, second, third = peer.owner.messages
    peer.link.acknowledge([third, second])
    assert peer.transport.writes == []
    peer.link.acknowledge([first])
    assert [packet.packet_id for packet in peer.transport.packets()] == [1, 2, 3]


def test_a_message_acknowledged_twice_is_acknowledged_once() -> None:
    peer = Peer()
    peer.feed(message(1))
    peer.link.acknowledge(peer.owner.messages * 2)
    peer.link.acknowledge(peer.owner.messages)
    assert [packet.packet_id for packet in peer.transport.packets()] == [1]
    peer.feed(message(1))
    assert peer.transport.writes == []


def test_an_acknowledgement_of_an_earlier_connection_is_ignored() -> None:
    earlier, now = Peer(), Peer()
    earlier.feed(message(1))
    now.feed(message(1))
    now.link.acknowledge(earlier.owner.messages)
    assert now.transport.writes == []
    now.link.acknowledge(now.owner.messages)
    assert [packet.packet_id for packet in now.transport.packets()] == [1]


def test_the_same_bytes_mean_the_same_however_they_are_cut() -> None:
    def outcome(size_bytes: int) -> tuple[object, ...]:
        peer = Peer(up=False, subscriptions=(Subscription("#"),))
        script = [
            mqtt5.ConnAckPacket(session_present=True, receive_max=9),
            message(1, payload=bytes(300)),
            mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode(1)]),
            mqtt5.PingRespPacket(),
            message(None, "zero"),
            message(2, payload=b""),
            mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SERVER_SHUTTING_DOWN),
            message(3, "behind the end"),
        ]
        data = b"".join(packet.write() for packet in script)
        for start in range(0, len(data), size_bytes):
            peer.link.data_received(data[start : start + size_bytes])
        told = [(received.topic, received.payload, received.delivery_id) for received in peer.owner.messages]
        return told, peer.error, peer.owner.session_present

    whole = outcome(1 << 20)
    assert len(whole[0]) == 3  # type: ignore[arg-type]  # the list of messages
    for size_bytes in (1, 2, 3, 7, 100, 301):
        assert outcome(size_bytes) == whole
