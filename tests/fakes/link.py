"""A link without a broker: keeps what its owner does with it."""

from __future__ import annotations

from collections.abc import Sequence

from edgeagent.mqtt.reason_codes import NO_MATCHING_SUBSCRIBERS, SUCCESS
from edgeagent.ports.link import UNHEARD, Abilities, Ack, Message, Publication, PublishRefused


class FakeLink:
    """A connection's life as an owner sees it. The test says how much `room` there is."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.max_packet_bytes = 1 << 20
        self.abilities = Abilities()
        self.blocked = ""
        self.carried: frozenset[int] = frozenset()
        self.published: list[Publication] = []
        self.acknowledged: list[Message] = []

    def publish(self, publications: Sequence[Publication]) -> None:
        """Keep them; room goes down."""
        self.published += publications
        self.room -= len(publications)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Keep them."""
        self.acknowledged += messages


def code_of(ack: Ack) -> int:
    """The MQTT reason code that this outcome comes from; 0 for all successes but 0x10."""
    if isinstance(ack.outcome, PublishRefused):
        return ack.outcome.code
    return NO_MATCHING_SUBSCRIBERS if ack.outcome is UNHEARD else SUCCESS


def delivery(
    topic: str,
    payload: bytes,
    packet_id: int = 1,
    *,
    retain: bool = False,
    duplicate: bool = False,
    mark: str | None = None,
    traceparent: str | None = None,
) -> Message:
    """A message from the local broker at QoS 1."""
    return Message(topic, payload, packet_id, packet_id, retain, duplicate, mark=mark, traceparent=traceparent)
