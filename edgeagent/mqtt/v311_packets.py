"""Converts between `paho`'s objects and the structs of `ports.link`: properties, messages, subscriptions."""

from __future__ import annotations

import struct
from typing import Any

from paho.mqtt.client import MQTTMessage
from paho.mqtt.exception import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from edgeagent.mqtt.handshake import RECEIVE_MAX, Handshake
from edgeagent.mqtt.mark import told_beside
from edgeagent.ports.link import TRACEPARENT, Message, Publication, Subscription, Will

# What paho raises if a text or a number does not fit the format.
FORMAT_ERRORS = (ValueError, OverflowError, struct.error, MQTTException)

# The largest size of a PUBLISH without topic, properties and payload: fixed header, topic length, packet id.
_FRAME_BYTES = 9

_SEND_RETAINED = 0
_DO_NOT_SEND_RETAINED = 2


def half_open_keepalive_s(keepalive_s: int) -> int:
    """The keep-alive for paho with which it notices silence within 1.5 of our periods; it waits two of its own."""
    return max(1, keepalive_s * 3 // 4)


def connect_properties(handshake: Handshake) -> Any:
    """What CONNECT says in MQTT 5 beyond MQTT 3.1.1."""
    properties = _properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = handshake.session_expiry_s
    properties.ReceiveMaximum = RECEIVE_MAX
    properties.MaximumPacketSize = handshake.max_packet_bytes
    return properties


def last_properties() -> Any:
    """The properties of a DISCONNECT of MQTT 5 that ends the session with the connection."""
    properties = _properties(PacketTypes.DISCONNECT)
    properties.SessionExpiryInterval = 0
    return properties


def will_properties(will: Will) -> Any:
    """The will's delay, which only MQTT 5 has."""
    properties = _properties(PacketTypes.WILLMESSAGE)
    properties.WillDelayInterval = will.delay_s
    return properties


def publish_properties(publication: Publication, mark: tuple[tuple[str, str], ...]) -> Any:
    """The properties of a PUBLISH. `mark`: user properties in addition to the publication's own.

    Raises:
        One of FORMAT_ERRORS: a value does not fit the format.
    """
    properties = _properties(PacketTypes.PUBLISH)
    if publication.expiry_s is not None:
        properties.MessageExpiryInterval = publication.expiry_s
    if publication.content_type is not None:
        properties.ContentType = publication.content_type
    if publication.response_topic is not None:
        properties.ResponseTopic = publication.response_topic
    if publication.correlation_data is not None:
        properties.CorrelationData = publication.correlation_data
    if publication.user_properties or publication.traceparent or mark:
        trace = ((TRACEPARENT, publication.traceparent),) if publication.traceparent else ()
        properties.UserProperty = [*publication.user_properties, *trace, *mark]
    return properties


def packet_bytes(publication: Publication, properties: Any) -> int:
    """The size of the PUBLISH; up to 3 bytes too large.

    Raises:
        One of FORMAT_ERRORS: a value does not fit the format.
    """
    properties_bytes = len(properties.pack()) if properties is not None else 0
    return _FRAME_BYTES + len(publication.topic.encode()) + properties_bytes + len(publication.payload)


def subscribe_list(subscriptions: tuple[Subscription, ...], *, v5: bool) -> Any:
    """The argument of aiomqtt's `subscribe`. Only MQTT 5 can refuse retained messages."""
    if not v5:
        return [(asked.topic_filter, asked.qos) for asked in subscriptions]
    handling = {True: _SEND_RETAINED, False: _DO_NOT_SEND_RETAINED}
    return [
        (asked.topic_filter, SubscribeOptions(asked.qos, retainHandling=handling[asked.retained]))
        for asked in subscriptions
    ]


def message_from(packet: MQTTMessage, receipts: int) -> Message:
    """The message in a received PUBLISH; `receipts`: its connection's (`unacknowledged.receipts_of`).

    Raises:
        ValueError: its topic is not UTF-8.
    """
    properties = packet.properties
    return Message(
        packet.topic,
        bytes(packet.payload),
        receipts | packet.mid if packet.qos else None,
        packet.mid if packet.qos else 0,
        packet.retain,
        packet.dup,
        getattr(properties, "ResponseTopic", None),
        getattr(properties, "CorrelationData", None),
        *told_beside(getattr(properties, "UserProperty", ())),
    )


def _properties(packet_type: int) -> Any:
    """An empty set of properties; paho does not type it."""
    make: Any = Properties
    return make(packet_type)
