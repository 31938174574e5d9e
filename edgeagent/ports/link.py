"""A link: what the agent and the dispatcher see of a broker, whichever protocol it speaks.

The interface is made of batches and callbacks: no task and no future for a message. All calls happen in the loop's
thread.

The life of a link: whoever keeps the connection (`mqtt.session.keep_connected`) connects, subscribes and calls
`owner.on_up(link, ...)`; the owner then calls `link.publish` and `link.acknowledge`; when the connection ends it calls
`owner.on_down` and, after a backoff, starts again with a new `Link`. A link has no queue and never sends anything again
by itself: what has no `Ack` when `on_down` comes is the owner's to publish again (the outbox is the only retry queue).
The one exception is a handshake that goes on in a session which the broker kept (MQTT's QoS 2): `Link.carried`.

What a protocol calls its things stays behind the link. Its answer to a publication becomes a `PublishOutcome`, and the
name under which it wants a message acknowledged becomes `Message.receipt`, which only the link understands.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from edgeagent.errors import UplinkError

# How many unacknowledged messages a broker may send before it waits (contract section 2). MQTT: the receive maximum;
# AMQP: the prefetch count.
PREFETCH = 256
# The property that edgeagent puts on what it publishes (MQTT 5: a user property; AMQP: a header), with the name of the
# publisher, so that it is never taken for what a device says.
MARK = "edgeagent"


class Acceptance(enum.Enum):
    """What became of a publication that was not refused.

    `TAKEN`: the broker has it, and vouches for it. `UNHEARD`: the broker has thrown it away, because nobody subscribes
    to its topic (MQTT 5: reason code 0x10; AMQP: returned with 312).
    """

    TAKEN = enum.auto()
    UNHEARD = enum.auto()


# By these names, because looking a member up in its class costs as much as comparing it.
TAKEN: Final = Acceptance.TAKEN
UNHEARD: Final = Acceptance.UNHEARD


class PublishRefused(msgspec.Struct, frozen=True, gc=False):
    """A publication was refused, by the broker or by the link itself; as text, a sentence for the operator.

    `code`: the protocol's number for the reason, for logs and dead letters. `reason`: in plain words. `permanent`: the
    same message would be refused again. `over_topic`: what is refused is where it was published, so that the same
    message may pass on another topic.
    """

    code: int
    reason: str
    permanent: bool = False
    over_topic: bool = False

    def __str__(self) -> str:
        return f"the broker refused the message: {self.reason}"


PublishOutcome = Acceptance | PublishRefused


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message received.

    `receipt` is for `Link.acknowledge`, opaque, and unique in the process; None: the broker waits for no
    acknowledgement. `delivery_id`: the number under which the broker delivers this message, the same when it delivers
    it again in the same session (MQTT: the packet id); 0: it has none. `retain`: it was published before we subscribed.
    `duplicate`: it may have been delivered before. `mark`: which edgeagent published it, if one did and the protocol
    says so.
    """

    topic: str
    payload: bytes
    receipt: int | str | None = None
    delivery_id: int = 0
    retain: bool = False
    duplicate: bool = False
    response_topic: str | None = None
    correlation_data: bytes | None = None
    mark: str | None = None


class Publication(msgspec.Struct, frozen=True, gc=False):
    """One message to publish. `token` is the owner's name for it and comes back in `Ack`.

    At QoS 0 nothing comes back, except when the link could not write it; at QoS 2 when the broker's final answer is
    there. QoS 2 needs a session made for it: `keep_connected(exactly_once=True)`. `expiry_s`: after so long the broker
    may drop it. `user_properties`: names and values that go beside the payload (AMQP: headers; Pub/Sub: attributes).
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
    """What became of a publication, by its token: the broker's answer, or the link's own when it was not written."""

    token: int
    outcome: PublishOutcome = TAKEN


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
    """One connection to a broker, from `on_up` to `on_down`."""

    @property
    def room(self) -> int:
        """How many publications that are answered may go out now: the broker's limit less those unanswered.

        0 while nothing can be sent, because the socket takes no more or the broker asked us to wait (then `on_room`
        follows), and after the connection ended.
        """

    @property
    def max_packet_bytes(self) -> int:
        """The largest packet that the broker takes."""

    @property
    def abilities(self) -> Abilities:
        """What the broker takes; where the protocol does not say it (MQTT 3.1.1), everything is assumed."""

    @property
    def carried(self) -> frozenset[int]:
        """Tokens of publications of earlier connections, with which the link goes on by itself (QoS 2 only).

        As of CONNACK; empty when the broker lost the session. Their `Ack`s come here, so they must not be published
        again; all others without an `Ack` must.
        """

    def publish(self, publications: Sequence[Publication]) -> None:
        """Write them in this order, in one write. At most `room` of them; after the connection ended: nothing happens.

        One that cannot go out is not written, the others are; its `Ack` comes in the next turn of the loop with a
        `PublishRefused`: larger than `max_packet_bytes`, more than `room`, no packet can be made of it (such as a
        topic over 65535 bytes), retained where the broker keeps nothing, QoS 2 where the session is not made for it.
        To a broker that takes only QoS 0 a publication at QoS 1 goes at QoS 0, and its `Ack` says only that it was
        written.
        """

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge received messages, in one write, in the order received.

        Where the protocol demands that order (MQTT), one acknowledged before an earlier one waits for that one.
        Messages of an earlier connection are ignored: the broker delivers those again. So are those without a receipt.
        """


class LinkOwner(Protocol):
    """The part that a connection belongs to. None of these calls may block, await or raise.

    When one read of the socket brought both, `on_acks` comes before `on_messages`.
    """

    def on_up(self, link: Link, *, session_present: bool) -> None:
        """Connected and subscribed. `session_present` False: the broker knows nothing of us from before."""

    def on_down(self, error: UplinkError) -> None:
        """The connection ended, or an attempt to connect failed (then without an `on_up` before)."""

    def on_messages(self, messages: Sequence[Message]) -> None:
        """Everything that one read of the socket brought, in order. Each with a receipt must be acknowledged."""

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """Everything that one read of the socket brought, in order."""

    def on_room(self) -> None:
        """More can be sent again."""
