"""Every packet of every version, byte for byte: what clients send and what they are answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mqtt5
import msgspec
import pytest

from edgeagent.listener import framing, packets
from edgeagent.listener.codec import Codec
from edgeagent.listener.codec3 import Codec3
from edgeagent.listener.codec5 import Codec5
from edgeagent.listener.framing import Frames, Read
from edgeagent.listener.packets import ConnAck, Packet, Publish, UserProperties

FILE = Path(__file__).parents[2] / "golden" / "mqtt-packets.jsonl"
KINDS = {"PUBACK": framing.PUBACK, "PUBREC": framing.PUBREC, "PUBREL": framing.PUBREL, "PUBCOMP": framing.PUBCOMP}


class Vector(msgspec.Struct, frozen=True):
    """One packet. Of a client's, `says` is what it means; of ours, the arguments of the codec's function `packet`."""

    version: int
    side: str = msgspec.field(name="from")
    name: str
    packet: str
    says: dict[str, Any]
    hex: str

    @property
    def raw(self) -> bytes:
        """The packet's bytes."""
        return bytes.fromhex(self.hex)

    @property
    def meant(self) -> Packet:
        """What the client says."""
        said: Packet = msgspec.convert(self.says, getattr(packets, self.packet))
        return said


VECTORS = [msgspec.json.decode(line, type=Vector) for line in FILE.read_bytes().splitlines()]
OF_CLIENTS = [vector for vector in VECTORS if vector.side == "client"]
OF_OURS = [vector for vector in VECTORS if vector.side == "server"]
VERSIONS = sorted({vector.version for vector in VECTORS})


def title(vector: Vector) -> str:
    """What pytest calls a vector."""
    return f"{vector.version}-{vector.packet}-{vector.name}"


def codec_of(version: int) -> Codec:
    """A codec for one connection."""
    return Codec5(1 << 20, 256, 16) if version == packets.MQTT_5 else Codec3(version)


def reader_of(version: int) -> Read:
    """What reads every packet of one connection."""
    codec = codec_of(version)

    def read_one(data: bytes, position: int, body: int, end: int) -> Packet:
        read = codec.connect if data[position] == framing.CONNECT else codec.read
        return read(data, position, body, end)

    return read_one


def read(version: int, *pieces: bytes) -> list[Packet]:
    """What a codec makes of a stream that arrives in these pieces."""
    read_one, frames, found = reader_of(version), Frames(1 << 20), list[Packet]()
    for piece in pieces:
        frames.take(piece, read_one, found)
    return found


@pytest.mark.parametrize("vector", OF_CLIENTS, ids=title)
def test_what_a_client_sends_is_understood(vector: Vector) -> None:
    assert read(vector.version, vector.raw) == [vector.meant]


@pytest.mark.parametrize("vector", [each for each in OF_CLIENTS if len(each.raw) < 1000], ids=title)
def test_a_packet_that_comes_byte_by_byte_is_the_same(vector: Vector) -> None:
    raw = vector.raw
    pieces = [raw[place : place + 1] for place in range(len(raw))]
    assert read(vector.version, *pieces[:-1]) == []
    assert read(vector.version, *pieces) == [vector.meant]


@pytest.mark.parametrize("vector", OF_CLIENTS, ids=title)
def test_a_packet_is_the_same_whatever_follows_it(vector: Vector) -> None:
    raw = vector.raw
    assert read(vector.version, raw + b"\x30") == [vector.meant]
    assert read(vector.version, raw + b"\xc0\x00\x30\x80") == [vector.meant, packets.PingReq()]
    assert read(vector.version, raw * 3) == [vector.meant] * 3


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("cut_bytes", [1, 7, 64, 1000])
def test_a_stream_of_all_packets_is_the_same_however_it_is_cut(version: int, cut_bytes: int) -> None:
    vectors = [vector for vector in OF_CLIENTS if vector.version == version]
    stream = b"".join([vector.raw for vector in vectors])
    pieces = [stream[place : place + cut_bytes] for place in range(0, len(stream), cut_bytes)]
    assert read(version, *pieces) == [vector.meant for vector in vectors]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_packet_that_a_client_may_send_has_a_vector(version: int) -> None:
    names = {"Connect", "Publish", "PubAck", "PubRec", "PubRel", "PubComp", "Subscribe", "Unsubscribe"}
    names |= {"PingReq", "Disconnect"} | ({"Auth"} if version == packets.MQTT_5 else set())
    assert {vector.packet for vector in OF_CLIENTS if vector.version == version} == names


