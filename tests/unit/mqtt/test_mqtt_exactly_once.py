from __future__ import annotations

from typing import Any

import mqtt5
import pytest

from edgeagent.mqtt.qos2 import Qos2Handshakes
from edgeagent.mqtt.reason_codes import answer
from edgeagent.ports.link import Ack, Publication, Subscription
from tests.fakes.link import code_of
from tests.fakes.mqtt_peer import Peer, parse

REC, COMP = mqtt5.PubRecPacket, mqtt5.PubCompPacket
NOT_FOUND = 0x92


def publications(count: int, first: int = 0) -> list[Publication]:
    return [Publication(token, "t", b"%d" % token, qos=2) for token in range(first, first + count)]


def resumed(session: Qos2Handshakes, *, present: bool = True, **connack: Any) -> tuple[Peer, list[Any]]:
    """The next connection of a session, and what it wrote before its owner said anything."""
    peer = Peer(up=False, qos2=session)
    peer.transport.writes.clear()
    peer.feed(mqtt5.ConnAckPacket(session_present=present, **connack))
    return peer, peer.transport.packets()


def names(packets: list[Any]) -> list[tuple[str, int]]:
    return [(type(packet).__name__.removesuffix("Packet"), packet.packet_id) for packet in packets]


def test_a_publication_is_acknowledged_when_its_handshake_is_complete_and_not_before() -> None:
    peer = Peer(qos2=Qos2Handshakes())
    peer.link.publish(publications(2))
    assert [int(packet.qos) for packet in peer.transport.packets()] == [2, 2]
    peer.feed(REC(1), REC(2))
    assert len(peer.transport.writes) == 1, "the PUBRELs of one read leave in one write"
    assert names(peer.transport.packets()) == [("PubRel", 1), ("PubRel", 2)]
    assert peer.owner.acks == []
    peer.feed(COMP(1), COMP(2))
    assert peer.owner.acks == [Ack(0), Ack(1)]


def test_the_reason_in_pubrec_is_told_nobody_hears_it_at_the_end_and_a_refusal_at_once() -> None:
    peer = Peer(qos2=Qos2Handshakes())
    peer.link.publish(publications(2))
    peer.transport.writes.clear()
    codes = mqtt5.PubRecReasonCode
    peer.feed(
        REC(1, reason_code=codes.NO_MATCHING_SUBSCRIBERS),
        REC(2, reason_code=codes.NOT_AUTHORIZED, reason_str="acl"),
    )
    assert names(peer.transport.packets()) == [("PubRel", 1)], "a refused publication is not released"
    assert peer.owner.acks == [answer(1, 0x87, "acl")]
    peer.feed(COMP(1))
    assert peer.owner.acks[1:] == [answer(0, 0x10)]


def test_a_message_that_the_broker_forgot_between_pubrec_and_pubrel_is_no_success() -> None:
    peer = Peer(qos2=Qos2Handshakes())
    peer.link.publish(publications(1))
    peer.feed(REC(1), COMP(1, reason_code=mqtt5.PubCompReasonCode.PACKET_ID_NOT_FOUND))
    assert peer.owner.acks == [answer(0, NOT_FOUND)]


def test_unfinished_handshakes_count_against_the_receive_maximum_until_their_end() -> None:
    peer = Peer(qos2=Qos2Handshakes(), connack={"receive_max": 3})
    peer.link.publish(publications(3))
    assert peer.link.room == 0
    peer.feed(REC(1))
    assert peer.link.room == 0
    peer.feed(COMP(1), REC(2, reason_code=mqtt5.PubRecReasonCode.QUOTA_EXCEEDED))
    assert peer.link.room == 2


def test_a_process_begins_with_a_clean_session_and_goes_on_with_it() -> None:
    session = Qos2Handshakes()
    assert Peer(qos2=session, up=False).transport.packets()[0].clean_start
    assert Peer(qos2=session, up=False).transport.packets()[0].clean_start, "the broker had not answered yet"
    Peer(qos2=session)
    assert not Peer(qos2=session, up=False).transport.packets()[0].clean_start


def test_a_kept_session_goes_on_where_each_handshake_was() -> None:
    session = Qos2Handshakes()
    first = Peer(qos2=session)
    first.link.publish(publications(4, first=70))
    first.feed(REC(3), REC(1), REC(4), COMP(4))
    peer, written = resumed(session)
    assert names(written) == [("PubRel", 3), ("PubRel", 1), ("Publish", 2)]
    again = written[2]
    assert (again.duplicate, again.topic, again.payload) == (True, "t", b"71")
    assert peer.link.carried == {70, 71, 72}
    peer.feed(COMP(3), REC(2), COMP(1))
    peer.feed(COMP(2))
    assert peer.owner.acks == [Ack(72), Ack(70), Ack(71)]


def test_what_goes_on_is_written_before_the_owner_publishes_and_after_the_subscriptions_are_confirmed() -> None:
    session = Qos2Handshakes()
    Peer(qos2=session).link.publish(publications(1))
    peer = Peer(up=False, qos2=session, subscriptions=(Subscription("a"),))
    peer.feed(mqtt5.ConnAckPacket(session_present=True))
    peer.transport.writes.clear()
    peer.feed(mqtt5.SubAckPacket(2, [mqtt5.SubAckReasonCode(1)]))
    assert names(peer.transport.packets()) == [("Publish", 1)]
    assert peer.owner.calls == ["up"]


