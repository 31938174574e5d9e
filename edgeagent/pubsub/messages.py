"""Messages as the REST API writes them: publications become the messages of a request, pulled ones become ours. Pure.

Pub/Sub has no topics below a topic, no expiry and no response topic: what MQTT 5 says in properties, attributes say
here, and `topic` names the topic that the message has in edgeagent's interface. The payload is the same JSON.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from edgeagent.ports.link import TRACEPARENT, Message, Publication
from edgeagent.wire import topics

# Limits of the service for one message (https://cloud.google.com/pubsub/quotas).
MAX_VALUE_BYTES: Final = 1024
MAX_KEY_BYTES: Final = 256
# How many messages one answer to a pull may hold; each has an acknowledgement id of at most this many characters.
MAX_PULLED: Final = 1000
MAX_ACK_ID_CHARS: Final = 4096

TOPIC = "topic"
AGENT = "agent"
CORRELATION_ID = "correlation_id"
REPLY_TO = "reply_to"
EXPIRES_AT = "expires_at"
CONTENT_TYPE = "content_type"
_AGENT_LEVEL = 3  # argo/workflows/response/{agent}


class _Addressed(msgspec.Struct):
    """The members of a trigger's payload that are repeated as attributes."""

    namespace: str = ""
    attempt: int = 0


class Attempted(NamedTuple):
    """One publication on its way: the owner's token, its message as JSON, and its ordering key."""

    token: int
    message: bytes
    ordering_key: str


class Pulled(NamedTuple):
    """One message of a pull: what its attributes and its data make of it, and the id to acknowledge it with."""

    message: Message
    ack_id: str
    expires_at: datetime | None


class _Outgoing(msgspec.Struct, omit_defaults=True):
    data: str
    attributes: dict[str, str]
    orderingKey: str = ""  # noqa: N815  the API's spelling


class _Incoming(msgspec.Struct):
    data: str = ""
    attributes: dict[str, str] = {}


class _Received(msgspec.Struct):
    ackId: str  # noqa: N815  the API's spelling
    message: _Incoming = msgspec.field(default_factory=_Incoming)


class _PullAnswer(msgspec.Struct):
    receivedMessages: list[_Received] = []  # noqa: N815  the API's spelling


class _PublishAnswer(msgspec.Struct):
    messageIds: list[str] = []  # noqa: N815  the API's spelling


_addressed = msgspec.json.Decoder(_Addressed)
_pull_answer = msgspec.json.Decoder(_PullAnswer)
_publish_answer = msgspec.json.Decoder(_PublishAnswer)
_encoder = msgspec.json.Encoder()


def outgoing(publication: Publication, now: datetime) -> Attempted:
    """The publication as a message of a request. `now`: the service's time, which `expires_at` is counted from."""
    message = _Outgoing(
        base64.b64encode(publication.payload).decode("ascii"), _attributes(publication, now), publication.ordering_key
    )
    return Attempted(publication.token, _encoder.encode(message), publication.ordering_key)


def _attributes(publication: Publication, now: datetime) -> dict[str, str]:
    """The attributes of a publication; one that is empty, or longer than the service takes, is left out."""
    topic = publication.topic
    found = {TOPIC: topic, AGENT: agent_of(topic), **dict(publication.user_properties)}
    found[CONTENT_TYPE] = publication.content_type or ""
    found[CORRELATION_ID] = (publication.correlation_data or b"").decode("utf-8", "replace")
    found[REPLY_TO] = publication.response_topic or ""
    found[TRACEPARENT] = publication.traceparent or found.get(TRACEPARENT, "")
    if publication.expiry_s is not None:
        found[EXPIRES_AT] = _expiry(now, publication.expiry_s)
    if topics.is_below(topics.TRIGGER, topic) or topic == topics.TRIGGER or publication.response_topic:
        found |= _of_payload(publication.payload)
    return {key: value for key, value in found.items() if value and _fits(key, value)}


