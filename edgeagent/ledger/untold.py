"""Which reports devices are not told of yet, the oldest ones in memory: pure.

A report is told soon after it came to be. So nearly all of them are told from here, and the database is read only when
more wait than there is room for: at a start, and while devices cannot be told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import Report

# How many reports of a way are in memory at most: about 400 KiB.
MAX_KNOWN: Final = 512
# How many rows of the database are read at a time.
PAGE_ROWS: Final = 256
# Of how many sources it is remembered when their newest event was accepted.
MAX_SOURCES: Final = 2048

Place = tuple[int, int]  # in the database: when the event was accepted, and the row
Event = tuple[int, str]  # when it was accepted, and its id
_START: Final = (0, 0)


class Unrelayed(msgspec.Struct, frozen=True, gc=False):
    """A report not yet relayed to devices. `newest`: no later event of its source is known."""

    report: Report
    version: int
    newest: bool


class UntoldPage(msgspec.Struct, frozen=True):
    """Rows of the database that follow a place. `end`: the place of the last one; None: there are no others."""

    lives: Sequence[tuple[Life, int]]
    end: Place | None


class Untold:
    """The oldest untold reports of one way to devices.

    Owns them and the place in the database up to which there are no others. Promises that a report is either here, or
    after that place, or told. Must never hold more than `MAX_KNOWN`.

    Attributes:
        place: reports of events after it are read from the database; None: all are here.
    """

    def __init__(self) -> None:
        self.place: Place | None = _START
        self._waiting: dict[str, tuple[Life, int]] = {}

    def changed(self, life: Life, version: int) -> None:
        """Note that there is a new report."""
        if self.place is None or life.accepted_ms <= self.place[0]:  # else it is read later
            self._add(life, version)

    def told(self, correlation_id: str, version: int) -> None:
        """Note that devices were told of this version of a report."""
        waiting = self._waiting.get(correlation_id)
        if waiting is not None and waiting[1] == version:
            del self._waiting[correlation_id]

    def lacks(self, count: int) -> bool:
        """Whether the database must be read to know the oldest `count`."""
        return self.place is not None and len(self._waiting) < min(count, MAX_KNOWN)

    def read(
        self, page: UntoldPage, uncommitted: Mapping[str, tuple[Life, int]], told: Collection[tuple[str, int]]
    ) -> None:
        """Take in what was read after `place`.

        Args:
            page: the rows.
            uncommitted: changes that may not have been on disk when it was read.
            told: correlation ids and versions of which devices were told, which may not have been on disk either.
        """
        self.place = page.end
        lives = {life.report.correlation_id: (life, version) for life, version in page.lives}
        lives.update(uncommitted)
        for life, version in sorted(lives.values(), key=_accepted_ms):  # so that the oldest find room
            correlation_id = life.report.correlation_id
            if (correlation_id, version) not in told and correlation_id not in self._waiting:
                self.changed(life, version)

    def oldest(self, count: int) -> Sequence[tuple[Life, int]]:
        """The oldest reports, at most `count`, oldest event first."""
        return sorted(self._waiting.values(), key=_accepted_ms)[:count]

    def _add(self, life: Life, version: int) -> None:
        correlation_id = life.report.correlation_id
        if len(self._waiting) >= MAX_KNOWN and correlation_id not in self._waiting:
            self._make_room(life.accepted_ms)
        if len(self._waiting) < MAX_KNOWN or correlation_id in self._waiting:
            self._waiting[correlation_id] = (life, version)

    def _make_room(self, accepted_ms: int) -> None:
        """Leave what is newer than an event of this time to be read again."""
        self.place = (accepted_ms, 0)
        self._waiting = {name: each for name, each in self._waiting.items() if each[0].accepted_ms <= accepted_ms}


def _accepted_ms(waiting: tuple[Life, int]) -> int:
    return waiting[0].accepted_ms


class NewestEvents:
    """Which is the newest event of each source, for the sources that were asked for last.

    Of the events of one moment the one whose trigger came last is the newest.
    """

    def __init__(self) -> None:
        self._newest: dict[str, Event] = {}

    def changed(self, life: Life, *, is_new: bool) -> None:
        """Note a change of a trigger. `is_new`: it is the first one."""
        report = life.report
        newest = self._newest.get(report.source)
        if newest is not None and (life.accepted_ms > newest[0] or (is_new and life.accepted_ms == newest[0])):
            self._newest[report.source] = (life.accepted_ms, report.event_id)

    def unknown(self, lives: Iterable[tuple[Life, int]]) -> set[str]:
        """The sources of these of which nothing is known here."""
        return {life.report.source for life, _ in lives} - self._newest.keys()

    def read(self, newest: Mapping[str, Event], uncommitted: Iterable[tuple[Life, int]]) -> None:
        """Take in what the database says about sources, and changes that may not have been in it."""
        if len(self._newest) + len(newest) > MAX_SOURCES:
            self._newest.clear()
        self._newest |= newest
        for life, version in uncommitted:
            self.changed(life, is_new=version == 1)

    def told(self, lives: Iterable[tuple[Life, int]]) -> Sequence[Unrelayed]:
        """These as reports; their sources must be known."""
        return [Unrelayed(life.report, version, self._is_newest(life)) for life, version in lives]

    def _is_newest(self, life: Life) -> bool:
        accepted_ms, event_id = self._newest[life.report.source]
        if life.accepted_ms != accepted_ms:
            return life.accepted_ms > accepted_ms
        return life.report.event_id == event_id
