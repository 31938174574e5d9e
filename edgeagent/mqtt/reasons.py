"""Errors for the owner: reason codes as why a connection or subscription failed."""

from __future__ import annotations

from collections.abc import Sequence

from edgeagent.errors import Denied, Unavailable, UplinkError
from edgeagent.mqtt.handshake import Handshake
from edgeagent.mqtt.reason_codes import NO_SHARES, NOT_AUTHORIZED, SESSION_TAKEN_OVER, words
from edgeagent.ports.link import Subscription

EXACTLY_ONCE = 2
ADVICE_RABBITMQ = 'use url = "amqp://..."'

# None of these goes away by itself: a password, an access rule, a limit or the configuration must be changed.
_DENYING = frozenset({0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C, 0x8F, 0x90, 0x95, 0x99, 0x9A, 0x9B, 0x9D, 0x9E, 0xA2})


def connack_refusal(address: str, code: int, said: str | None) -> UplinkError:
    """Why the broker refuses us, by the reason code of its CONNACK."""
    if code == NOT_AUTHORIZED:  # also Mosquitto's answer to a wrong password
        said = said or "user name, password or certificate is not accepted"
    return _refusal(address, code, said)


def subscription_refusal(
    handshake: Handshake, subscription: Subscription, code: int, said: str | None = None
) -> Denied:
    """Why a subscription is not granted as asked: it is refused, or granted with a lower QoS."""
    less = f"it grants only QoS {code}, which can lose messages"
    text = less if code < subscription.qos else words(code, said)
    if code == NOT_AUTHORIZED:
        text += f"; let {handshake.client_id} read it, in the broker's access list"
    elif code == NO_SHARES:
        text += f"; with RabbitMQ, {ADVICE_RABBITMQ}"
    return subscription_refused(handshake.address, subscription.topic_filter, text)


def subscription_refusals(
    handshake: Handshake, codes: Sequence[int], most_qos: int, said: str | None
) -> list[tuple[Subscription, Denied]]:
    """The subscriptions that were refused, or granted with a lower QoS than possible, by the codes of a SUBACK."""
    return [
        (subscription, subscription_refusal(handshake, subscription, code, said))
        for subscription, code in zip(handshake.subscriptions, codes, strict=True)
        if code != min(subscription.qos, most_qos)
    ]


def lacking(handshake: Handshake, most_qos: int) -> Denied | None:
    """Why a broker that accepts us is of no use, given the highest QoS that it takes; None if it is of use."""
    if handshake.qos2 is not None and most_qos < EXACTLY_ONCE:
        return Denied(handshake.address, f"it takes no QoS 2; set qos = {most_qos}")
    if handshake.needs_acks and not most_qos:
        text = 'it takes only QoS 0, so it acknowledges no trigger; with such a broker settle must be "engine"'
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


def closed_by_broker(handshake: Handshake, version: str, *, connecting: bool) -> Unavailable:
    """Why the broker closed the connection without a reason; `connecting`: before it answered CONNECT."""
    text = f"the broker closed the connection: it was stopped, or another client uses the id {handshake.client_id}"
    if connecting:
        text = f"it closed the connection without an answer; does it speak MQTT {version} here?"
        if version == "5":
            text += f' RabbitMQ before 3.13 does not: {ADVICE_RABBITMQ}, or on a gateway version = "3.1.1"'
    return Unavailable(handshake.address, text)


def _refusal(address: str, reason_code: int, said: str | None) -> UplinkError:
    text = words(reason_code, said)
    return Denied(address, text) if reason_code in _DENYING else Unavailable(address, text)


def subscription_refused(address: str, topic_filter: str, text: str) -> Denied:
    """A `Denied` for a subscription that is not granted, with a text of ours."""
    return Denied(address, f"subscription to {topic_filter}: {text}")