def test_a_lost_session_carries_nothing_and_its_packet_ids_are_free() -> None:
    session = Qos2Handshakes()
    first = Peer(qos2=session)
    first.link.publish(publications(2))
    first.feed(REC(1))
    peer, written = resumed(session, present=False)
    assert (written, peer.link.carried) == ([], frozenset())
    assert peer.link.room == 65535
    peer.link.publish(publications(2))
    assert [packet.duplicate for packet in peer.transport.packets()] == [False, False]


def test_a_packet_id_in_a_handshake_is_not_used_for_anything_else() -> None:
    session = Qos2Handshakes()
    first = Peer(qos2=session)
    first.link.publish(publications(2))
    peer, _ = resumed(session)
    peer.link._publishing.last_packet_id = 65535
    peer.link.publish([Publication(9, "t", b""), *publications(1, first=2)])
    assert [packet.packet_id for packet in peer.transport.packets()] == [3, 4]


def test_a_smaller_receive_maximum_is_kept_while_publications_are_repeated() -> None:
    session = Qos2Handshakes()
    Peer(qos2=session).link.publish(publications(3))
    peer, written = resumed(session, receive_max=2)
    assert names(written) == [("Publish", 1), ("Publish", 2)]
    assert peer.link.room == 0
    peer.feed(REC(1))
    peer.transport.writes.clear()
    peer.feed(COMP(1))
    assert names(peer.transport.packets()) == [("Publish", 3)]
    peer.feed(REC(2), REC(3))
    peer.feed(COMP(2), COMP(3))
    assert [ack.token for ack in peer.owner.acks] == [0, 1, 2]
    assert peer.link.room == 2


def test_what_a_broker_no_longer_takes_is_told_and_its_packet_id_stays_reserved() -> None:
    session = Qos2Handshakes()
    Peer(qos2=session).link.publish([Publication(5, "t", b"x" * 200, qos=2)])
    peer, written = resumed(session, max_packet_size=100)
    peer.loop.turn()
    assert written == []
    assert [(ack.token, code_of(ack)) for ack in peer.owner.acks] == [(5, 0x95)]
    assert 1 in session


def test_a_pubrec_that_nothing_waits_for_is_answered_so_that_the_broker_forgets_it() -> None:
    peer = Peer(qos2=Qos2Handshakes())
    peer.feed(REC(77), REC(78, reason_code=mqtt5.PubRecReasonCode.NOT_AUTHORIZED))
    (packet,) = peer.transport.packets()
    assert (packet.packet_id, int(packet.reason_code)) == (77, NOT_FOUND)
    assert peer.error is None


def test_a_pubcomp_that_nothing_waits_for_ends_the_connection() -> None:
    peer = Peer(qos2=Qos2Handshakes())
    peer.link.publish(publications(1))
    peer.feed(COMP(1))
    assert "packet id 1, which is not in flight" in (peer.error or "")


def test_an_answer_before_connack_ends_the_connection_and_completes_nothing() -> None:
    session = Qos2Handshakes()
    Peer(qos2=session).link.publish(publications(1))
    peer = Peer(up=False, qos2=session)
    peer.feed(REC(1, reason_code=mqtt5.PubRecReasonCode.NOT_AUTHORIZED))
    assert "packet id 1, which is not in flight" in (peer.error or "")
    assert peer.owner.acks == []
    assert session.tokens == {0}


def test_answers_before_the_subscriptions_are_confirmed_are_told_after_the_link_is_up() -> None:
    session = Qos2Handshakes()
    Peer(qos2=session).link.publish(publications(1))
    peer = Peer(up=False, qos2=session, subscriptions=(Subscription("a"),))
    peer.feed(mqtt5.ConnAckPacket(session_present=True))
    peer.feed(REC(1, reason_code=mqtt5.PubRecReasonCode.NOT_AUTHORIZED))
    assert peer.owner.calls == []
    peer.feed(mqtt5.SubAckPacket(2, [mqtt5.SubAckReasonCode(1)]))
    assert peer.owner.calls == ["up", "acks"]
    assert peer.link.carried == {0}, "the owner does not publish it in between"


def test_a_broker_without_qos_2_is_told_with_what_to_do() -> None:
    peer = Peer(up=False, qos2=Qos2Handshakes())
    peer.feed(mqtt5.ConnAckPacket(max_qos=mqtt5.QoS.AT_LEAST_ONCE))
    assert "it takes no QoS 2; set qos = 1" in (peer.error or "")


def test_without_a_session_for_it_nothing_goes_out_at_qos_2() -> None:
    peer = Peer()
    peer.link.publish(publications(1))
    peer.loop.turn()
    assert peer.transport.packets() == []
    assert [code_of(ack) for ack in peer.owner.acks] == [0x9B]


@pytest.mark.parametrize("cut", [1, 2, 3, 5])
def test_the_handshake_is_the_same_however_the_bytes_are_cut(cut: int) -> None:
    peer = Peer(qos2=Qos2Handshakes())
    peer.link.publish(publications(2))
    peer.transport.writes.clear()
    data = REC(1).write() + REC(2).write() + COMP(2).write() + COMP(1).write()
    for start in range(0, len(data), cut):
        peer.link.data_received(data[start : start + cut])
    assert names(parse(b"".join(peer.transport.writes))) == [("PubRel", 1), ("PubRel", 2)]
    assert [ack.token for ack in peer.owner.acks] == [1, 0]
