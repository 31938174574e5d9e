"""Which received messages wait for their acknowledgement: pure bookkeeping of one connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from edgeagent.ports.link import Message

# Mosquitto 2.0 sends far more than our receive maximum when it empties a long queue (seen: 65,535 messages for 256,
# every packet id there is). To end the connection over that would lead to the same again, so it is followed as far as
# a gateway's memory allows, and the link reads no more while so much is unacknowledged.
_FULL_TIMES = 4  # the receive maximum
_FULL_BYTES = 8 << 20
# For what comes before the subscriptions are confirmed: nothing is acknowledged by then, and the link has to read on.
_MAX_BYTES = 32 << 20

# A receipt is the connection's number with the packet id below it, so that it is unique in the process.
_PACKET_ID_BITS = 16
_PACKET_ID = (1 << _PACKET_ID_BITS) - 1


def receipts_of(connection: int) -> int:
    """What the receipts of a connection have in common: with a packet id or-ed to it, it is that message's receipt."""
    return connection << _PACKET_ID_BITS


class Unacknowledged:
    """The messages at QoS 1 that were taken and not acknowledged, in order of receipt; all of one connection.

    It takes no more beyond both `max_messages` and 32 MiB of payloads, nor when the broker uses a packet id again
    before it was acknowledged: the broker keeps those messages for the next connection. It lets no acknowledgement
    overtake an earlier one (MQTT 5, 4.6), and none twice.

    Attributes:
        received: how many messages there were to take, those that were not taken included.
    """

    def __init__(self, max_messages: int) -> None:
        self.received = 0
        self._max_messages = max_messages
        self._order: deque[int] = deque()
        # By receipt: whether it is acknowledged, and waits for one before it.
        self._acknowledged: dict[int | str | None, bool] = {}
        self._bytes = 0
        self._overrun = False

    def __contains__(self, receipt: object) -> bool:
        """Whether the packet id of this receipt is in use."""
        return receipt in self._acknowledged

    @property
    def is_full(self) -> bool:
        """Whether to read no more until something is acknowledged."""
        return len(self._order) > _FULL_TIMES * self._max_messages or self._bytes > _FULL_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether everything that was received is acknowledged."""
        return not self._order and not self._overrun

    @property
    def only_untaken_are_left(self) -> bool:
        """Whether everything taken is acknowledged, and more had come that was not taken."""
        return self._overrun and not self._order

    def take(self, receipt: int, payload_bytes: int) -> bool:
        """Remember a message until it is acknowledged; False: it is not taken, and none behind it will be."""
        self.received += 1
        size_bytes = self._bytes
        too_many = size_bytes > _MAX_BYTES and len(self._order) >= self._max_messages
        if too_many or self._overrun or receipt in self._acknowledged:
            self._overrun = True
            return False
        self._acknowledged[receipt] = False
        self._order.append(receipt)
        self._bytes = size_bytes + payload_bytes
        return True

    def acknowledge(self, messages: Iterable[Message]) -> list[int]:
        """The packet ids whose PUBACK may leave now: one leaves when all before it are acknowledged.

        Messages that are not of this connection, or acknowledged already, change nothing.
        """
        acknowledged, order = self._acknowledged, self._order
        leaving: list[int] = []
        for message in messages:
            receipt = message.receipt
            if acknowledged.get(receipt) is not False:
                continue
            self._bytes -= len(message.payload)
            if order[0] == receipt:
                leaving.append(order.popleft() & _PACKET_ID)
                del acknowledged[receipt]
            else:
                acknowledged[receipt] = True
        while order and acknowledged[order[0]]:
            receipt = order.popleft()
            del acknowledged[receipt]
            leaving.append(receipt & _PACKET_ID)
        return leaving
