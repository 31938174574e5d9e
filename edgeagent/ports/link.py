"""The interface of a link: a broker as the agent and the dispatcher see it, whichever protocol it speaks.

It consists of batches and callbacks: no task and no future for a message. All calls happen in the loop's thread.

The life cycle of a link: the session (`links.session.keep_connected`) connects, subscribes and calls
`owner.on_up(link, ...)`; the owner then calls `link.publish` and `link.acknowledge`; when the connection ends, the
session calls `owner.on_down` and, after a backoff, starts again with a new `Link`. A link has no queue and never
repeats anything by itself: the owner must publish again what has no `Ack` at `on_down` (the outbox is the only retry
queue). The one exception is a handshake that continues in a session which the broker kept (MQTT's QoS 2):
`Link.carried`.

A protocol's own terms stay behind the link. Its answer to a publication becomes a `PublishOutcome`, and its identifier
for acknowledging a message becomes `Message.receipt`, which only the link understands.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from edgeagent.errors import UplinkError

# How many unacknowledged messages a broker may send before it waits (contract section 2). MQTT: the receive maximum;
# AMQP: the prefetch count.
PREFETCH = 256
# The property that marks everything edgeagent publishes (MQTT 5: a user property; AMQP: a header), with the publisher's
# name as its value, so that it is never taken for a device's message.
MARK = "edgeagent"
# The property that carries a W3C trace context.
TRACEPARENT = "traceparent"


class Acceptance(enum.Enum):
    """The outcome of a publication that was not refused.

    `TAKEN`: the broker has it, and vouches for it. `UNHEARD`: the broker has discarded it, because nobody subscribes to
    its topic (MQTT 5: reason code 0x10; AMQP: returned with 312).
    """

    TAKEN = enum.auto()
    UNHEARD = enum.auto()


# Module names: looking a member up in its class takes 0.1 us on Python 3.11 (`benchmarks path`, CPU an event).
TAKEN: Final = Acceptance.TAKEN
UNHEARD: Final = Acceptance.UNHEARD


class PublishRefused(msgspec.Struct, frozen=True, gc=False):
    """A publication was refused, by the broker or by the link itself; as text, a sentence for the operator.

    `code`: the protocol's number for the reason, for logs and dead letters. `reason`: in plain words. `permanent`: the
    same message would be refused again. `over_topic`: the topic is what is refused, so that the same message may pass
    on another one.
    """

    code: int
    reason: str
    permanent: bool = False
    over_topic: bool = False

    def __str__(self) -> str:
        return f"the broker refused the message: {self.reason}"


PublishOutcome = Acceptance | PublishRefused


class Message(msgspec.Struct, frozen=True, gc=False):
    """A received message.

    `receipt` is for `Link.acknowledge`, opaque, and unique in the process; None if the broker expects no
    acknowledgement. `delivery_id`: the broker's number for this delivery, the same for a repetition in the same session
    (MQTT: the packet id); 0 for none. `retain`: it was published before we subscribed. `duplicate`: it may have been
    delivered before. `mark`: the agent or dispatcher that published it, if one did and the protocol says so.
    `traceparent`: what came under that name beside the payload, whatever it is.
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
    traceparent: str | None = None


