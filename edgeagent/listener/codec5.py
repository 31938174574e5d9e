"""Bytes of MQTT 5 into packets and back, as a server needs it: on the codec `mqtt5`, which is imported with this.

Messages without properties and short answers, which are nearly all, do not pass the codec: their form is MQTT 3.1.1's,
and they take a third of the time (`benchmarks listener`).
What the codec lets pass although the protocol does not is looked at here: flags, packet ids, texts with NUL, topics and
filters; texts that are not UTF-8, over which it panics, are found before it sees them.

Beware: the codec's enums are no ints, whatever its stub says. `int()` makes numbers of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import mqtt5

from edgeagent.listener.forms import ANSWERS, PACKET_ID_BYTES, checked_id, plain_publish
from edgeagent.listener.framing import (
    CONNECT,
    DUPLICATE,
    PINGREQ,
    PUBLISH,
    RETAIN,
    SECOND_CONNECT,
    SUBACK,
    TYPE,
    UNSUBACK,
    MalformedPacket,
    first_of_answer,
    packet,
    short_answers,
    written,
)
from edgeagent.listener.packets import (
    MQTT_5,
    ConnAck,
    Connect,
    Packet,
    PingReq,
    Publish,
)
from edgeagent.listener.reading5 import by_codec, connect_from, converted, published
from edgeagent.listener.reasons import Reason

_QOS = (mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE, mqtt5.QoS.EXACTLY_ONCE)
_PING = PingReq()


class Codec5:
    """The packets of one client of MQTT 5. It knows which topic each alias of the client stands for.

    Args:
        max_packet_bytes, receive_maximum, topic_alias_maximum: what the client is told, and held to.
    """

    __slots__ = ("_aliases", "_max_packet_bytes", "_receive_maximum", "_topic_alias_maximum")

    version = MQTT_5

    def __init__(self, max_packet_bytes: int, receive_maximum: int, topic_alias_maximum: int) -> None:
        self._max_packet_bytes = max_packet_bytes
        self._receive_maximum = receive_maximum
        self._topic_alias_maximum = topic_alias_maximum
        self._aliases: dict[int, str] | None = None

    @staticmethod
    def connect(data: bytes, position: int, body: int, end: int) -> Connect:
        """The CONNECT that begins at `position` and has data[body:end] as its body.

        Raises:
            Malformed: it breaks a rule.
        """
        return connect_from(data, position, body, end)

    def read(self, data: bytes, position: int, body: int, end: int) -> Packet:
        """The packet behind CONNECT that begins at `position` and has data[body:end] as its body.

        Raises:
            Malformed: it breaks a rule.
        """
        first = data[position]
        if first & TYPE == PUBLISH:
            plain = plain_publish(data, position, body, end, v5=True)
            if plain is not None:
                return plain
        elif end - body == PACKET_ID_BYTES and first in ANSWERS:
            return ANSWERS[first](checked_id(data[body] << 8 | data[body + 1]))
        elif first == PINGREQ and body == end:
            return _PING
        elif first & TYPE == CONNECT:
            raise MalformedPacket(Reason.PROTOCOL_ERROR, SECOND_CONNECT)
        found = by_codec(data, position, body, end)
        if isinstance(found, mqtt5.PublishPacket):
            return published(found, self._topic_of_alias)
        return converted(found, data, body, end)

    def _topic_of_alias(self, alias: int, topic: str) -> str:
        """What the alias stands for; from now on for `topic`, if there is one."""
        if alias > self._topic_alias_maximum:
            raise MalformedPacket(
                Reason.TOPIC_ALIAS_INVALID, f"topic alias {alias}, {self._topic_alias_maximum} are taken"
            )
        if self._aliases is None:
            self._aliases = {}
        if topic:
            self._aliases[alias] = topic
        elif alias not in self._aliases:
            raise MalformedPacket(Reason.PROTOCOL_ERROR, f"topic alias {alias}, which stands for nothing")
        return self._aliases[alias]

    def connack(self, reason: int, ack: ConnAck, text: str = "") -> bytes:
        """CONNACK, with what this listener takes."""
        if reason:
            return mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode(reason), reason_str=text or None).write()
        return mqtt5.ConnAckPacket(
            session_present=ack.session_present,
            session_expiry_interval=ack.session_expiry_s,
            assigned_client_id=ack.assigned_client_id,
            server_keep_alive=ack.keep_alive_s,
            receive_max=self._receive_maximum,
            topic_alias_max=self._topic_alias_maximum,
            max_packet_size=self._max_packet_bytes,
            shared_subscription_available=False,
        ).write()

    @staticmethod
    def publish(
        message: Publish,
        qos: int,
        retain: bool,
        packet_id: int,
        duplicate: bool,
        subscription_ids: tuple[int, ...] = (),
    ) -> bytes:
        """PUBLISH, of which the message's own `qos`, `retain`, `packet_id` and `duplicate` say nothing.

        Raises:
            ValueError: it does not fit the format.
        """
        if subscription_ids or _has_properties(message):
            return mqtt5.PublishPacket(
                message.topic,
                message.payload,
                qos=_QOS[qos],
                retain=retain,
                packet_id=packet_id if qos else None,
                duplicate=duplicate,
                payload_format_indicator=int(message.is_text),
                message_expiry_interval=message.expiry_s,
                content_type=message.content_type,
                response_topic=message.response_topic,
                correlation_data=message.correlation_data,
                subscription_ids=list(subscription_ids),
                user_properties=list(message.user_properties),
            ).write()
        first = PUBLISH | qos << 1 | (RETAIN if retain else 0) | (DUPLICATE if duplicate else 0)
        head = written(message.topic)
        return packet(first, head + (packet_id.to_bytes(2, "big") if qos else b"") + b"\0" + message.payload)

    @staticmethod
    def answers(kind: int, packet_ids: Sequence[int], reason: int) -> bytes:
        """A PUBACK, PUBREC, PUBREL or PUBCOMP for each packet id."""
        if not reason:
            return short_answers(kind, packet_ids)
        first = first_of_answer(kind)
        return b"".join([bytes((first, 3, packet_id >> 8, packet_id & 0xFF, reason)) for packet_id in packet_ids])

    @staticmethod
    def suback(packet_id: int, reasons: Iterable[int]) -> bytes:
        """SUBACK: the QoS granted for each filter, or why none is."""
        return packet(SUBACK, packet_id.to_bytes(2, "big") + b"\0" + bytes(reasons))

    @staticmethod
    def unsuback(packet_id: int, reasons: Iterable[int]) -> bytes:
        """UNSUBACK: what became of each filter."""
        return packet(UNSUBACK, packet_id.to_bytes(2, "big") + b"\0" + bytes(reasons))

    @staticmethod
    def disconnect(reason: int, text: str = "") -> bytes:
        """DISCONNECT."""
        code = mqtt5.DisconnectReasonCode(reason)
        return mqtt5.DisconnectPacket(reason_code=code, reason_str=text or None).write()


def _has_properties(message: Publish) -> bool:
    return (
        message.expiry_s is not None
        or message.content_type is not None
        or message.response_topic is not None
        or message.correlation_data is not None
        or bool(message.user_properties)
        or message.is_text
    )