def written(vector: Vector) -> bytes:
    """What our codec writes for one of our vectors."""
    codec, says = codec_of(vector.version), dict(vector.says)
    if vector.packet == "connack":
        return codec.connack(says.pop("reason"), msgspec.convert(says, ConnAck), "in words")
    if vector.packet == "publish":
        message = msgspec.convert(says, Publish)
        return codec.publish(message, message.qos, message.retain, message.packet_id, message.duplicate)
    if vector.packet == "answers":
        return codec.answers(KINDS[says["kind"]], says["packet_ids"], says["reason"])
    if vector.packet == "disconnect":
        return codec.disconnect(says["reason"], "in words")
    write = codec.suback if vector.packet == "suback" else codec.unsuback
    return write(says["packet_id"], says["reasons"])


@pytest.mark.parametrize("vector", OF_OURS, ids=title)
def test_what_a_client_is_sent_has_these_bytes(vector: Vector) -> None:
    assert written(vector) == vector.raw


@pytest.mark.parametrize("vector", [each for each in OF_CLIENTS if each.version == packets.MQTT_5], ids=title)
def test_the_vectors_of_mqtt_5_are_what_another_codec_reads(vector: Vector) -> None:
    found, size = mqtt5.read(memoryview(vector.raw))
    assert size == len(vector.raw)
    assert type(found).__name__.removesuffix("Packet").lower() == vector.packet.lower()


def test_a_client_of_mqtt_5_is_told_what_is_taken_of_it() -> None:
    ack = ConnAck(session_present=True, assigned_client_id="auto-1", session_expiry_s=60, keep_alive_s=30)
    found, _ = mqtt5.read(memoryview(codec_of(5).connack(0, ack)))
    assert found == mqtt5.ConnAckPacket(
        session_present=True,
        session_expiry_interval=60,
        assigned_client_id="auto-1",
        server_keep_alive=30,
        receive_max=256,
        topic_alias_max=16,
        max_packet_size=1 << 20,
        shared_subscription_available=False,
    )


def test_a_client_of_mqtt_5_is_told_why_it_is_not_let_in() -> None:
    found, _ = mqtt5.read(memoryview(codec_of(5).connack(0x86, ConnAck(), "who are you?")))
    assert found == mqtt5.ConnAckPacket(
        reason_code=mqtt5.ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD, reason_str="who are you?"
    )


def test_a_client_of_mqtt_5_is_told_why_the_connection_ends() -> None:
    found, _ = mqtt5.read(memoryview(codec_of(5).disconnect(0x8E, "taken over")))
    assert found == mqtt5.DisconnectPacket(
        reason_code=mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER, reason_str="taken over"
    )


def test_every_property_of_a_message_reaches_a_subscriber_of_mqtt_5() -> None:
    pairs: UserProperties = (("a", "b"), ("a", "€"))
    message = Publish("t", b"x", 0, False, False, 0, 60, "text/plain", "r/t", b"\0\xff", pairs, is_text=True)
    found, _ = mqtt5.read(memoryview(codec_of(5).publish(message, 2, True, 9, True, (3, 200_000))))
    assert found == mqtt5.PublishPacket(
        "t",
        b"x",
        qos=mqtt5.QoS.EXACTLY_ONCE,
        retain=True,
        packet_id=9,
        duplicate=True,
        payload_format_indicator=1,
        message_expiry_interval=60,
        content_type="text/plain",
        response_topic="r/t",
        correlation_data=b"\0\xff",
        subscription_ids=[3, 200_000],
        user_properties=list(pairs),
    )
