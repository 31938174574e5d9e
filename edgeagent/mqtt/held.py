"""Which received messages wait for their acknowledgement: pure bookkeeping of one connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from edgeagent.mqtt.link import Message

# Mosquitto 2.0 sends far more than our receive maximum when it empties a long queue (seen: 65,535 messages for 256,
# every packet id there is). To end the connection over that would lead to the same again, so it is followed as far as
# a gateway's memory allows, and the link reads no more while it holds this much.
_FULL_TIMES = 4  # the receive maximum
_FULL_BYTES = 8 << 20
# For what comes before the subscriptions are confirmed: nothing is acknowledged by then, and the link has to read on.
_MAX_BYTES = 32 << 20


class Held:
    """The messages at QoS 1 that were taken and not acknowledged, in order of receipt.

    Beyond both `max_messages` and 32 MiB of payloads, or when the broker has no packet id left that is not in use, no
    more are taken, until a new connection: the broker keeps them.

    Attributes:
        received: how many messages there were to take, those that were not taken included.
        unacknowledged: the packet ids in use, and whether each is acknowledged and waits for one before it.
    """

    def __init__(self, max_messages: int) -> None:
        self.received = 0
        self._max_messages = max_messages
        self._order: deque[int] = deque()
        self.unacknowledged: dict[int, bool] = {}
        self._bytes = 0
        self._overrun = False

    @property
    def is_full(self) -> bool:
        """Whether to read no more until something is acknowledged."""
        return len(self._order) > _FULL_TIMES * self._max_messages or self._bytes > _FULL_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether everything that was received is acknowledged."""
        return not self._order and not self._overrun

    @property
    def only_refused_are_left(self) -> bool:
        """Whether everything taken is acknowledged, and more had come that was not taken."""
        return self._overrun and not self._order

    def take(self, message: Message) -> bool:
        """Keep a message until it is acknowledged; False: it is not taken, and none behind it will be."""
        self.received += 1
        packet_id, size_bytes = message.packet_id, self._bytes
        too_many = size_bytes > _MAX_BYTES and len(self._order) >= self._max_messages
        if too_many or self._overrun or packet_id in self.unacknowledged:
            self._overrun = True
            return False
        self.unacknowledged[packet_id] = False
        self._order.append(packet_id)
        self._bytes = size_bytes + len(message.payload)
        return True

    def acknowledge(self, messages: Iterable[Message]) -> list[int]:
        """The packet ids whose acknowledgement may leave now: one leaves when all before it are acknowledged."""
        unacknowledged, order = self.unacknowledged, self._order
        leaving: list[int] = []
        for message in messages:
            packet_id = message.packet_id
            if unacknowledged.get(packet_id) is not False:
                continue
            self._bytes -= len(message.payload)
            if order[0] == packet_id:
                leaving.append(order.popleft())
                del unacknowledged[packet_id]
            else:
                unacknowledged[packet_id] = True
        while order and unacknowledged[order[0]]:
            packet_id = order.popleft()
            del unacknowledged[packet_id]
            leaving.append(packet_id)
        return leaving
