"""Why a broker, a network or a certificate said no: reason codes and foreign exceptions in plain words."""

from __future__ import annotations

import os
import socket
import ssl

from edgeagent.common.foreign import line
from edgeagent.errors import Denied, PublishRefused, Unavailable, UplinkError
from edgeagent.mqtt.handshake import Handshake
from edgeagent.mqtt.link import Subscription

SESSION_TAKEN_OVER = 0x8E
EXACTLY_ONCE = 2
_NOT_AUTHORIZED = 0x87

# MQTT 5, table 2-6: only codes of failure; several mean slightly different things in different packets.
_WORDS = {
    0x80: "an unspecified error",
    0x81: "it found a packet of ours malformed",
    0x82: "it found a packet of ours against the protocol",
    0x83: "an error of its own implementation",
    0x84: "it does not speak MQTT 5",
    0x85: "it does not allow this client id",
    0x86: "user name or password is wrong",
    0x87: "not authorized",
    0x88: "it is not available",
    0x89: "it is busy",
    0x8A: "this client is banned",
    0x8B: "it is shutting down",
    0x8C: "it wants another authentication method",
    0x8D: "it heard nothing from us for the keep-alive time",
    SESSION_TAKEN_OVER: "another client uses the same client id",
    0x8F: "it does not accept this topic filter",
    0x90: "it does not accept this topic",
    0x91: "the packet id is in use",
    0x92: "the packet id is not known",
    0x93: "more messages in flight than it allows",
    0x94: "the topic alias is invalid",
    0x95: "the packet is larger than it takes",
    0x96: "too many messages in too short a time",
    0x97: "a quota is exceeded",
    0x98: "an administrator ended the connection",
    0x99: "the payload does not have the format announced",
    0x9A: "it does not support retained messages",
    0x9B: "it does not support this QoS",
    0x9C: "another server is to be used for now",
    0x9D: "the server has moved",
    0x9E: "it does not support shared subscriptions",
    0x9F: "too many connections in too short a time",
    0xA0: "the connection has lasted as long as it allows",
    0xA1: "it does not support subscription identifiers",
    0xA2: "it does not support wildcards in topic filters",
}

# Nothing of these mends itself: somebody must change a password, an access rule, a limit or the configuration.
_DENYING = frozenset({0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C, 0x8F, 0x90, 0x95, 0x99, 0x9A, 0x9B, 0x9D, 0x9E, 0xA2})

# What is wrong is in the message or in what this client may publish: the same message would be refused again.
_PERMANENT = frozenset({0x87, 0x90, 0x95, 0x99})

# How TLS says that the other side does not like our certificate.
_CERTIFICATE_ALERTS = (
    "certificate required",
    "bad certificate",
    "unsupported certificate",
    "certificate revoked",
    "certificate expired",
    "certificate unknown",
    "unknown ca",
    "access denied",
    "handshake failure",
)


def words(reason_code: int, said: str | None = None) -> str:
    """A reason code in plain words, with what the broker itself said behind it."""
    text = f"{_WORDS.get(reason_code, 'an unknown reason')} (0x{reason_code:02x})"
    return f"{text}: {line(said)}" if said else text


def too_large(size_bytes: int, max_bytes: int) -> str:
    """What a packet that is not written has too much."""
    return f"it has {size_bytes} bytes, at most {max_bytes} are taken"


def publish_refused(reason_code: int, said: str = "") -> PublishRefused:
    """A refused publish (PUBACK, 0x80 and above); `permanent` when the same message can never pass."""
    return PublishRefused(reason_code, words(reason_code, said), permanent=reason_code in _PERMANENT)


def connack_refusal(address: str, code: int, said: str | None) -> UplinkError:
    """Why the broker does not let us in, by the reason code of its CONNACK."""
    if code == _NOT_AUTHORIZED:  # Mosquitto's answer to a wrong password too
        said = said or "user name, password or certificate is not accepted"
    return _refusal(address, code, said)


def subscription_refusal(
    handshake: Handshake, subscription: Subscription, code: int, said: str | None = None
) -> Denied:
    """Why a subscription is not granted as it was asked for: refused, or with less than its QoS."""
    less = f"it grants only QoS {code}, which can lose messages"
    text = less if code < subscription.qos else words(code, said)
    if code == _NOT_AUTHORIZED:
        text += f"; let {handshake.client_id} read it, in the broker's access list"
    return subscription_refused(handshake.address, subscription.topic_filter, text)


def lacking(handshake: Handshake, most_qos: int) -> Denied | None:
    """Why a broker that lets us in is of no use, by the highest QoS that it takes; None when it is."""
    if handshake.exchanges is not None and most_qos < EXACTLY_ONCE:
        return Denied(handshake.address, f"it takes no QoS 2; set qos = {most_qos}")
    if handshake.needs_acks and not most_qos:
        text = 'it takes only QoS 0, so nothing would tell that a trigger arrived; with it, settle must be "engine"'
        return Denied(handshake.address, text)
    return None


def ended_by_broker(handshake: Handshake, code: int, said: str | None) -> UplinkError:
    """Why the broker ended the connection, by the reason code of its DISCONNECT."""
    if code == SESSION_TAKEN_OVER:
        text = f"another client uses the id {handshake.client_id}: give each its own client_id"
        return Denied(handshake.address, text)
    if code:
        return _refusal(handshake.address, code, said)
    return Unavailable(handshake.address, "the broker ended the connection")


def _refusal(address: str, reason_code: int, said: str | None) -> UplinkError:
    text = words(reason_code, said)
    return Denied(address, text) if reason_code in _DENYING else Unavailable(address, text)


def subscription_refused(address: str, topic_filter: str, text: str) -> Denied:
    """Why a subscription is not granted, in words of ours."""
    return Denied(address, f"subscription to {topic_filter}: {text}")


def connection_failure(address: str, exc: Exception) -> UplinkError:
    """Translate what a resolver, a socket or TLS raised."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return Denied(
            address, f"its certificate is not trusted ({exc.verify_message}); check the name in url, and ca_file"
        )
    if isinstance(exc, ssl.SSLError):
        return _tls_failure(address, exc)
    if isinstance(exc, socket.gaierror):
        return Unavailable(address, f"the name cannot be resolved ({exc.strerror})")
    if isinstance(exc, OSError) and exc.errno is not None:
        return Unavailable(address, f"the connection failed ({os.strerror(exc.errno)})")
    return Unavailable(address, f"the connection failed ({exc})")


def _tls_failure(address: str, exc: ssl.SSLError) -> UplinkError:
    reason = (exc.reason or str(exc)).replace("_", " ").lower()
    if reason.endswith(_CERTIFICATE_ALERTS):
        return Denied(address, f"the TLS handshake failed ({reason}); check cert_file and key_file")
    return Unavailable(address, f"TLS failed ({reason}); does this port speak TLS?")
