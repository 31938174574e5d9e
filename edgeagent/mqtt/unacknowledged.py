"""The received messages that wait for their acknowledgement: pure bookkeeping of one connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from edgeagent.ports.link import Message

# Mosquitto 2.0 sends far more than our receive maximum when it empties a long queue (seen: 65,535 messages for 256,
# all packet ids there are). Ending the connection over that would only repeat it, so the messages are taken as far as
# a gateway's memory allows, and the link stops reading while so many are unacknowledged.
_FULL_TIMES = 4  # times the receive maximum
_FULL_BYTES = 8 << 20
# For what comes before the subscriptions are confirmed: nothing can be acknowledged then, and the link must read on.
_MAX_BYTES = 32 << 20

# A receipt is the connection's number with the packet id in its lower bits, so that it is unique in the process.
_PACKET_ID_BITS = 16
_PACKET_ID = (1 << _PACKET_ID_BITS) - 1


def receipts_of(connection: int) -> int:
    """The upper part of all receipts of a connection; or-ed with a packet id, it is that message's receipt."""
    return connection << _PACKET_ID_BITS


class Unacknowledged:
    """The messages at QoS 1 that were taken and not acknowledged, in order of receipt; all of one connection.

    It takes no more beyond both `max_messages` and 32 MiB of payloads, nor when the broker reuses a packet id before it
    was acknowledged: the broker keeps those messages for the next connection. It must never let an acknowledgement
    overtake an earlier one (MQTT 5, 4.6), nor send one twice.

    Attributes:
        received: how many messages were received, including those that were not taken.
    """

    def __init__(self, max_messages: int) -> None:
        self.received = 0
        self._max_messages = max_messages
        self._order: deque[int] = deque()
        # By receipt: True if it is acknowledged and waits for one before it.
        self._acknowledged: dict[int | str | None, bool] = {}
        self._bytes = 0
        self._overrun = False

    def __contains__(self, receipt: object) -> bool:
        """Whether the packet id of this receipt is in use."""
        return receipt in self._acknowledged

    @property
    def is_full(self) -> bool:
        """Whether to stop reading until something is acknowledged."""
        return len(self._order) > _FULL_TIMES * self._max_messages or self._bytes > _FULL_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether everything that was received is acknowledged."""
        return not self._order and not self._overrun

    @property
    def only_untaken_are_left(self) -> bool:
        """Whether everything taken is acknowledged, and there were more messages that were not taken."""
        return self._overrun and not self._order

    def take(self, receipt: int, payload_bytes: int) -> bool:
        """Remember a message until it is acknowledged; False: it is not taken, nor is any later one."""
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
        """Acknowledge messages; returns the packet ids whose PUBACK may be sent now, those with none open before them.

        Messages of another connection, or acknowledged already, change nothing.
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
