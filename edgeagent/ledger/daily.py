"""The daily roll-up: what happened to triggers, for each UTC day of a year, by rule and by source.

It is in the ledger's file and committed with the changes that it counts, so a crash loses of it what it loses of the
ledger, and no commit is made for it alone but one an hour, if something is to be written. In a day the first
`MAX_RULES` rules and `MAX_SOURCES` sources have rows of their own; what others did is in the row `OTHER`. Beyond
`MAX_ROWS` rows the sources of the oldest days are put together.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from edgeagent.common.elapsed import is_set
from edgeagent.ledger.companions import Writes
from edgeagent.ledger.tally import Tally, step_of
from edgeagent.wire.lifecycle import Life

MAX_DAYS: Final = 366
MAX_RULES: Final = 100
MAX_SOURCES: Final = 1000
MAX_ROWS: Final = 50_000  # about 8 MB
OTHER: Final = "other"  # no source or rule of this name is told apart from it
DAY_MS: Final = 86_400_000

ALL, RULE, SOURCE = "all", "rule", "source"
_MARK: Final = "mark"  # with day 0: the account's counters as of the last commit
_MOST: Final = {RULE: MAX_RULES, SOURCE: MAX_SOURCES}
# While the disk fails, changes are summed up for so many rules and sources, and then for all others together.
_MAX_UNWRITTEN: Final = 4000

_GET: Final = "SELECT tally FROM daily WHERE day = ? AND kind = ? AND name = ?"
_PUT: Final = "INSERT OR REPLACE INTO daily (day, kind, name, tally) VALUES (?,?,?,?)"
_COUNT: Final = "SELECT count(*) FROM daily WHERE day = ? AND kind = ?"

_encode = msgspec.json.encode
_tally = msgspec.json.Decoder(Tally)
_mark = msgspec.json.Decoder(dict[str, int])


class Counters(msgspec.Struct, frozen=True):
    """The account's counters, which only rise, at the start of the agent and now."""

    at_start: Mapping[str, int]
    now: Mapping[str, int]


class DailyRow(msgspec.Struct, frozen=True):
    """A row. `day`: days since 1970-01-01 UTC. `kind`: `ALL`, `RULE` or `SOURCE`."""

    day: int
    kind: str
    name: str
    tally: Tally


class DailyRollup:
    """Owns what is not written of the roll-up; a `LedgerCompanion` that observes the ledger.

    Promises that what was counted once is not counted again when a commit is repeated. A change costs the hot path no
    more than an append; it is counted when it is committed.
    """

    def __init__(
        self,
        *,
        now_ms: Callable[[], int],
        counters: Callable[[], Counters],
        link_times: Callable[[], tuple[float, float]],
    ) -> None:
        """Begin with nothing to write.

        Args:
            now_ms: the wall clock, which says to which day a change belongs.
            counters: the account's counters.
            link_times: how long the agent was without and with its uplink since the last call, in seconds.
        """
        self._now_ms = now_ms
        self._counters = counters
        self._link_times = link_times
        self._changes: list[tuple[Life | None, Life]] = []
        self._sums: dict[tuple[str, str], Tally] = {}
        self._taken: dict[tuple[str, str], Tally] = {}

    def changed(self, before: Life | None, now: Life) -> None:
        """Note a change of a trigger; the ledger calls this."""
        self._changes.append((before, now))

    def begin(self) -> Writes:
        """See `LedgerCompanion`."""
        self._sum_up()
        self._taken, self._sums = self._sums, {}
        taken, counters, now_ms = self._taken, self._counters(), self._now_ms()
        return lambda database: _write(database, taken, counters, now_ms)

    def ended(self, *, kept: bool) -> None:
        """See `LedgerCompanion`."""
        if not kept:
            for key, tally in self._taken.items():
                self._sum(key).add(tally)
        self._taken = {}

    def _sum_up(self) -> None:
        changes, self._changes = self._changes, []
        alike = Counter([(now.report.rule, now.report.source, step_of(before, now)) for before, now in changes])
        for (rule, source, step), times in alike.items():
            for key in ((ALL, ""), (RULE, rule), (SOURCE, source)):
                self._sum(key).note(step, times)
        offline_s, online_s = self._link_times()
        if offline_s or online_s:
            self._sum((ALL, "")).add(Tally(offline_s=offline_s, online_s=online_s))

    def _sum(self, key: tuple[str, str]) -> Tally:
        if key not in self._sums and len(self._sums) >= _MAX_UNWRITTEN:
            key = (key[0], OTHER if key[0] != ALL else "")
        return self._sums.setdefault(key, Tally())