def _fits(key: str, value: str) -> bool:
    return len(key.encode()) <= MAX_KEY_BYTES and len(value.encode("utf-8", "replace")) <= MAX_VALUE_BYTES


def _expiry(now: datetime, expiry_s: int) -> str:
    """An instant as RFC 3339 writes it; "" if it is beyond the calendar."""
    try:
        return f"{(now + timedelta(seconds=expiry_s)).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    except OverflowError:
        return ""


def _of_payload(payload: bytes) -> dict[str, str]:
    """`namespace` and `attempt` of a trigger, which MQTT says in the payload alone."""
    try:
        found = _addressed.decode(payload)
    except msgspec.DecodeError:
        return {}
    return {"namespace": found.namespace, "attempt": str(found.attempt)}


def agent_of(topic: str) -> str:
    """The gateway that a message is from or for, from the last level of its topic; "" for topics of all."""
    if (sent_by := topics.agent_of_trigger(topic) or topics.agent_of_manage(topic)) is not None:
        return sent_by
    levels = topic.split("/")
    is_addressed = len(levels) == _AGENT_LEVEL + 1 and any(
        topics.is_below(base, topic) for base in (topics.RESPONSE, topics.STATUS)
    )
    return levels[_AGENT_LEVEL] if is_addressed and topic != topics.STATUS_QUERY else ""


def pulled(answer: bytes, topic: str) -> list[Pulled]:
    """The messages in the answer to a pull. `topic`: what a message without that attribute was published on.

    `Message.receipt` is the caller's to give.

    Raises:
        ValueError: the answer is not that of a pull.
    """
    received: Sequence[_Received] = _pull_answer.decode(answer).receivedMessages
    if len(received) > MAX_PULLED or any(len(entry.ackId) > MAX_ACK_ID_CHARS for entry in received):
        raise ValueError("it has more messages, or longer acknowledgement ids, than a pull brings")
    return [_taken(entry, topic) for entry in received]


def _taken(entry: _Received, topic: str) -> Pulled:
    attributes = entry.message.attributes
    try:
        payload = base64.b64decode(entry.message.data, validate=True)
    except (binascii.Error, ValueError):  # then it is malformed for its reader too, who says so
        payload = entry.message.data.encode()
    correlation = attributes.get(CORRELATION_ID)
    message = Message(
        attributes.get(TOPIC) or topic,
        payload,
        response_topic=attributes.get(REPLY_TO) or None,
        correlation_data=correlation.encode() if correlation else None,
        duplicate=False,
        traceparent=attributes.get(TRACEPARENT),
    )
    return Pulled(message, entry.ackId, _instant(attributes.get(EXPIRES_AT, "")))


def _instant(text: str) -> datetime | None:
    """An instant as RFC 3339 writes it; None for anything else, so that a mistake never makes a message expire."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def published_ids(answer: bytes) -> int:
    """How many messages the answer to a publish says to have taken.

    Raises:
        ValueError: the answer is not that of a publish.
    """
    return len(_publish_answer.decode(answer).messageIds)


def publish_body(messages: Iterable[bytes]) -> bytes:
    """The body of a publish request for these messages."""
    return b'{"messages":[' + b",".join(messages) + b"]}"


def pull_body(max_messages: int, *, at_once: bool = False) -> bytes:
    """The body of a pull. `at_once`: without waiting for messages; only to try whether pulling is allowed."""
    body: dict[str, object] = {"maxMessages": max_messages}
    return _encoder.encode({**body, "returnImmediately": True} if at_once else body)


def acknowledge_body(ack_ids: Sequence[str]) -> bytes:
    """The body of a request that acknowledges."""
    return _encoder.encode({"ackIds": ack_ids})


def extend_body(ack_ids: Sequence[str], deadline_s: int) -> bytes:
    """The body of a request that extends deadlines to so many seconds from now; 0 gives the messages back."""
    return _encoder.encode({"ackIds": ack_ids, "ackDeadlineSeconds": deadline_s})
