"""What goes to devices: at once where the connection takes it, else from their queues as soon as it takes more."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from edgeagent.listener.broker import BrokerCounts, DeviceDelivery
from edgeagent.listener.client import ConnectedDevice
from edgeagent.listener.parcels import Parcel
from edgeagent.listener.retained import Replay
from edgeagent.listener.sessions import Session

# How many comparisons, and so how many retained messages, belong to one turn of the loop.
_LOOKS = 64


class Outgoing:
    """See the module.

    Attributes:
        too_large: messages that a device takes none of, since the start.
    """

    def __init__(self, counts: BrokerCounts) -> None:
        """`counts`: where what is dropped is counted."""
        self.too_large = 0
        self._counts = counts
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
        while session.queue and client.room:
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
        ):
            self._publish(client, parcel)
        else:
            self._counts.dropped += session.queue.put(parcel)

    def _publish(self, client: ConnectedDevice, parcel: Parcel) -> None:
        message = parcel.at(self._loop.time())
        if message is not None and not client.publish(
            message, parcel.qos, retain=parcel.retain, subscription_ids=parcel.identifiers
        ):
            self.too_large += 1

    def _go_on_replaying(self, client: ConnectedDevice) -> None:
        client.is_replaying = True
        self._loop.call_soon(self._replay, client)

    def _replay(self, client: ConnectedDevice) -> None:
        client.is_replaying = False
        session, replays = client.session, client.replays
        if session is None or not replays or not client.is_up:
            return
        room = client.room
        if session.queue or not room:
            return  # `pump` goes on
        for parcel in replays[0].take(min(_LOOKS, room), self._loop.time()):
            self._give(session, parcel)
        if replays[0].is_done:
            replays.popleft()
        if replays:
            self._go_on_replaying(client)