def rows_between(database: sqlite3.Connection, first: int, last: int, kind: str) -> Iterator[DailyRow]:
    """The rows of a kind from one day to another, both included, oldest first.

    They are read one by one: a year of many sources has more of them than a small machine has room for.
    """
    found = database.execute(
        "SELECT day, name, tally FROM daily WHERE day BETWEEN ? AND ? AND kind = ? ORDER BY day, name",
        (max(first, 1), last, kind),
    )
    for day, name, tally in found:
        yield DailyRow(day, kind, name, _tally.decode(tally))


def _write(
    database: sqlite3.Connection, sums: Mapping[tuple[str, str], Tally], counters: Counters, now_ms: int
) -> None:
    day = _day(database, now_ms)
    whole = Tally(account=risen(database, counters))
    if (ALL, "") in sums:
        whole.add(sums[ALL, ""])
    is_new = database.execute(_GET, (day, ALL, "")).fetchone() is None
    _add(database, day, ALL, "", whole)
    for (kind, name), tally in sums.items():
        if kind != ALL:
            _add(database, day, kind, _fitting(database, day, kind, name), tally)
    if _mark_in(database) != counters.now:
        database.execute(_PUT, (0, _MARK, "", _encode(counters.now)))
    if is_new:
        _make_room(database)


def _day(database: sqlite3.Connection, now_ms: int) -> int:
    """The day to which changes are added: the newest known one while the clock cannot be right."""
    if is_set(now_ms):
        return now_ms // DAY_MS
    (newest,) = database.execute("SELECT max(day) FROM daily").fetchone()
    return newest or 1


def risen(database: sqlite3.Connection, counters: Counters) -> dict[str, int]:
    """By how much the counters rose since they were last written; what was before the roll-up began is not counted.

    After a crash a counter may be lower than it was written: what was not on the disk is counted again as it happens.
    """
    mark = _mark_in(database)
    mark = counters.at_start if mark is None else mark
    return {name: count - mark.get(name, 0) for name, count in counters.now.items() if count > mark.get(name, 0)}


def _mark_in(database: sqlite3.Connection) -> Mapping[str, int] | None:
    """The counters as they were last written."""
    found = database.execute(_GET, (0, _MARK, "")).fetchone()
    return _mark.decode(found[0]) if found is not None else None


def _add(database: sqlite3.Connection, day: int, kind: str, name: str, tally: Tally) -> None:
    found = database.execute(_GET, (day, kind, name)).fetchone()
    total = _tally.decode(found[0]) if found is not None else Tally()
    total.add(tally)
    database.execute(_PUT, (day, kind, name, _encode(total)))


def _fitting(database: sqlite3.Connection, day: int, kind: str, name: str) -> str:
    """The name of the row for this rule or source: its own, while there is room for one more in the day."""
    if database.execute(_GET, (day, kind, name)).fetchone() is not None:
        return name
    (count,) = database.execute(_COUNT, (day, kind)).fetchone()
    return name if count < _MOST[kind] else OTHER


def _make_room(database: sqlite3.Connection) -> None:
    """Forget the days beyond a year, and put the sources of the oldest days together if there are too many rows.

    Days are counted, not compared with the clock: one that was wrong for a moment forgets one day, and not all.
    """
    days = [day for (day,) in database.execute("SELECT DISTINCT day FROM daily WHERE day > 0 ORDER BY day DESC")]
    database.executemany("DELETE FROM daily WHERE day = ?", [(day,) for day in days[MAX_DAYS:]])
    (excess,) = database.execute("SELECT count(*) - ? FROM daily", (MAX_ROWS,)).fetchone()
    for day in reversed(days[1:MAX_DAYS]):
        if excess <= 0:
            return
        excess -= _put_together(database, day)


def _put_together(database: sqlite3.Connection, day: int) -> int:
    """Make one row of a day's sources; returns how many rows that saved."""
    rows: Sequence[tuple[bytes]] = database.execute(
        "SELECT tally FROM daily WHERE day = ? AND kind = ?", (day, SOURCE)
    ).fetchall()
    total = Tally()
    for (tally,) in rows:
        total.add(_tally.decode(tally))
    database.execute("DELETE FROM daily WHERE day = ? AND kind = ?", (day, SOURCE))
    if rows:
        database.execute(_PUT, (day, SOURCE, OTHER, _encode(total)))
    return len(rows) - bool(rows)
