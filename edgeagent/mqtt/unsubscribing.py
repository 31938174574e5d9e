"""How a connection gives up its subscriptions and finds out that nothing of theirs is left to take: pure."""

from __future__ import annotations

from collections.abc import Sequence

from edgeagent.mqtt.reason_codes import FAILURE
from edgeagent.mqtt.unacknowledged import Unacknowledged
from edgeagent.ports.link import Subscription


class Unsubscribing:
    """The UNSUBSCRIBEs of one connection and what their answers prove.

    A broker may have more for us than it sends before we acknowledge. So UNSUBSCRIBE goes out again whenever all that
    was taken is acknowledged: the broker works in order, and when it answers without having sent a message since, it
    had none. Such an answer has a packet id, so that it cannot be mistaken for another; PINGRESP has none.

    It never calls a session empty while a message of it may be lost: at the broker, or taken and not acknowledged.

    Args:
        subscriptions: what is to be given up; without any, no UNSUBSCRIBE is ever due.
        unacknowledged: the connection's messages that wait for their acknowledgement.

    Attributes:
        granted: whether the broker gave up all subscriptions, by its first answer; None: it has not answered yet.
        emptied: whether the broker had nothing left to send.
    """

    def __init__(self, subscriptions: tuple[Subscription, ...], unacknowledged: Unacknowledged) -> None:
        self.granted: bool | None = None
        self.emptied = False
        self._subscriptions = subscriptions
        self._unacknowledged = unacknowledged
        self._begun = False
        self._packet_id = 0  # of the UNSUBSCRIBE that waits for its answer; 0: there is none
        self._received: int | None = None  # how many messages had been when we asked; None: not all were acknowledged

    @property
    def is_due(self) -> bool:
        """Whether an UNSUBSCRIBE is to be written now."""
        if not self._begun or self._packet_id or not self._subscriptions or self.emptied:
            return False
        return self.granted is None or (self.granted and self._unacknowledged.is_empty)

    @property
    def is_complete(self) -> bool:
        """Whether the session has nothing that would be lost with it."""
        return self.emptied and self._unacknowledged.is_empty

    def begin(self) -> None:
        """From now on UNSUBSCRIBE is due, once and then as often as it takes."""
        self._begun = True

    def asked(self, packet_id: int) -> None:
        """An UNSUBSCRIBE of all subscriptions is written with this packet id, before anything else is received."""
        self._packet_id = packet_id
        self._received = self._unacknowledged.received if self._unacknowledged.is_empty else None

    def take(self, packet_id: int, reason_codes: Sequence[int]) -> bool:
        """Take an UNSUBACK; False: it answers nothing that was asked."""
        if not self._packet_id or packet_id != self._packet_id or len(reason_codes) != len(self._subscriptions):
            return False
        self._packet_id = 0
        # 0x11 means that there was no such subscription: that is what we want, and what all but the first answers say.
        if self.granted is None:
            self.granted = all(code < FAILURE for code in reason_codes)
        if self.granted and self._received == self._unacknowledged.received:
            self.emptied = True
        return True
