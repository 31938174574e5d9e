"""For how long a link was up and down: pure. Times are seconds of one monotonic clock."""

from __future__ import annotations


class LinkTime:
    """Owns the time that was not taken yet, with and without the link."""

    def __init__(self, now: float) -> None:
        """The link is down."""
        self._is_up = False
        self._since = now
        self._down_s = self._up_s = 0.0

    def turned(self, now: float, *, up: bool) -> None:
        """Note that the link is up or down from now on."""
        if self._is_up:
            self._up_s += now - self._since
        else:
            self._down_s += now - self._since
        self._is_up, self._since = up, now

    def taken(self, now: float) -> tuple[float, float]:
        """The seconds without and with the link since the last call."""
        self.turned(now, up=self._is_up)
        times, self._down_s, self._up_s = (self._down_s, self._up_s), 0.0, 0.0
        return times
