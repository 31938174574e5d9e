"""How a connection gives up its subscriptions and finds out that nothing of theirs is left to take."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from edgeagent.mqtt.held import Held
from edgeagent.mqtt.link import Subscription

_FAILURE = 0x80  # reason codes from here on say that the subscription stays


class Farewell:
    """The UNSUBSCRIBEs of one connection and what their answers prove.

    A broker may have more for us than it sends before we acknowledge. So UNSUBSCRIBE goes out again whenever all that
    was taken is acknowledged: the broker works in order, and when it answers without having sent a message since, it
    had none. Such an answer has a packet id, so that it cannot be mistaken for another; PINGRESP has none.

    Args:
        subscriptions: what is to be given up; without any, no UNSUBSCRIBE is ever due.
        held: the connection's messages that wait for their acknowledgement.
        loop: the running loop.

    Attributes:
        unsubscribed: done with the first answer: whether the broker gave up all subscriptions.
        emptied: done when nothing is left to take. Not done when the connection ends before.
    """

    def __init__(self, subscriptions: tuple[Subscription, ...], held: Held, loop: asyncio.AbstractEventLoop) -> None:
        self.unsubscribed: asyncio.Future[bool] = loop.create_future()
        self.emptied: asyncio.Future[None] = loop.create_future()
        self._subscriptions = subscriptions
        self._held = held
        self._begun = False
        self._packet_id = 0
        self._received: int | None = None  # how many messages had been when we asked; None: not all were acknowledged

    @property
    def packet_id(self) -> int:
        """The packet id of the UNSUBSCRIBE that waits for its answer, 0 when there is none."""
        return self._packet_id

    @property
    def is_due(self) -> bool:
        """Whether an UNSUBSCRIBE is to be written now."""
        if not self._begun or self._packet_id or not self._subscriptions or self.emptied.done():
            return False
        return not self.unsubscribed.done() or (self.unsubscribed.result() and self._held.is_empty)

    @property
    def is_complete(self) -> bool:
        """Whether the session has nothing that would be lost with it."""
        return self.emptied.done() and self._held.is_empty

    def begin(self) -> None:
        """From now on UNSUBSCRIBE is due, once and then as often as it takes."""
        self._begun = True

    def ask(self, packet_id: int) -> None:
        """An UNSUBSCRIBE of all subscriptions is written with this packet id, before anything else is received."""
        self._packet_id = packet_id
        self._received = self._held.received if self._held.is_empty else None

    def take(self, packet_id: int, reason_codes: Sequence[int]) -> bool:
        """Take an UNSUBACK; False: it answers nothing that was asked."""
        if not self._packet_id or packet_id != self._packet_id or len(reason_codes) != len(self._subscriptions):
            return False
        self._packet_id = 0
        # 0x11 means that there was no such subscription: that is what we want, and what all but the first answers say.
        if not self.unsubscribed.done():
            self.unsubscribed.set_result(all(code < _FAILURE for code in reason_codes))
        if self.unsubscribed.result() and self._received == self._held.received:
            self.emptied.set_result(None)
        return True