class Publication(msgspec.Struct, frozen=True, gc=False):
    """A message to publish. `token` is the owner's name for it and is returned in `Ack`.

    At QoS 0 no `Ack` comes unless the link could not write it; at QoS 2 it comes with the broker's final answer. QoS 2
    needs a session made for it: `keep_connected(exactly_once=True)`. `expiry_s`: after this time the broker may drop
    it. `user_properties`: names and values sent beside the payload (AMQP: headers; Pub/Sub: attributes); the same tuple
    for many publications costs least. `traceparent`: one more, a W3C trace context, which is another each time.
    `attempt`: of a trigger, how often it was sent, this time included; with its correlation data it names the message
    over AMQP.
    `ordering_key`: publications with the same one must arrive in order, where the protocol does not see to it anyway.
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
    traceparent: str | None = None
    attempt: int = 0
    ordering_key: str = ""


class Ack(msgspec.Struct, frozen=True, gc=False):
    """The outcome of a publication, by its token: the broker's answer, or the link's own if it was not written."""

    token: int
    outcome: PublishOutcome = TAKEN


class Subscription(msgspec.Struct, frozen=True):
    """A topic filter and the requested QoS. Retained messages are requested only if `retained`.

    If the broker refuses one that is `required`, the connection ends and `on_up` is not called; the refusal of another
    is logged as a warning. `kept`: the topics below the filter of which the last message must outlive everybody's
    connections, where the protocol has no retained messages (AMQP: a queue for each).
    """

    topic_filter: str
    qos: int = 1
    retained: bool = False
    required: bool = True
    kept: tuple[str, ...] = ()


class Will(msgspec.Struct, frozen=True):
    """The message that the broker publishes for us when we have been gone for `delay_s`."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = True
    delay_s: int = 0


class Abilities(msgspec.Struct, frozen=True):
    """A broker's abilities, as far as they are known: retained messages, and the highest QoS.

    `guessed`: it said nothing, but ended connections over them.
    """

    retains: bool = True
    most_qos: int = 2
    guessed: bool = False

    def lacks(self) -> list[str]:
        """Each missing ability and its consequence, in a sentence."""
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
    """One connection to a broker, from `on_up` to `on_down`. It never repeats a publication by itself."""

    @property
    def room(self) -> int:
        """How many publications that need an answer may be sent now: the broker's limit less those unanswered.

        0 while nothing can be sent, because the socket is full or the broker asked us to wait (`on_room` follows), and
        after the connection ended.
        """

    @property
    def max_packet_bytes(self) -> int:
        """The largest packet that the broker accepts."""

    @property
    def abilities(self) -> Abilities:
        """The broker's abilities; if the protocol does not announce them (MQTT 3.1.1), all are assumed."""

    @property
    def carried(self) -> frozenset[int]:
        """Tokens of publications of earlier connections that the link itself continues (QoS 2 only).

        As of CONNACK; empty if the broker lost the session. Their `Ack`s come here, so they must not be published
        again; all others without an `Ack` must.
        """

    @property
    def blocked(self) -> str:
        """Why the broker takes no publications for now although the connection is up; "" if it does (AMQP only)."""

    def publish(self, publications: Sequence[Publication]) -> None:
        """Write them in this order, in one write; at most `room` of them. After the connection ended, nothing happens.

        One that cannot be sent is not written, but the others are; its `Ack` comes in the next turn of the loop with a
        `PublishRefused`. This applies to one that is larger than `max_packet_bytes`, beyond `room`, impossible to
        encode (such as a topic over 65535 bytes), retained although the broker keeps none (over AMQP it is
        sent, and not kept), or at QoS 2 although the session is not made for it. A publication at QoS 1 to a broker
        that accepts only QoS 0 is sent at QoS 0, and its `Ack` says only that it was written.
        """

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge received messages, in one write, in the order received.

        If the protocol demands that order (MQTT), a message acknowledged before an earlier one waits for that one.
        Messages of an earlier connection are ignored, since the broker delivers them again, and so are those without a
        receipt.
        """


class LinkOwner(Protocol):
    """The part that a connection belongs to. None of these calls may block, await or raise.

    If one read of the socket brought both, `on_acks` comes before `on_messages`.
    """

    def on_up(self, link: Link, *, session_present: bool) -> None:
        """Note that the connection is up and subscribed. `session_present`: whether the broker had kept a session."""

    def on_down(self, error: UplinkError) -> None:
        """Note that the connection ended, or that an attempt to connect failed (then without an earlier `on_up`)."""

    def on_messages(self, messages: Sequence[Message]) -> None:
        """Process the messages of one read of the socket, in order. Each with a receipt must be acknowledged."""

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """Process the acks of one read of the socket, in order."""

    def on_room(self) -> None:
        """Note that more can be sent again."""
