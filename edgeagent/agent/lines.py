"""The lines of triggers that wait for the rate of their rule: one for each rule and priority. Without I/O.

The log `limited` is read once, in order, and each trigger joins its line. Of a line only the first are kept in memory;
the rest is passed over, and read again when those have gone. So a rule's backlog takes the same memory however long it
is, and no line waits for another one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from typing import Final

import msgspec

from edgeagent.outbox.records import Leased

# Of a line, as many triggers are in memory, or as many bytes of events; it is read on when so few are left.
MAX_READY: Final = 64
_MAX_BYTES: Final = 256 << 10
_FEW: Final = 16


class LineKey(msgspec.Struct, frozen=True):
    """A rule and a priority."""

    rule: str
    high: bool


class RateWait(msgspec.Struct, frozen=True):
    """What a trigger that waits for the rate of its rule waits for: about how many go before it, and for how long.

    `triggers`, `time_s`: the rate.
    """

    ahead: int
    wait_s: float
    triggers: int
    time_s: float


class RateLine:
    """The triggers of one rule and priority. `ready`: the first ones, in order.

    `passed`: how many more there are, on disk only, from `seq` to `until`, both included.
    """

    __slots__ = ("passed", "ready", "seq", "until")

    def __init__(self) -> None:
        self.ready: deque[Leased] = deque()
        self.passed = 0
        self.seq = 0
        self.until = 0

    def __len__(self) -> int:
        return len(self.ready) + self.passed

    @property
    def is_short(self) -> bool:
        """Whether it should be read on."""
        return self.passed > 0 and len(self.ready) <= _FEW

    def ahead(self, seq: int) -> int:
        """About how many go before the trigger with this seq in the log."""
        if not self.passed or seq < self.seq:
            return sum([one.seq < seq for one in self.ready])
        share = (seq - self.seq) / max(self.until - self.seq, 1)
        return len(self.ready) + round(min(share, 1.0) * (self.passed - 1))


class LineToRead(msgspec.Struct, frozen=True):
    """A part of a line to read: from `seq` to `until`, at most `most` triggers."""

    key: LineKey
    seq: int
    until: int
    most: int


class RateLines:
    """Owns the lines. Promises that the triggers of each come in the order of the log. Must never hold all of one."""

    def __init__(self) -> None:
        self._lines: dict[LineKey, RateLine] = {}

    def __len__(self) -> int:
        """How many triggers wait in all lines."""
        return sum(map(len, self._lines.values()))

    def __bool__(self) -> bool:
        return bool(self._lines)

    def rules(self) -> list[str]:
        """The rules that have a line."""
        return [*dict.fromkeys(key.rule for key in self._lines)]

    def waiting(self, key: LineKey) -> int:
        """How many wait in this line."""
        return len(self._lines.get(key, ()))

    def get(self, key: LineKey) -> RateLine | None:
        """A line, None if nothing waits in it."""
        return self._lines.get(key)

    def join(self, leased: Leased) -> None:
        """Add a trigger that was read, behind all others of its line."""
        line = self._lines.setdefault(key_of(leased), RateLine())
        if not line.passed and _has_room(line.ready):
            line.ready.append(leased)
            return
        if not line.passed:
            line.seq = leased.seq
        line.passed += 1
        line.until = leased.seq

    def take(self, key: LineKey, index: int) -> Leased:
        """Remove the trigger at this place of a line, in memory, because it goes."""
        line = self._lines[key]
        leased = line.ready[index]
        del line.ready[index]
        self._tidy(key)
        return leased

    def short(self) -> LineToRead | None:
        """What to read next; None if every line has enough in memory, or is there as a whole."""
        for key, line in self._lines.items():
            if line.is_short:
                return LineToRead(key, line.seq, line.until, MAX_READY - len(line.ready))
        return None

    def read(self, part: LineToRead, found: Sequence[Leased], next_seq: int) -> None:
        """Add what was read of a line, up to `next_seq` (excluded). It may have been lengthened meanwhile."""
        line = self._lines.get(part.key)
        if line is None:
            return
        line.ready.extend(found)
        line.passed = max(line.passed - len(found), 0) if next_seq <= line.until else 0
        line.seq = next_seq
        if next_seq <= line.until:
            line.passed = max(line.passed, 1)  # something is left to be looked at
        self._tidy(part.key)

    def forget(self) -> None:
        """Begin anew, with nothing: the log is read again."""
        self._lines.clear()

    def _tidy(self, key: LineKey) -> None:
        if not self._lines[key]:
            del self._lines[key]


class Resuming:
    """Triggers of the log `limited` that had a permit before the start: they are in no line, and go without waiting.

    Owns those that did not go yet; there are at most as many as the rates allow.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, Leased] = {}
        self._seqs: set[int] = set()

    def __bool__(self) -> bool:
        """Whether any did not go yet."""
        return bool(self._waiting)

    def __contains__(self, seq: int) -> bool:
        """Whether this one did not go yet."""
        return seq in self._waiting

    @property
    def seqs(self) -> Collection[int]:
        """The seqs of all of them, also of those that went: no line has them."""
        return frozenset(self._seqs)

    def has(self, rule: str) -> bool:
        """Whether any of a rule did not go yet."""
        return any(leased.rule == rule for leased in self._waiting.values())

    def join(self, leased: Leased) -> None:
        """Add a trigger that was read."""
        self._waiting[leased.seq] = leased
        self._seqs.add(leased.seq)

    def in_order(self) -> list[Leased]:
        """Those that did not go yet: of high priority before the others, each in the order of the log."""
        return sorted(self._waiting.values(), key=lambda leased: (not leased.is_high, leased.seq))

    def take(self, leased: Leased) -> None:
        """Note that one goes."""
        del self._waiting[leased.seq]

    def forget(self) -> None:
        """Begin anew, with nothing: the log is read again."""
        self._waiting.clear()
        self._seqs.clear()


def keys_of(rule: str) -> Iterator[LineKey]:
    """The lines of a rule, the one of high priority first."""
    yield LineKey(rule, high=True)
    yield LineKey(rule, high=False)


def key_of(leased: Leased) -> LineKey:
    """The line of a trigger in the log `limited`."""
    return LineKey(leased.rule, leased.is_high)


def _has_room(ready: deque[Leased]) -> bool:
    return len(ready) < MAX_READY and sum([len(one.record.data) for one in ready]) < _MAX_BYTES
