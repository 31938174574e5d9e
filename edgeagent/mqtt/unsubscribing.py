"""Gives up the subscriptions of a connection, and finds out that none of their messages are left to take: pure."""

from __future__ import annotations

from collections.abc import Sequence

from edgeagent.mqtt.reason_codes import FAILURE
from edgeagent.mqtt.unacknowledged import Unacknowledged
from edgeagent.ports.link import Subscription


class Unsubscribing:
    """The UNSUBSCRIBEs of one connection, and what their answers prove.

    A broker may have more for us than it sends before we acknowledge. So UNSUBSCRIBE is sent again whenever everything
    that was taken is acknowledged: the broker works in order, so if it answers without having sent a message since, it
    had none. Such an answer has a packet id, so it cannot be mistaken for another; PINGRESP has none.

    It must never call a session empty while one of its messages may be lost: at the broker, or taken and
    unacknowledged.

    Args:
        subscriptions: what to give up; if there are none, no UNSUBSCRIBE is ever due.
        unacknowledged: the connection's messages that wait for their acknowledgement.

    Attributes:
        granted: whether the broker gave up all subscriptions, by its first answer; None: no answer yet.
        emptied: whether the broker had nothing left to send.
    """

    def __init__(self, subscriptions: tuple[Subscription, ...], unacknowledged: Unacknowledged) -> None:
        self.granted: bool | None = None
        self.emptied = False
        self._subscriptions = subscriptions
        self._unacknowledged = unacknowledged
        self._begun = False
        self._packet_id = 0  # of the UNSUBSCRIBE that waits for its answer; 0: none
        self._received: int | None = None  # how many messages had come when we asked; None: not all were acknowledged

    @property
    def is_due(self) -> bool:
        """Whether an UNSUBSCRIBE must be written now."""
        if not self._begun or self._packet_id or not self._subscriptions or self.emptied:
            return False
        return self.granted is None or (self.granted and self._unacknowledged.is_empty)

    @property
    def is_complete(self) -> bool:
        """Whether ending the session would lose nothing."""
        return self.emptied and self._unacknowledged.is_empty

    def begin(self) -> None:
        """Make UNSUBSCRIBE due, once and then as often as necessary."""
        self._begun = True

    def asked(self, packet_id: int) -> None:
        """Note that an UNSUBSCRIBE of all subscriptions was written, before anything else was received."""
        self._packet_id = packet_id
        self._received = self._unacknowledged.received if self._unacknowledged.is_empty else None

    def take(self, packet_id: int, reason_codes: Sequence[int]) -> bool:
        """Take an UNSUBACK; False: it does not answer the one that was sent."""
        if not self._packet_id or packet_id != self._packet_id or len(reason_codes) != len(self._subscriptions):
            return False
        self._packet_id = 0
        # 0x11 means that there was no such subscription, which is what we want, and what all answers but the first say.
        if self.granted is None:
            self.granted = all(code < FAILURE for code in reason_codes)
        if self.granted and self._received == self._unacknowledged.received:
            self.emptied = True
        return True
