"""When to send a heartbeat, and when the broker counts as gone. Pure."""

from __future__ import annotations

# Both sides send something in each half of the agreed interval.
_SENT_IN = 0.5
# A broker that was silent for so many intervals is gone.
_PATIENCE = 1.5


class Heartbeats:
    """The times at which something was last sent and received, in monotonic seconds.

    Args:
        interval_s: as agreed.
        now_s: the time.
    """

    def __init__(self, interval_s: float, now_s: float) -> None:
        self._interval_s = interval_s
        self._sent_s = self._received_s = self._looked_s = now_s

    def sent(self, now_s: float) -> None:
        """Note that something was written."""
        self._sent_s = now_s

    def received(self, now_s: float) -> None:
        """Note that something came."""
        self._received_s = now_s

    def silent_s(self, now_s: float) -> float:
        """How long nothing has come."""
        return now_s - self._received_s

    def is_gone(self, now_s: float) -> bool:
        """Whether the broker counts as gone.

        If this process stood still, what the broker sent may not have been read yet: it gets half an interval.
        """
        if now_s - self._looked_s > self._interval_s:
            self._received_s = max(self._received_s, now_s - (_PATIENCE - _SENT_IN) * self._interval_s)
        self._looked_s = now_s
        return now_s - self._received_s >= _PATIENCE * self._interval_s

    def is_due(self, now_s: float) -> bool:
        """Whether one must be sent now."""
        return now_s - self._sent_s >= _SENT_IN * self._interval_s

    def next_s(self) -> float:
        """When to look again."""
        half_s = _SENT_IN * self._interval_s
        return min(self._sent_s + half_s, self._received_s + _PATIENCE * self._interval_s, self._looked_s + half_s)
