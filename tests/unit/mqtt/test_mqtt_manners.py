from __future__ import annotations

import logging

import mqtt5
import pytest

from edgeagent.errors import Denied
from edgeagent.mqtt.qos2 import Qos2Handshakes
from edgeagent.mqtt.reason_codes import answer
from edgeagent.ports.link import Ack, Publication, Subscription
from tests.fakes.mqtt_peer import Peer

ANSWERS = (Subscription("argo/workflows/response/gw-042"), Subscription("argo/workflows/status/gw-042", required=False))


def triggers(count: int, topic: str = "argo/workflows/trigger", qos: int = 1) -> list[Publication]:
    return [Publication(token, topic, b"{}", qos=qos) for token in range(count)]


def told(peer: Peer) -> list[tuple[str, int | None]]:
    return [(packet.topic, packet.topic_alias) for packet in peer.transport.packets()]


def test_a_topic_that_comes_again_goes_by_its_alias() -> None:
    peer = Peer(connack={"topic_alias_max": 1})
    peer.link.publish([Publication(9, "edgeagent/state/gw-042", b"online"), *triggers(4)])
    whole = "argo/workflows/trigger"
    # The only alias is not spent on a topic that comes once.
    assert told(peer) == [("edgeagent/state/gw-042", None), (whole, None), (whole, 1), ("", 1), ("", 1)]
    peer.link.publish([*triggers(1, "other"), *triggers(1), *triggers(3, "other")])
    assert told(peer) == [("other", None), ("", 1), ("other", None), ("other", None), ("other", None)]


def test_without_an_offer_every_topic_goes_whole() -> None:
    peer = Peer()
    peer.link.publish(triggers(3))
    assert told(peer) == [("argo/workflows/trigger", None)] * 3


def test_a_publication_that_is_not_written_makes_no_alias() -> None:
    peer = Peer(connack={"topic_alias_max": 5, "max_packet_size": 60})
    peer.link.publish([*triggers(1), Publication(8, "argo/workflows/trigger", b"x" * 50), *triggers(2)])
    assert told(peer) == [("argo/workflows/trigger", None), ("argo/workflows/trigger", 1), ("", 1)]


def test_what_is_repeated_at_qos_2_goes_whole_because_aliases_end_with_their_connection() -> None:
    session = Qos2Handshakes()
    first = Peer(qos2=session, connack={"topic_alias_max": 5})
    first.link.publish(triggers(3, qos=2))
    peer = Peer(up=False, qos2=session)
    peer.transport.writes.clear()
    peer.feed(mqtt5.ConnAckPacket(session_present=True, topic_alias_max=5))
    assert told(peer) == [("argo/workflows/trigger", None)] * 3


@pytest.mark.parametrize(("said_s", "pinged_after_s"), [(None, 30), (0, 30), (7, 7)])
def test_the_brokers_keep_alive_is_obeyed(said_s: int | None, pinged_after_s: int) -> None:
    peer = Peer(connack={"server_keep_alive": said_s})
    peer.loop.advance(pinged_after_s - 0.1)
    assert peer.transport.packets() == []
    peer.loop.advance(0.2)
    assert [type(packet) for packet in peer.transport.packets()] == [mqtt5.PingReqPacket]


def test_message_expiry_is_what_is_left_of_the_ttl_in_seconds() -> None:
    peer = Peer()
    peer.link.publish([Publication(1, "t", b"", expiry_s=1), Publication(2, "t", b"", expiry_s=604800)])
    assert [packet.message_expiry_interval for packet in peer.transport.packets()] == [1, 604800]


def refused(peer: Peer, *codes: int) -> None:
    peer.feed(mqtt5.ConnAckPacket())
    peer.feed(mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode(code) for code in codes]))


def test_a_refused_response_topic_is_denied_with_what_to_do_and_nothing_can_be_published() -> None:
    peer = Peer(up=False, subscriptions=ANSWERS)
    refused(peer, 0x87, 1)
    assert isinstance(peer.link.ended.result(), Denied)
    assert "argo/workflows/response/gw-042: not authorized (0x87); let gw-042 read it" in (peer.error or "")
    assert peer.owner.calls == []


@pytest.mark.parametrize("code", [0x87, 0x8F, 0])
def test_another_subscription_that_is_refused_is_a_warning(code: int, caplog: pytest.LogCaptureFixture) -> None:
    peer = Peer(up=False, subscriptions=ANSWERS)
    refused(peer, 1, code)
    assert peer.owner.calls == ["up"]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "argo/workflows/status/gw-042" in record.getMessage()


def test_nothing_is_published_before_the_subscriptions_are_confirmed() -> None:
    peer = Peer(up=False, subscriptions=ANSWERS)
    peer.feed(mqtt5.ConnAckPacket())
    peer.transport.writes.clear()
    assert peer.link.room == 0
    peer.link.publish(triggers(1))
    assert peer.transport.packets() == []
    peer.feed(mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode(1)] * 2))
    peer.link.publish(triggers(1))
    assert [type(packet) for packet in peer.transport.packets()] == [mqtt5.PublishPacket]


@pytest.mark.parametrize("code", [0x95, 0x97, 0x99, 0x9A, 0xFE])
def test_a_refusal_with_any_code_is_that_publications_and_not_the_connections(code: int) -> None:
    peer = Peer()
    peer.link.publish(triggers(3))
    first, second = b"\x40\x03\x00\x01%c" % code, b"\x40\x04\x00\x02%c\x00" % code
    peer.link.data_received(first + second + mqtt5.PubAckPacket(3).write())
    assert peer.owner.acks == [answer(0, code), answer(1, code), Ack(2)]
    assert peer.error is None


def test_a_refusal_with_any_code_ends_a_qos_2_handshake_too() -> None:
    peer = Peer(qos2=Qos2Handshakes())
    peer.link.publish(triggers(2, qos=2))
    peer.feed(mqtt5.PubRecPacket(2))
    peer.link.data_received(b"\x50\x03\x00\x01\x95" + b"\x70\x03\x00\x02\x97")
    assert peer.owner.acks == [answer(0, 0x95), answer(1, 0x97)]


@pytest.mark.parametrize("data", [b"\x40\x03\x00\x01\x11", b"\x41\x03\x00\x01\x95", b"\x60\x03\x00\x01\x95"])
def test_an_answer_that_is_no_refusal_and_no_answer_ends_the_connection(data: bytes) -> None:
    peer = Peer()
    peer.link.publish(triggers(1))
    peer.link.data_received(data)
    assert peer.error is not None


def test_a_client_id_that_the_broker_gives_is_told(caplog: pytest.LogCaptureFixture) -> None:
    peer = Peer(connack={"assigned_client_id": "auto-1"})
    assert peer.owner.calls == ["up"]
    assert "auto-1 instead of gw-042" in caplog.text
