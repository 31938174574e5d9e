"""Packets of MQTT 5 that a client sent, from the codec `mqtt5` into those of the listener.

What the codec lets pass although the protocol does not is looked at here: flags, packet ids, texts with NUL, topics and
filters; texts that are not UTF-8, over which it panics, are found before it sees them.

Beware: the codec's enums are no ints, whatever its stub says. `int()` makes numbers of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mqtt5

from edgeagent.listener.forms import checked_filter, checked_id, checked_topic, connect_fault, without_nul
from edgeagent.listener.framing import MalformedPacket, long_length
from edgeagent.listener.packets import (
    MQTT_5,
    Auth,
    ClientWill,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    Subscribe,
    TopicSubscription,
    Unsubscribe,
    UserProperties,
)
from edgeagent.listener.reasons import Reason
from edgeagent.wire.utf8 import check_texts

_SHARE = "$share/"
_MOST_OPTIONS = 0x3F  # the bits of a subscription's options that have a meaning
# Between the beginning of a CONNECT's body and its flags: the name "MQTT" with its length, and the level.
_FLAGS_AT = 7
# How the codec begins when it finds what MQTT 5 calls a protocol error, or another reason than a malformed packet.
_REASONS = {
    "Duplicate value": Reason.PROTOCOL_ERROR,
    "Receive maximum must": Reason.PROTOCOL_ERROR,
    "Maximum packet size must": Reason.PROTOCOL_ERROR,
    "Subscription ID must": Reason.PROTOCOL_ERROR,
    "Topic alias must be set": Reason.PROTOCOL_ERROR,
    "Topic alias must be !=": Reason.TOPIC_ALIAS_INVALID,
    "Invalid boolean": Reason.PROTOCOL_ERROR,
    "Invalid RetainHandling": Reason.PROTOCOL_ERROR,
}
_ANSWERS: dict[Any, type[PubAck | PubRec | PubRel | PubComp]] = {
    mqtt5.PubAckPacket: PubAck,
    mqtt5.PubRecPacket: PubRec,
    mqtt5.PubRelPacket: PubRel,
    mqtt5.PubCompPacket: PubComp,
}
_PING = PingReq()


def by_codec(data: bytes, position: int, body: int, end: int) -> mqtt5.Packet:
    """The packet that begins at `position` and has data[body:end] as its body, as the codec reads it.

    Raises:
        Malformed: it cannot.
    """
    if body - position > 2 and not data[body - 1]:  # noqa: PLR2004  a first byte and a length of one
        raise MalformedPacket(Reason.MALFORMED_PACKET, "a remaining length with more bytes than it needs")
    packet = data[position:end]
    try:
        if not packet.isascii():
            check_texts(packet, body - position)
        found, _ = mqtt5.read(memoryview(packet))
    except IndexError:
        raise MalformedPacket(Reason.MALFORMED_PACKET, "a packet that ends early") from None
    except ValueError as exc:
        text = str(exc)
        reason = next((reason for start, reason in _REASONS.items() if text.startswith(start)), Reason.MALFORMED_PACKET)
        raise MalformedPacket(reason, f"a malformed packet ({text})") from None
    except BaseException as exc:
        # The codec panics over what it did not expect: no Exception, and of a class that cannot be imported.
        if type(exc).__module__ != "pyo3_runtime":
            raise
        raise MalformedPacket(Reason.MALFORMED_PACKET, "a packet that the codec cannot read") from None
    return found


def converted(found: mqtt5.Packet, data: bytes, body: int, end: int) -> Packet:
    """The packet that the codec made of data[body:end], whatever it is but a PUBLISH.

    Raises:
        Malformed: it breaks a rule.
    """
    convert = _CONVERT.get(type(found))
    if convert is None:
        raise MalformedPacket(Reason.PROTOCOL_ERROR, f"a {type(found).__name__}, which no client sends")
    if isinstance(found, mqtt5.SubscribePacket):
        _check_options(data, body, end)
    return convert(found)


def published(found: mqtt5.PublishPacket, topic_of_alias: Callable[[int, str], str]) -> Publish:
    """A PUBLISH with properties. `topic_of_alias`: the topic that an alias stands for, given the packet's own.

    Raises:
        Malformed: it breaks a rule.
    """
    if found.subscription_ids:
        raise MalformedPacket(Reason.PROTOCOL_ERROR, "a PUBLISH with a subscription identifier")
    alias = found.topic_alias
    topic = checked_topic(found.topic) if found.topic else ""
    if alias is not None:
        topic = topic_of_alias(alias, topic)
    return Publish(
        topic,
        found.payload,
        int(found.qos),
        found.retain,
        found.duplicate,
        found.packet_id or 0,
        found.message_expiry_interval,
        _text(found.content_type, "a content type"),
        _response_topic(found.response_topic),
        found.correlation_data,
        _user_properties(found.user_properties),
        _is_text(found.payload_format_indicator),
    )


def connect_from(data: bytes, position: int, body: int, end: int) -> Connect:
    """The CONNECT that begins at `position` and has data[body:end] as its body.

    Raises:
        Malformed: it breaks a rule.
    """
    if fault := connect_fault(data[body + _FLAGS_AT], MQTT_5) if body + _FLAGS_AT < end else "":
        raise MalformedPacket(Reason.MALFORMED_PACKET, fault)
    found = by_codec(data, position, body, end)
    assert isinstance(found, mqtt5.ConnectPacket)  # noqa: S101  by its first byte
    if found.authentication_data is not None and found.authentication_method is None:
        raise MalformedPacket(Reason.PROTOCOL_ERROR, "authentication data without a method")
    will = None
    if found.will is not None:
        topic = checked_topic(found.will.topic, "the topic of a will")
        message = Publish(
            topic,
            found.will.payload or b"",
            int(found.will.qos),
            found.will.retain,
            expiry_s=found.will.message_expiry_interval,
            content_type=_text(found.will.content_type, "a content type"),
            response_topic=_response_topic(found.will.response_topic),
            correlation_data=found.will.correlation_data,
            user_properties=_user_properties(found.will.user_properties),
            is_text=_is_text(found.will.payload_format_indicator),
        )
        will = ClientWill(message, found.will.will_delay_interval)
    return Connect(
        MQTT_5,
        without_nul(found.client_id, "a client id"),
        found.clean_start,
        found.keep_alive,
        _text(found.username, "a user name"),
        found.password,
        will,
        found.session_expiry_interval,
        found.receive_max,
        found.max_packet_size,
        found.topic_alias_max,
        found.request_problem_info,
        _text(found.authentication_method, "an authentication method"),
        _user_properties(found.user_properties),
    )


def _subscribe(found: mqtt5.SubscribePacket) -> Subscribe:
    if not found.topic_filters:
        raise MalformedPacket(Reason.PROTOCOL_ERROR, "a SUBSCRIBE without a topic filter")
    subscriptions = [
        TopicSubscription(
            checked_filter(each.pattern),
            int(each.max_qos),
            each.no_local,
            each.retain_as_published,
            int(each.retain_handling),
        )
        for each in found.topic_filters
    ]
    if any(each.no_local and each.topic_filter.startswith(_SHARE) for each in subscriptions):
        raise MalformedPacket(Reason.PROTOCOL_ERROR, "a shared subscription without local messages")
    _user_properties(found.user_properties)
    return Subscribe(checked_id(found.packet_id), tuple(subscriptions), found.subscription_id)


def _check_options(data: bytes, body: int, end: int) -> None:
    """Refuse options of subscriptions with a bit that means nothing, which the codec overlooks."""
    size, place = long_length(data, body + 2)
    place += size
    while place < end:
        place += 2 + (data[place] << 8 | data[place + 1])
        if data[place] > _MOST_OPTIONS:
            raise MalformedPacket(Reason.MALFORMED_PACKET, f"a subscription with 0x{data[place]:02x} as its options")
        place += 1


def _unsubscribe(found: mqtt5.UnsubscribePacket) -> Unsubscribe:
    if not found.patterns:
        raise MalformedPacket(Reason.PROTOCOL_ERROR, "an UNSUBSCRIBE without a topic filter")
    _user_properties(found.user_properties)
    return Unsubscribe(checked_id(found.packet_id), tuple([checked_filter(pattern) for pattern in found.patterns]))


def _answer(found: Any) -> PubAck | PubRec | PubRel | PubComp:
    _text(found.reason_str, "a reason")
    _user_properties(found.user_properties)
    return _ANSWERS[type(found)](checked_id(found.packet_id), int(found.reason_code))


def _disconnect(found: mqtt5.DisconnectPacket) -> Disconnect:
    _text(found.reason_str, "a reason")
    _user_properties(found.user_properties)
    if found.server_reference is not None:
        raise MalformedPacket(Reason.PROTOCOL_ERROR, "a DISCONNECT of a client that names another server")
    return Disconnect(int(found.reason_code), found.session_expiry_interval)


def _text(text: str | None, what: str) -> str | None:
    return None if text is None else without_nul(text, what)


def _response_topic(topic: str | None) -> str | None:
    return None if topic is None else checked_topic(topic, "a response topic")


def _user_properties(properties: list[tuple[str, str]]) -> UserProperties:
    for name, value in properties:
        without_nul(name, "a user property")
        without_nul(value, "a user property")
    return tuple(properties)


def _is_text(indicator: int) -> bool:
    if indicator > 1:
        raise MalformedPacket(Reason.PROTOCOL_ERROR, f"payload format {indicator}")
    return indicator == 1


_CONVERT: dict[Any, Callable[[Any], Packet]] = {
    mqtt5.SubscribePacket: _subscribe,
    mqtt5.UnsubscribePacket: _unsubscribe,
    mqtt5.DisconnectPacket: _disconnect,
    mqtt5.PingReqPacket: lambda _: _PING,
    mqtt5.AuthPacket: lambda found: Auth(int(found.reason_code)),
    **dict.fromkeys(_ANSWERS, _answer),
}
