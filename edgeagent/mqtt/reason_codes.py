"""MQTT's reason codes in plain words, and what each means for a publication."""

from __future__ import annotations

from edgeagent.common.foreign import line
from edgeagent.ports.link import TAKEN, UNHEARD, Ack, PublishOutcome, PublishRefused

# MQTT 5, table 2-6.
SUCCESS = 0x00
NO_MATCHING_SUBSCRIBERS = 0x10
FAILURE = 0x80  # this code and all above are failures
MALFORMED = 0x81
PROTOCOL_ERROR = 0x82
NOT_AUTHORIZED = 0x87
SESSION_TAKEN_OVER = 0x8E
TOPIC_NAME_INVALID = 0x90
RECEIVE_MAXIMUM_EXCEEDED = 0x93
TOPIC_ALIAS_INVALID = 0x94
PACKET_TOO_LARGE = 0x95
RETAIN_NOT_SUPPORTED = 0x9A
QOS_NOT_SUPPORTED = 0x9B
NO_SHARES = 0x9E

# Failures only; several codes mean slightly different things in different packets.
WORDS = {
    0x80: "an unspecified error",
    MALFORMED: "it found a packet of ours malformed",
    PROTOCOL_ERROR: "it found a packet of ours against the protocol",
    0x83: "an error of its own implementation",
    0x84: "it does not speak MQTT 5",
    0x85: "it does not allow this client id",
    0x86: "user name or password is wrong",
    NOT_AUTHORIZED: "not authorized",
    0x88: "it is not available",
    0x89: "it is busy",
    0x8A: "this client is banned",
    0x8B: "it is shutting down",
    0x8C: "it wants another authentication method",
    0x8D: "it heard nothing from us for the keep-alive time",
    SESSION_TAKEN_OVER: "another client uses the same client id",
    0x8F: "it does not accept this topic filter",
    TOPIC_NAME_INVALID: "it does not accept this topic",
    0x91: "the packet id is in use",
    0x92: "the packet id is not known",
    RECEIVE_MAXIMUM_EXCEEDED: "more messages in flight than it allows",
    TOPIC_ALIAS_INVALID: "the topic alias is invalid",
    PACKET_TOO_LARGE: "the packet is larger than it takes",
    0x96: "too many messages in too short a time",
    0x97: "a quota is exceeded",
    0x98: "an administrator ended the connection",
    0x99: "the payload does not have the format announced",
    RETAIN_NOT_SUPPORTED: "it does not support retained messages",
    QOS_NOT_SUPPORTED: "it does not support this QoS",
    0x9C: "another server is to be used for now",
    0x9D: "the server has moved",
    NO_SHARES: "it does not support shared subscriptions",
    0x9F: "too many connections in too short a time",
    0xA0: "the connection has lasted as long as it allows",
    0xA1: "it does not support subscription identifiers",
    0xA2: "it does not support wildcards in topic filters",
}

# The fault is in the message, or in what this client may publish: the same message would be refused again.
_PERMANENT = frozenset({NOT_AUTHORIZED, TOPIC_NAME_INVALID, PACKET_TOO_LARGE, 0x99})
# The fault is in the topic.
_OVER_TOPIC = frozenset({NOT_AUTHORIZED, TOPIC_NAME_INVALID})


def words(reason_code: int, said: str | None = None) -> str:
    """A reason code in plain words, followed by the broker's own words if it gave any."""
    text = f"{WORDS.get(reason_code, 'an unknown reason')} (0x{reason_code:02x})"
    return f"{text}: {line(said)}" if said else text


def publish_outcome(reason_code: int, said: str | None = None) -> PublishOutcome:
    """The outcome of a publication, by the reason code of its PUBACK, PUBREC or PUBCOMP, or why it was not written."""
    if reason_code < FAILURE:
        return UNHEARD if reason_code == NO_MATCHING_SUBSCRIBERS else TAKEN
    return PublishRefused(
        reason_code,
        words(reason_code, said),
        permanent=reason_code in _PERMANENT,
        over_topic=reason_code in _OVER_TOPIC,
    )


def answer(token: int, reason_code: int, said: str | None = None) -> Ack:
    """The `Ack` of a publication with this reason code; `said`: the broker's own words."""
    return Ack(token, publish_outcome(reason_code, said))


def too_large(size_bytes: int, max_bytes: int) -> str:
    """The reason for which a packet is not written: its size."""
    return f"it has {size_bytes} bytes, at most {max_bytes} are taken"
