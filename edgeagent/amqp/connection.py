"""The machine of one AMQP connection: takes frames, returns what to write, and keeps what the owner gets. Pure."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Sequence

from pamqp import base, commands, header

from edgeagent.amqp import codec, reasons
from edgeagent.amqp.codec import Frame
from edgeagent.amqp.confirms import Confirms
from edgeagent.amqp.deliveries import Content, OpenDeliveries
from edgeagent.amqp.keys import EXCHANGE, has_key, routing_key
from edgeagent.amqp.opening import CONSUMING, PUBLISHING, Dialogue, Opened, Opening, Terms
from edgeagent.amqp.properties import properties_of
from edgeagent.common.foreign import line
from edgeagent.errors import Unavailable, UplinkError
from edgeagent.ports.link import Ack, Message, Publication, PublishRefused

# RabbitMQ closes the channel over a larger message, and with it everything in flight.
MESSAGE_MAX_BYTES = 1 << 27
# No RabbitMQ can be configured to take a larger one: whoever announces it never sends it.
ANNOUNCED_MAX_BYTES = 1 << 29
_SYNTAX_ERROR, _CONTENT_TOO_LARGE = 502, 311


class AmqpPhase(enum.Enum):
    """The phases of a connection: the opening dialogue, in use, ended."""

    OPENING = enum.auto()
    IN_USE = enum.auto()
    ENDED = enum.auto()


class AmqpConnection:
    """One connection, from the protocol's header to its end.

    What `receive` and `publish` return must be written in that order. After it has ended it takes and returns nothing,
    but for the answer to a close. A message is handed over once; one that is too large is never handed over.

    Args:
        terms: what to ask of the broker.
        number: this connection's number, unique in the process.
        nonce: see `Confirms`.
        mark: our name, on every publication.
        message_max_bytes: larger messages are rejected: the broker drops them, or keeps them as dead letters.

    Attributes:
        phase: the present phase.
        error: why it ended.
        opened: what the opening dialogue found; None before.
        blocked: why the broker takes no publications for now; "" if it does.
        acks, messages: what the owner is to get; whoever hands it over clears them.
        too_large: the topics of messages that were rejected, to be logged.
        unreadable: the topics of messages that were handed over without their properties, to be logged.
        closed_with: the code with which the broker closed the connection or a channel; 0: it did not.
        may_close: the broker has answered our close, or expects the socket to be closed.
    """

    def __init__(self, terms: Terms, number: int, nonce: str, mark: str, message_max_bytes: int) -> None:
        self.phase = AmqpPhase.OPENING
        self.error: UplinkError | None = None
        self.opened: Opened | None = None
        self.blocked = ""
        self.acks: list[Ack] = []
        self.messages: list[Message] = []
        self.too_large: list[str] = []
        self.unreadable: list[str] = []
        self._cancelled = 0
        self.closed_with = 0
        self.may_close = False
        self.reader = codec.FrameReader()
        self.deliveries = OpenDeliveries(number)
        self.confirms = Confirms(nonce)
        self._terms = terms
        self._most_open = terms.prefetch * sum(not queue.acknowledged for queue in terms.queues)
        self._mark = mark
        self._message_max_bytes = message_max_bytes
        self._content: dict[int, Content] = {}  # by channel: the message that is coming in
        self._frame_max_bytes = codec.FRAME_MAX_BYTES
        self._opening = Opening(terms, self._agreed)
        self._dialogue: Dialogue = self._opening.run()

    @property
    def awaited(self) -> str:
        """What the opening dialogue waits for; "" if it is over, or waits for what every connection needs."""
        return self._opening.awaited if self.phase is AmqpPhase.OPENING else ""

    @property
    def is_cancelled(self) -> bool:
        """Whether the broker has stopped all deliveries at our wish."""
        return self._cancelled >= len(self._opening.tags)

    # Writing.

    def begin(self) -> bytes:
        """The first bytes."""
        return next(self._dialogue)

    def publish(self, publications: Iterable[Publication]) -> tuple[bytes, list[Ack]]:
        """The frames of these publications, and the answers to those that cannot be sent."""
        pieces, answers = [], []
        for publication in publications if self.phase is AmqpPhase.IN_USE else ():
            found = self._publication(publication)
            if isinstance(found, bytes):
                pieces.append(found)
            else:
                answers.append(Ack(publication.token, found))
        return b"".join(pieces), answers

    def acknowledge(self, messages: Sequence[Message]) -> bytes:
        """The acknowledgements of these messages."""
        if self.phase is not AmqpPhase.IN_USE:
            return b""
        return b"".join(
            codec.method(CONSUMING, commands.Basic.Ack(tag, multiple))
            for tag, multiple in self.deliveries.acknowledge(messages)
        )

    def cancel(self) -> bytes:
        """Stop all deliveries; `is_cancelled` says when."""
        return b"".join(codec.method(CONSUMING, commands.Basic.Cancel(tag)) for tag in self._opening.tags)

    def end(self, error: UplinkError) -> bytes:
        """End it, once; what to write last."""
        if self.phase is AmqpPhase.ENDED:
            return b""
        # The broker takes a close only once the handshake is done.
        says_goodbye = self.opened is not None
        self.phase, self.error = AmqpPhase.ENDED, error
        if not says_goodbye:
            self.may_close = True
            return b""
        return codec.method(0, commands.Connection.Close(reasons.CLOSED_BY_US, "goodbye", 0, 0))

    def _publication(self, publication: Publication) -> bytes | PublishRefused:
        size_bytes = len(publication.payload)
        if size_bytes > MESSAGE_MAX_BYTES:
            text = f"it has {size_bytes} bytes, at most {MESSAGE_MAX_BYTES} are taken"
            return PublishRefused(_CONTENT_TOO_LARGE, text, permanent=True)
        if not has_key(publication.topic):
            text = "its topic has a dot, which AMQP takes for a '/'"
            return PublishRefused(_SYNTAX_ERROR, text, permanent=True, over_topic=True)
        message_id = self.confirms.message_id(publication)
        publish = commands.Basic.Publish(exchange=EXCHANGE, routing_key=routing_key(publication.topic), mandatory=True)
        try:
            properties = properties_of(publication, message_id, self._mark)
            frames = codec.content(PUBLISHING, publish, properties, publication.payload, self._frame_max_bytes)
        except (ValueError, TypeError, struct.error) as exc:
            return PublishRefused(_SYNTAX_ERROR, f"it cannot be written as a message of AMQP ({exc})", permanent=True)
        self.confirms.add(publication, message_id)
        return frames

    # Reading.

    def receive(self, data: bytes) -> bytes:
        """Take what the socket brought; returns what to write."""
        frames, fault = self.reader.take(data)
        written: list[bytes] = []
        for channel, frame in frames:
            if self.phase is AmqpPhase.ENDED:
                self._take_last(frame, written)
                continue
            try:
                written.append(self._take(channel, frame))
            except UplinkError as error:
                written.append(self.end(error))
        if fault and self.phase is not AmqpPhase.ENDED:
            written.append(self._against_protocol(fault))
        return b"".join(written)

    def _take_last(self, frame: Frame, written: list[bytes]) -> None:
        if isinstance(frame, commands.Connection.Close):
            written.append(codec.method(0, commands.Connection.CloseOk()))
        self.may_close |= isinstance(frame, commands.Connection.Close | commands.Connection.CloseOk)

    def _take(self, channel: int, frame: Frame) -> bytes:
        if isinstance(frame, bytes | header.ContentHeader):
            return self._take_content(channel, frame)
        if channel in self._content:
            return self._against_protocol(f"{getattr(frame, 'name', '?')} in the middle of a message")
        match frame:
            case commands.Basic.Deliver() if channel == CONSUMING:
                self._content[channel] = Content(frame, self._message_max_bytes)
            case commands.Basic.GetOk() if channel == CONSUMING:
                self._content[channel] = Content(frame, self._message_max_bytes)
                return self._take_method(channel, frame)
            case commands.Basic.Return() if channel == PUBLISHING:
                self._content[channel] = Content(frame, 0)
            case commands.Basic.Ack() | commands.Basic.Nack() if channel == PUBLISHING:
                return self._take_confirm(frame)
            case base.Frame():
                return self._take_method(channel, frame) if channel else self._take_of_connection(frame)
        return b""

    def _take_of_connection(self, frame: base.Frame) -> bytes:
        match frame:
            case commands.Connection.Close():
                self.closed_with = frame.reply_code or 0
                error = reasons.closed(self._terms.address, frame)
                self.phase, self.error, self.may_close = AmqpPhase.ENDED, error, True
                return codec.method(0, commands.Connection.CloseOk())
            case commands.Connection.Blocked():
                self.blocked = line(frame.reason) or "it does not say why"
            case commands.Connection.Unblocked():
                self.blocked = ""
            case _:
                return self._take_method(0, frame)
        return b""

    def _take_method(self, channel: int, frame: base.Frame) -> bytes:
        if self.phase is AmqpPhase.OPENING and not isinstance(frame, commands.Basic.Cancel):
            try:
                return self._dialogue.send(frame)
            except StopIteration as done:
                self.opened, self.phase = done.value, AmqpPhase.IN_USE
                return b""
        match frame:
            case commands.Channel.Close():
                self.closed_with = frame.reply_code or 0
                doing = "publishing" if channel == PUBLISHING else "consuming"
                return self.end(reasons.closed(self._terms.address, frame, doing))
            case commands.Basic.Cancel() if frame.consumer_tag in self._opening.tags:
                name = self._opening.tags[frame.consumer_tag].name
                text = f"the queue {name} was deleted, or its broker is gone; it is made anew"
                return self.end(Unavailable(self._terms.address, text))
            case commands.Basic.CancelOk():
                self._cancelled += 1
                return b""
        return self._against_protocol(f"an unexpected {frame.name}")

    def _take_content(self, channel: int, frame: bytes | header.ContentHeader) -> bytes:
        content = self._content.get(channel)
        fits = content is not None and (content.add(frame) if isinstance(frame, bytes) else content.describe(frame))
        if isinstance(frame, header.ContentHeader) and frame.body_size > ANNOUNCED_MAX_BYTES:
            return self._against_protocol(f"a message of {frame.body_size} bytes")
        if content is None or not fits:
            return self._against_protocol("a part of a message that does not fit")
        if not content.is_complete:
            return b""
        del self._content[channel]
        if isinstance(content.method, commands.Basic.Return):
            self.confirms.returned(content.properties.message_id if content.properties is not None else None)
            return b""
        if isinstance(content.method, commands.Basic.GetOk):
            self.messages += content.kept()
            return b""
        return self._take_message(content, content.method)

    def _take_message(self, content: Content, deliver: commands.Basic.Deliver) -> bytes:
        queue = self._opening.tags.get(deliver.consumer_tag or "")
        if queue is None:
            return self._against_protocol("a message for no consumer of ours")
        if content.is_too_large:
            self.too_large.append(deliver.routing_key or "")
            if queue.acknowledged:
                return b""
            return codec.method(CONSUMING, commands.Basic.Reject(deliver.delivery_tag, requeue=False))
        if not queue.acknowledged and len(self.deliveries) >= self._most_open:
            return self._against_protocol(f"more messages than agreed: {self._most_open} are not acknowledged")
        message = self.deliveries.take(content, acknowledged=queue.acknowledged)
        if message is None:
            return self._against_protocol(f"a message with delivery tag {deliver.delivery_tag}, which is 0 or in use")
        self.messages.append(message)
        if content.is_unreadable:
            self.unreadable.append(deliver.routing_key or "")
        return b""

    def _take_confirm(self, frame: commands.Basic.Ack | commands.Basic.Nack) -> bytes:
        number, refused = frame.delivery_tag or 0, isinstance(frame, commands.Basic.Nack)
        acks = self.confirms.confirmed(number, multiple=frame.multiple, refused=refused)
        if acks is None:
            return self._against_protocol(f"a confirm of publication {number}, which is not in flight")
        self.acks += acks
        return b""

    def _agreed(self, frame_max_bytes: int) -> None:
        self._frame_max_bytes = self.reader.frame_max_bytes = frame_max_bytes

    def _against_protocol(self, what: str) -> bytes:
        return self.end(Unavailable(self._terms.address, f"the broker sent {what}"))
