"""The MQTT link's interface: what the agent and the dispatcher see of a broker.

Two engines stand behind it: `v5` (MQTT 5 on the `mqtt5` codec) and, later, one for MQTT 3.1.1. Everything
is in batches and by callback: no task and no future for a message. All calls happen in the loop's thread.

The life of a link: `session.keep_connected` connects, subscribes, calls `owner.on_up(link, ...)`; the owner then
calls `link.publish` and `link.acknowledge`; when the connection ends it calls `owner.on_down` and, after a backoff,
starts again with a new `Link`. The link has no queue and never sends anything again by itself: what was not
acknowledged when `on_down` comes is the owner's to publish again (the outbox is the only retry queue).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from edgeagent.errors import UplinkError

# PUBACK reason codes (MQTT 5, 3.4.2.1) that an owner tells apart.
SUCCESS = 0x00
NO_MATCHING_SUBSCRIBERS = 0x10


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message received. `connection` and `packet_id` name it for `Link.acknowledge`; packet_id is 0 at QoS 0."""

    topic: str
    payload: bytes
    qos: int
    packet_id: int
    connection: int
    retain: bool = False
    duplicate: bool = False
    response_topic: str | None = None
    correlation_data: bytes | None = None


class Publication(msgspec.Struct, frozen=True, gc=False):
    """One message to publish. `token` is the owner's name for it and comes back in `Ack`; at QoS 0 nothing comes back."""

    token: int
    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    content_type: str | None = None
    correlation_data: bytes | None = None
    response_topic: str | None = None
    expiry_s: int | None = None
    user_properties: tuple[tuple[str, str], ...] = ()


class Ack(NamedTuple):
    """The broker's answer to a publication: its token and the reason code (below 0x80: taken; 0x10: nobody heard it)."""

    token: int
    reason_code: int
    reason: str = ""


class Subscription(NamedTuple):
    """A topic filter and the QoS asked for. Retained messages are never asked for unless `retained`."""

    topic_filter: str
    qos: int = 1
    retained: bool = False


class Will(NamedTuple):
    """What the broker publishes for us when we are gone for `delay_s`."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = True
    delay_s: int = 0


class Link(Protocol):
    """One connection's life."""

    @property
    def room(self) -> int:
        """How many QoS 1 publications may go out now: the broker's receive maximum less those unacknowledged.

        0 while the socket does not take more (then `on_room` follows) and after the connection ended.
        """

    @property
    def max_packet_bytes(self) -> int:
        """The largest packet that the broker takes."""

    def publish(self, publications: Sequence[Publication]) -> None:
        """Write them in this order, in one write. At most `room` of them; after the connection ended: nothing happens.

        One that is larger than `max_packet_bytes` is not written: its `Ack` carries 0x95 (packet too large),
        in the next turn of the loop.
        """

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge received messages (QoS 1), in one write, in the order received.

        Messages of an earlier connection are ignored: the broker delivers those again.
        """


class LinkOwner(Protocol):
    """Who is told. None of these may block, await or raise."""

    def on_up(self, link: Link, *, session_present: bool) -> None:
        """Connected and subscribed. `session_present` False: the broker knows nothing of us from before."""

    def on_down(self, error: UplinkError) -> None:
        """The connection ended, or an attempt to connect failed (then without an `on_up` before)."""

    def on_messages(self, messages: Sequence[Message]) -> None:
        """Everything that one read of the socket brought, in order. Each QoS 1 message must be acknowledged, in order."""

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """Everything that one read of the socket brought, in order."""

    def on_room(self) -> None:
        """The socket takes more again."""
