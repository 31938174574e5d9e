"""A publication as an AMQP message, and a delivery as a message of ours, as RabbitMQ's MQTT plugin maps them. Pure."""

from __future__ import annotations

from pamqp import commands
from pamqp.common import FieldTable

from edgeagent.amqp.keys import routing_key, topic_of
from edgeagent.ports.link import MARK, TRACEPARENT, Message, Publication

# How the plugin keeps what AMQP has no room for, or another form of.
REPLY_TO_TOPIC = "x-reply-to-topic"
CORRELATION_ID = "x-correlation-id"
# Kept on the broker's disk. 1 would be QoS 0 for a gateway that is connected by MQTT, and lost while it is away.
_PERSISTENT = 2
_SHORT_MAX_BYTES = 255


def properties_of(publication: Publication, message_id: str, mark: str) -> commands.Basic.Properties:
    """The properties of a publication."""
    headers: FieldTable = dict(publication.user_properties)
    if mark:
        headers[MARK] = mark
    if publication.traceparent is not None:
        headers[TRACEPARENT] = publication.traceparent
    reply_to = publication.response_topic
    if reply_to is not None:
        reply_to = headers[REPLY_TO_TOPIC] = routing_key(reply_to)
    correlation_id = _short(publication.correlation_data)
    if correlation_id is None and publication.correlation_data is not None:
        headers[CORRELATION_ID] = bytearray(publication.correlation_data)
    return commands.Basic.Properties(
        content_type=publication.content_type,
        headers=headers or None,
        delivery_mode=_PERSISTENT,
        correlation_id=correlation_id,
        reply_to=reply_to,
        expiration=None if publication.expiry_s is None else str(publication.expiry_s * 1000),
        message_id=message_id,
    )


def message_of(
    deliver: commands.Basic.Deliver | commands.Basic.GetOk,
    properties: commands.Basic.Properties,
    payload: bytes,
    receipt: int | None,
) -> Message:
    """A delivery as its owner gets it."""
    headers = properties.headers or {}
    reply_to = headers.get(REPLY_TO_TOPIC, properties.reply_to)
    mark, traceparent = headers.get(MARK), headers.get(TRACEPARENT)
    return Message(
        topic_of(deliver.routing_key or ""),
        payload,
        receipt,
        duplicate=deliver.redelivered,
        response_topic=topic_of(reply_to) if isinstance(reply_to, str) and reply_to else None,
        correlation_data=_correlation(properties.correlation_id or headers.get(CORRELATION_ID)),
        mark=mark if isinstance(mark, str) else None,
        traceparent=traceparent if isinstance(traceparent, str) else None,
    )


def _short(data: bytes | None) -> str | None:
    """As text of at most 255 bytes, None if it is none."""
    if data is None or len(data) > _SHORT_MAX_BYTES:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _correlation(value: object) -> bytes | None:
    if isinstance(value, str):
        return value.encode()
    return bytes(value) if isinstance(value, bytes | bytearray) and value else None
