"""What goes to devices: at once where the connection takes it, else from their queues as soon as it takes more.

What was written to all connections and is not sent yet is bounded (`MAX_UNSENT_BYTES`): beyond that only small messages
go on, to devices that have read all before; every other one waits in its queue, or is dropped and counted there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterable
from typing import Final

from edgeagent.listener.broker import BrokerCounts, DeviceDelivery
from edgeagent.listener.client import ConnectedDevice
from edgeagent.listener.parcels import Parcel, size_of
from edgeagent.listener.retained import Replay
from edgeagent.listener.sessions import Session

# How many comparisons, and so how many retained messages, belong to one turn of the loop.
_LOOKS = 64
# What all connections together have to send. When the last look found nearly that, the next one comes so much later.
MAX_UNSENT_BYTES: Final = 16 << 20
_FULL_S = 0.05
# It goes also then, to a device that reads.
_SMALL_BYTES = 4 << 10


class Outgoing:
    """Owns the count of what was written to devices and is not sent yet. What waits is in the sessions' queues.

    Promises that a device gets its messages in order: none overtakes what waits in the queue. Must never write a large
    message, or anything to a device that does not read, while about `MAX_UNSENT_BYTES` are unsent.

    Attributes:
        too_large: messages that a device takes none of, since the start.
    """

    def __init__(self, counts: BrokerCounts, clients: Collection[ConnectedDevice]) -> None:
        """`counts`: where what is dropped is counted. `clients`: all that are let in, as they are by then."""
        self.too_large = 0
        self._counts = counts
        self._clients = clients
        self._unsent_bytes = 0  # as of the last look, and what was written since
        self._full_until_s = 0.0
        self._loop = asyncio.get_running_loop()

    def send(self, deliveries: Iterable[DeviceDelivery]) -> None:
        """Send what the broker passes on."""
        for session, parcel in deliveries:
            self._give(session, parcel)

    def replay(self, client: ConnectedDevice, replay: Replay) -> None:
        """Send the retained messages that a subscription asks for, a few in each turn of the loop."""
        if client.replays is None:
            client.replays = deque()
        client.replays.append(replay)
        self._go_on_replaying(client)

    def pump(self, client: ConnectedDevice) -> None:
        """It may take more: send what waits."""
        session = client.session
        if session is None or not client.is_up:
            return
        while session.queue and client.room and self._has_room(client, next(iter(session.queue))):
            parcel = session.queue.pop(self._loop.time())
            if parcel is not None:
                self._publish(client, parcel)
        if client.replays and not client.is_replaying:
            self._go_on_replaying(client)

    def _give(self, session: Session, parcel: Parcel) -> None:
        client = session.connection
        if (
            isinstance(client, ConnectedDevice)
            and client.is_up
            and not session.queue
            and (client.room if parcel.qos else not client.is_slow)
            and self._has_room(client, parcel)
        ):
            self._publish(client, parcel)
        else:
            self._counts.dropped += session.queue.put(parcel)

    def _publish(self, client: ConnectedDevice, parcel: Parcel) -> None:
        message = parcel.at(self._loop.time())
        if message is None:
            return
        if client.publish(message, parcel.qos, retain=parcel.retain, subscription_ids=parcel.identifiers):
            self._unsent_bytes += size_of(message)
        else:
            self.too_large += 1

    def _has_room(self, client: ConnectedDevice, parcel: Parcel) -> bool:
        """Whether a message may be written now, as far as the memory of all is concerned."""
        return not self._is_full() or (size_of(parcel.publish) <= _SMALL_BYTES and client.flush() == 0)

    def _is_full(self) -> bool:
        """Whether about as much is unsent as may be. It is looked at anew when so much may have been written."""
        if self._unsent_bytes < MAX_UNSENT_BYTES:
            return False
        now = self._loop.time()
        if now < self._full_until_s:
            return True
        unsent_bytes = sum([client.flush() for client in self._clients])
        if unsent_bytes <= MAX_UNSENT_BYTES - MAX_UNSENT_BYTES // 8:
            self._unsent_bytes = unsent_bytes
            return False
        self._full_until_s = now + _FULL_S
        return True

    def _go_on_replaying(self, client: ConnectedDevice) -> None:
        client.is_replaying = True
        self._loop.call_soon(self._replay, client)

    def _replay(self, client: ConnectedDevice) -> None:
        client.is_replaying = False
        session, replays = client.session, client.replays
        if session is None or not replays or not client.is_up:
            return
        room = client.room
        if session.queue or not room or self._is_full():
            return  # `pump` goes on
        for _ in range(min(_LOOKS, room)):
            for parcel in replays[0].take(1, self._loop.time()):
                self._give(session, parcel)
            if replays[0].is_done or session.queue or self._is_full():
                break
        if replays[0].is_done:
            replays.popleft()
        if replays:
            self._go_on_replaying(client)
