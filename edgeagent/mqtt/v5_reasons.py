"""Errors for the owner: why a connection by `v5` failed or ended, from the codec's packets."""

from __future__ import annotations

import mqtt5

from edgeagent.errors import UplinkError
from edgeagent.mqtt import reasons
from edgeagent.mqtt.handshake import Handshake
from edgeagent.mqtt.reason_codes import NO_SHARES, words


def connack_error(handshake: Handshake, packet: mqtt5.ConnAckPacket) -> UplinkError | None:
    """Why this CONNACK gives us no usable connection; None if it does."""
    address = handshake.address
    if code := int(packet.reason_code):
        said = packet.server_reference or packet.reason_str
        return reasons.connack_refusal(address, code, said)
    if error := reasons.lacking(handshake, int(packet.max_qos)):
        return error
    for subscription in handshake.subscriptions:
        if subscription.topic_filter.startswith("$share/") and not packet.shared_subscription_available:
            return reasons.subscription_refused(
                address, subscription.topic_filter, words(NO_SHARES, f"with RabbitMQ, {reasons.ADVICE_RABBITMQ}")
            )
    return None


def disconnect_error(handshake: Handshake, packet: mqtt5.DisconnectPacket) -> UplinkError:
    """Why the broker ended the connection."""
    return reasons.ended_by_broker(handshake, int(packet.reason_code), packet.server_reference or packet.reason_str)
