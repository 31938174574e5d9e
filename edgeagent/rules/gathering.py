"""Gathering: a rule's `window` makes events into one trigger (contract section 11). A state machine without I/O.

A member is added when it is leased, in the order of acceptance. A window closes with its last member (`count`), when
`time` has passed since its first member was accepted, or before its data would exceed the size of one event. The window
of a member depends on when it was accepted, not on when it is leased: after a day without uplink the windows are the
same as they would have been with one.

Open windows are in memory only; each of their members is kept in the outbox until the closing is synced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import Generic, NamedTuple, TypeVar

from edgeagent.common.elapsed import Instant, elapsed
from edgeagent.rules.spec import Window

T = TypeVar("T")

# The limit of all open windows together; beyond it the one that opened first closes early.
MAX_HELD_BYTES = 2 << 20
_MEMBER_BYTES = 512  # the memory of a member beside its data
_BRACKETS_BYTES = 2  # of the array that the data becomes; commas between members are counted apart
_SPARE_DEADLINES = 64


class Closed(NamedTuple, Generic[T]):
    """A window that closed: its rule, and its members in order, at least one."""

    rule: str
    members: Sequence[T]


class _Open(Generic[T]):
    __slots__ = ("at", "deadline_ms", "members", "size")

    def __init__(self, at: Instant, deadline_ms: int) -> None:
        self.at = at  # when its first event was accepted
        self.deadline_ms = deadline_ms  # by the clock of the present boot; may be before it
        self.members: list[T] = []
        self.size = 0  # of the members' data, in bytes


class Gathering(Generic[T]):
    """The open windows of all rules; it owns them.

    Which events go together depends only on when they were accepted, so a restart makes the same windows again. It must
    never hold more than `max_held_bytes`, nor lose an event: each one that is added comes back in a `Closed`.
    """

    def __init__(self, max_data_bytes: int, *, max_held_bytes: int = MAX_HELD_BYTES) -> None:
        """`max_data_bytes`: the limit of one window's data, unless a single event is larger."""
        self._max_data_bytes = max_data_bytes
        self._max_held_bytes = max_held_bytes
        self._open: dict[tuple[str, str], _Open[T]] = {}  # by rule and source, in the order of opening
        self._deadlines: list[tuple[int, tuple[str, str]]] = []  # a heap; it may still have those of closed windows
        self._held_bytes = 0

    def __len__(self) -> int:
        """How many windows are open."""
        return len(self._open)

    @property
    def members(self) -> int:
        """How many items the open windows hold."""
        return sum([len(opened.members) for opened in self._open.values()])

    def add(
        self, rule: str, window: Window, source: str, item: T, size: int, at: Instant, now: Instant
    ) -> list[Closed[T]]:
        """Add an event of `size` bytes that was accepted at the instant `at`; returns the windows that close, in order.

        First come the windows whose time was over by then. `now`: the present instant.
        """
        key = _key(rule, window, source)
        time_ms = round((window.time or 0) * 1000)
        uptime_ms = _uptime_ms(at, now)
        closed = self.due(uptime_ms) if uptime_ms is not None else []
        opened = self._open.get(key)
        if opened is not None and not self._belongs(opened, size, at, time_ms):
            closed.append(self._close(key))
            opened = None
        if opened is None:
            opened = self._begin(key, at, uptime_ms + time_ms if uptime_ms is not None else 0)
        opened.members.append(item)
        opened.size += size
        self._held_bytes += size + _MEMBER_BYTES
        if len(opened.members) >= window.count:
            closed.append(self._close(key))
        while self._held_bytes > self._max_held_bytes:
            closed.append(self._close(next(iter(self._open))))
        return closed

    def first(self, rule: str, window: Window, source: str) -> T | None:
        """The first member of the open window for such events, None if there is none."""
        opened = self._open.get(_key(rule, window, source))
        return opened.members[0] if opened is not None else None

    def holding(self, rule: str, window: Window, source: str, is_meant: Callable[[T], bool]) -> tuple[int, int] | None:
        """When the open window that has this member is due, by the clock of the present boot, and how many it has."""
        opened = self._open.get(_key(rule, window, source))
        if opened is None or not any(map(is_meant, opened.members)):
            return None
        return opened.deadline_ms, len(opened.members)

    def due(self, uptime_ms: float) -> list[Closed[T]]:
        """Close and return the windows whose time is over at this moment of the present boot.

        Call it with the present time only if no accepted event waits to be leased; otherwise with the time at which the
        last leased event was accepted.
        """
        closed: list[Closed[T]] = []
        while (deadline_ms := self.next_deadline_ms()) is not None and deadline_ms <= uptime_ms:
            _, key = heappop(self._deadlines)
            closed.append(self._close(key))
        return closed

    def next_deadline_ms(self) -> int | None:
        """When `due` will return something, by the clock of the present boot; None: never."""
        while self._deadlines:
            deadline_ms, key = self._deadlines[0]
            opened = self._open.get(key)
            if opened is not None and opened.deadline_ms == deadline_ms:
                return deadline_ms
            heappop(self._deadlines)
        return None

    def _belongs(self, opened: _Open[T], size: int, at: Instant, time_ms: int) -> bool:
        since = elapsed(opened.at, at)
        commas = len(opened.members)
        return (
            since.certain
            and round(since.s * 1000) < time_ms
            and opened.size + size + commas + _BRACKETS_BYTES <= self._max_data_bytes
        )

    def _begin(self, key: tuple[str, str], at: Instant, deadline_ms: int) -> _Open[T]:
        opened = self._open[key] = _Open(at, deadline_ms)
        heappush(self._deadlines, (deadline_ms, key))
        if len(self._deadlines) > 2 * len(self._open) + _SPARE_DEADLINES:  # many windows were full early
            self._deadlines = [(each.deadline_ms, whose) for whose, each in self._open.items()]
            heapify(self._deadlines)
        return opened

    def _close(self, key: tuple[str, str]) -> Closed[T]:
        opened = self._open.pop(key)
        self._held_bytes -= opened.size + len(opened.members) * _MEMBER_BYTES
        return Closed(key[0], opened.members)


def _key(rule: str, window: Window, source: str) -> tuple[str, str]:
    return rule, source if window.by == "source" else ""


def _uptime_ms(at: Instant, now: Instant) -> int | None:
    """An instant by the clock of the present boot, below 0 if it was in another boot; None if that is unknown."""
    if at.boot == now.boot:
        return at.uptime_ms
    since = elapsed(at, now)
    return now.uptime_ms - round(since.s * 1000) if since.certain else None
