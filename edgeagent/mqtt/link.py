"""The MQTT link's interface: what the agent and the dispatcher see of a broker.

Two engines stand behind it: `v5` (on the codec `mqtt5`) and `v311` (on `aiomqtt`); `engines` chooses. Everything is
in batches and by callback: no task and no future for a message. All calls happen in the loop's thread.

The life of a link: `session.keep_connected` connects, subscribes, calls `owner.on_up(link, ...)`; the owner then
calls `link.publish` and `link.acknowledge`; when the connection ends it calls `owner.on_down` and, after a backoff,
starts again with a new `Link`. The link has no queue and never sends anything again by itself: what was not
acknowledged when `on_down` comes is the owner's to publish again (the outbox is the only retry queue). The one
exception is QoS 2, whose handshake goes on in a session that the broker kept: `Link.carried`.
After `keep_connected` is cancelled nothing is told any more. The broker keeps the session, unless the owner
emptied it first: `leave.Leave`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from edgeagent.errors import UplinkError

# The user property that edgeagent puts on what it publishes, with the name of who did, so that it is never taken for
# what a device says.
MARK = "edgeagent"

# Reason codes of an `Ack` (MQTT 5, table 2-6) that an owner tells apart.
SUCCESS = 0x00
NO_MATCHING_SUBSCRIBERS = 0x10
FAILURE = 0x80  # this and all above: it was not taken
# These come from the link itself, for a publication that it did not write.
MALFORMED = 0x81
RECEIVE_MAXIMUM_EXCEEDED = 0x93
PACKET_TOO_LARGE = 0x95
RETAIN_NOT_SUPPORTED = 0x9A
QOS_NOT_SUPPORTED = 0x9B


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message received. `connection` and `packet_id` name it for `Link.acknowledge`; packet_id is 0 at QoS 0.

    `mark`: which edgeagent published it, if one did and it came over MQTT 5 (`MARK`).
    """

    topic: str
    payload: bytes
    qos: int
    packet_id: int
    connection: int
    retain: bool = False
    duplicate: bool = False
    response_topic: str | None = None
    correlation_data: bytes | None = None
    mark: str | None = None


def mark_of(user_properties: Sequence[tuple[str, str]]) -> str | None:
    """The value of the user property `MARK`, None without one."""
    return next((value for name, value in user_properties if name == MARK), None) if user_properties else None


class Publication(msgspec.Struct, frozen=True, gc=False):
    """One message to publish. `token` is the owner's name for it and comes back in `Ack`.

    At QoS 0 nothing comes back, except when the link could not write it; at QoS 2 when the broker's last word is
    there. QoS 2 needs a session made for it: `keep_connected(exactly_once=True)`.
    """

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


class Ack(msgspec.Struct, frozen=True, gc=False):
    """The answer to a publication: its token and the reason code (below 0x80: taken; 0x10: nobody heard it).

    It is the broker's, or the link's own when the publication was not written (see `Link.publish`).
    """

    token: int
    reason_code: int
    reason: str = ""


class Subscription(NamedTuple):
    """A topic filter and the QoS asked for. Retained messages are never asked for unless `retained`.

    When the broker refuses one that is `required`, the connection ends and `on_up` is not called; when it refuses
    another, that is a warning in the log.
    """

    topic_filter: str
    qos: int = 1
    retained: bool = False
    required: bool = True


class Will(NamedTuple):
    """What the broker publishes for us when we are gone for `delay_s`."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = True
    delay_s: int = 0


class Abilities(NamedTuple):
    """What a broker takes, as far as it is known: retained messages, and up to which QoS."""

    retains: bool = True
    most_qos: int = 2

    def lacks(self) -> list[str]:
        """What cannot be had from it and what that means, one sentence for each."""
        sentences = []
        if not self.retains:
            sentences.append(
                "it keeps no retained messages: who subscribes later does not learn whether we are online, and a "
                "device that was asleep misses its report"
            )
        if not self.most_qos:
            sentences.append(
                "it takes only QoS 0: what a broken connection swallows is lost; a trigger is then sent again after "
                "response_timeout, an event or a report of the local broker is not"
            )
        return sentences


class Link(Protocol):
    """One connection's life."""

    @property
    def room(self) -> int:
        """How many QoS 1 and 2 publications may go out now: the broker's receive maximum less those unacknowledged.

        0 while the socket does not take more (then `on_room` follows) and after the connection ended.
        """

    @property
    def max_packet_bytes(self) -> int:
        """The largest packet that the broker takes."""

    @property
    def abilities(self) -> Abilities:
        """What the broker takes; MQTT 3.1.1 does not tell, there everything is assumed."""

    @property
    def carried(self) -> frozenset[int]:
        """Tokens of QoS 2 publications of earlier connections, with which the link goes on by itself.

        As of CONNACK; empty when the broker lost the session. Their `Ack`s come here, so they must not be published
        again; all others without an `Ack` must.
        """

    def publish(self, publications: Sequence[Publication]) -> None:
        """Write them in this order, in one write. At most `room` of them; after the connection ended: nothing happens.

        One that cannot go out is not written, the others are; its `Ack` comes in the next turn of the loop with
        0x95 (larger than `max_packet_bytes`), 0x93 (more at QoS 1 than the broker's receive maximum), 0x81 (no
        packet can be made of it, such as a topic over 65535 bytes), 0x9A (the broker keeps no retained messages)
        or 0x9B (QoS 2, and the session is not made for it). To a broker that takes only QoS 0 a publication at QoS 1
        goes at QoS 0, and its `Ack` says only that it was written.
        """

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge received messages (QoS 1), in one write, in the order received.

        One acknowledged before an earlier one waits for that one, because the protocol demands the order. Messages
        of an earlier connection are ignored: the broker delivers those again. So are those at QoS 0.
        """


class LinkOwner(Protocol):
    """Who is told; acks before messages when one read brought both. None of these may block, await or raise."""

    def on_up(self, link: Link, *, session_present: bool) -> None:
        """Connected and subscribed. `session_present` False: the broker knows nothing of us from before."""

    def on_down(self, error: UplinkError) -> None:
        """The connection ended, or an attempt to connect failed (then without an `on_up` before)."""

    def on_messages(self, messages: Sequence[Message]) -> None:
        """Everything that one read of the socket brought, in order. Each QoS 1 message must be acknowledged."""

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """Everything that one read of the socket brought, in order."""

    def on_room(self) -> None:
        """The socket takes more again."""
