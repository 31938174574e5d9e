"""How many publications may be unacknowledged: few after a connect, more while the broker stays quick. Without I/O.

A gateway that comes back with a day's backlog must not flood a broker to which a thousand others come back at the same
time, nor fill a slow radio link with messages that delay every answer. So the number is found as TCP finds its own:

* It starts at a few, and doubles with each round while the acknowledgements stay quick (slow start).
* A slow round halves it. From then on it grows by one per round.
* It never exceeds `limit`, and grows only when it was what held publications back.

A round is the time from a publish until everything that was unacknowledged then is acknowledged. "Quick" is measured
against the quickest round of the connection. If a link becomes slow for good, that mark follows it, so the limit
recovers.
"""

from __future__ import annotations

# Enough for a link of 100 ms to carry 40 messages a second from the first round on.
FIRST_ALLOWED = 4
# A round is slow if it takes more than twice the quickest plus this: a busy processor or one lost packet is no sign.
_TOLERANCE_S = 0.1
# The fraction of the difference by which the mark follows a slow round.
_DRIFT = 1 / 8


class Congestion:
    """The limit of unacknowledged publications. Times are seconds of one monotonic clock.

    Owns what was learned about the present connection, and forgets it with the next one. Promises to allow at least one
    publication, and never more than the limit. Must never be the only bound: the link enforces the broker's receive
    maximum (`Link.room`).

    Args:
        limit: the most that is ever allowed.

    Attributes:
        allowed: how many may be unacknowledged now.
    """

    __slots__ = ("_best_s", "_held_back", "_left", "_limit", "_since", "_slow_start", "allowed")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.begin()

    def begin(self, first: int = FIRST_ALLOWED) -> None:
        """Start a new connection that allows `first` at first; what was learned about the last one is forgotten."""
        self.allowed = min(first, self._limit)
        self._slow_start = True
        self._best_s: float | None = None
        self._left = 0  # acknowledgements until the round is over; 0: no round is being measured
        self._since = 0.0
        self._held_back = False

    def sent(self, out: int, now: float) -> None:
        """Note that something was published just now, and that `out` publications are unacknowledged."""
        if self._left:
            self._held_back |= out >= self.allowed
        elif out:
            self._left = out
            self._since = now
            self._held_back = out >= self.allowed

    def acknowledged(self, count: int, now: float) -> None:
        """Note that the broker acknowledged `count` publications."""
        if not self._left:
            return
        self._left -= count
        if self._left <= 0:
            self._left = 0
            self._judge(now - self._since)

    def _judge(self, round_s: float) -> None:
        best_s = round_s if self._best_s is None else min(self._best_s, round_s)
        if round_s > 2 * best_s + _TOLERANCE_S:
            self._slow_start = False
            self.allowed = max(1, self.allowed // 2)
            best_s += (round_s - best_s) * _DRIFT
        elif self._held_back:
            grown = 2 * self.allowed if self._slow_start else self.allowed + 1
            self.allowed = min(grown, self._limit)
        self._best_s = best_s
