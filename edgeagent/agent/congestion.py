"""How many publications may be out at once: a few after a connect, more while the broker stays quick. Without I/O.

A gateway that comes back with a day's backlog must neither fall on a broker that a thousand others come back to, nor
fill a slow radio with messages that then stand before each answer. So the number is found as TCP finds its own:

* It begins at a few, and doubles with each round while the acknowledgements stay quick (slow start).
* A round that took long halves it. From then on it grows by one a round.
* It never grows above `limit`, and only when it was what held publications back.

A round is the time from a publish to the acknowledgement of all that was out then. "Quick" is measured against the
quickest round of the connection; a link that turned slow for good moves that mark, and is not held down for ever.
"""

from __future__ import annotations

# Enough that a link of 100 ms carries 40 messages a second from the first round on.
FIRST_ALLOWED = 4
# A round is slow beyond twice the quickest and this: a busy processor or one lost packet on the way is no sign yet.
_TOLERANCE_S = 0.1
# By which part of the difference the mark follows a slow round.
_DRIFT = 1 / 8


class Congestion:
    """How many publications may be unacknowledged at once. Times are seconds of one monotonic clock.

    Owns what is learnt of the present connection, and forgets it with the next. Promises to allow at least one, and
    never more than the limit. Must never be the only bound: the broker's receive maximum is the link's (`Link.room`).

    Args:
        limit: the most that is ever allowed.

    Attributes:
        allowed: how many may be out now.
    """

    __slots__ = ("_best_s", "_held_back", "_left", "_limit", "_since", "_slow_start", "allowed")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.begin()

    def begin(self, first: int = FIRST_ALLOWED) -> None:
        """A new connection, with so many out at first: whatever was learnt on the last one does not count."""
        self.allowed = min(first, self._limit)
        self._slow_start = True
        self._best_s: float | None = None
        self._left = 0  # acknowledgements until the round is over; 0: none is being measured
        self._since = 0.0
        self._held_back = False

    def sent(self, out: int, now: float) -> None:
        """Something was published just now, and `out` publications wait for their acknowledgement."""
        if self._left:
            self._held_back |= out >= self.allowed
        elif out:
            self._left = out
            self._since = now
            self._held_back = out >= self.allowed

    def acknowledged(self, count: int, now: float) -> None:
        """The broker acknowledged so many."""
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
