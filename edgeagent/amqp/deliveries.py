"""Messages that the broker delivers: put together from their frames, and acknowledged. Pure; of one channel."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from pamqp import commands, header

from edgeagent.amqp.codec import UnreadableHeader
from edgeagent.amqp.properties import message_of
from edgeagent.ports.link import Message

# A receipt is the connection's number with the delivery tag in its lower bits, so that it is unique in the process.
_TAG_BITS = 40
_TAG = (1 << _TAG_BITS) - 1

Announcing = commands.Basic.Deliver | commands.Basic.GetOk | commands.Basic.Return


class Content:
    """One message on its way in: announced by a method, described by a header, and then in pieces.

    Its body is kept only as far as `max_bytes`; what is longer is counted, and `is_too_large`. `is_unreadable`: it has
    properties that nobody can read, and counts as one without any.
    """

    def __init__(self, method: Announcing, max_bytes: int) -> None:
        self.method = method
        self.properties: commands.Basic.Properties | None = None
        self.is_too_large = self.is_unreadable = False
        self._max_bytes = max_bytes
        self._missing_bytes = 0
        self._pieces: list[bytes] = []

    @property
    def is_complete(self) -> bool:
        """Whether everything is here."""
        return self.properties is not None and not self._missing_bytes

    @property
    def payload(self) -> bytes:
        """The body, empty if it is too large."""
        return b"".join(self._pieces)

    def kept(self) -> list[Message]:
        """The message that a queue keeps for those who connect; none if it is too large."""
        if not isinstance(self.method, commands.Basic.GetOk) or self.properties is None or self.is_too_large:
            return []
        return [msgspec.structs.replace(message_of(self.method, self.properties, self.payload, None), retain=True)]

    def describe(self, head: header.ContentHeader) -> bool:
        """Take the header; False: it comes twice."""
        if self.properties is not None:
            return False
        self.properties = head.properties
        self.is_unreadable = isinstance(head, UnreadableHeader)
        self._missing_bytes = head.body_size
        self.is_too_large = head.body_size > self._max_bytes
        return True

    def add(self, piece: bytes) -> bool:
        """Take a piece of the body; False: there is no room for it."""
        if self.properties is None or not 0 < len(piece) <= self._missing_bytes:
            return False
        self._missing_bytes -= len(piece)
        if not self.is_too_large:
            self._pieces.append(piece)
        return True


class OpenDeliveries:
    """The messages that were taken and not acknowledged, by delivery tag. A tag is acknowledged once.

    Args:
        connection: the connection's number, unique in the process.
    """

    def __init__(self, connection: int) -> None:
        self._base = connection << _TAG_BITS
        self._open: dict[int, None] = {}

    def __len__(self) -> int:
        """How many wait for their acknowledgement."""
        return len(self._open)

    def take(self, content: Content, *, acknowledged: bool) -> Message | None:
        """The message of a complete delivery; None: its delivery tag is in use. `acknowledged`: it needs no receipt."""
        deliver = content.method
        if not isinstance(deliver, commands.Basic.Deliver) or content.properties is None:
            return None
        tag = deliver.delivery_tag or 0
        if acknowledged:
            return message_of(deliver, content.properties, content.payload, None)
        if not 0 < tag <= _TAG or tag in self._open:
            return None
        self._open[tag] = None
        return message_of(deliver, content.properties, content.payload, self._base | tag)

    def acknowledge(self, messages: Iterable[Message]) -> list[tuple[int, bool]]:
        """The delivery tags to acknowledge, each alone or (True) with all before it.

        Messages of another connection, or acknowledged already, change nothing.
        """
        done = {
            receipt & _TAG
            for message in messages
            if isinstance(receipt := message.receipt, int)
            and receipt & ~_TAG == self._base
            and receipt & _TAG in self._open
        }
        upto = 0
        for tag in list(self._open):
            if tag not in done:
                break
            del self._open[tag]
            done.discard(tag)
            upto = tag
        for tag in done:
            del self._open[tag]
        return ([(upto, True)] if upto else []) + [(tag, False) for tag in sorted(done)]
