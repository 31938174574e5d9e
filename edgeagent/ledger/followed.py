"""The triggers that a person's text names, as the ledger follows them, with what devices were told of them.

A search by event has no index, which would cost a write for each trigger: it reads the ledger in parts, so that commits
continue between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, Protocol

import msgspec

from edgeagent.ledger.schema import COLUMNS, CORRELATION_CHARS, Relayed, from_row
from edgeagent.wire.lifecycle import Life

# How many rows a part of a search by event reads: a few milliseconds.
_PART_ROWS: Final = 4000
_AFTER_DIGITS: Final = "g"  # sorts after each hexadecimal digit


class By(Enum):
    """What a text may be."""

    CORRELATION = "the correlation id"
    BEGINNING = "the beginning of a correlation id"
    EVENT = "the event's id"
    WORKFLOW = "the workflow's name"
    SOURCE = "the source"


class Followed(msgspec.Struct, frozen=True):
    """A trigger that the ledger follows.

    `version`: which of its reports this is. `untold`: the ways by which devices are not told of it yet
    (`schema.LOCAL`, `LISTENER`). `relayed_ms`: when they were told of any last; 0 if they never were.
    """

    life: Life
    version: int
    untold: int
    relayed_ms: int


class Seek(msgspec.Struct, frozen=True):
    """A search. `after`: for a search by event, the row from which its next part goes on."""

    by: By
    text: str
    limit: int
    after: int = 0


class Rows(Protocol):
    """A database of triggers."""

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Iterable[tuple[Any, ...]]:
        """Run one statement."""


_SELECT: Final = f"SELECT {COLUMNS}, unrelayed, relayed_ms FROM trigger WHERE "  # noqa: S608  constants
_NEWEST: Final = " ORDER BY accepted_ms DESC LIMIT ?"
_CONDITIONS: Final = {
    By.CORRELATION: "correlation_id = ?",
    By.BEGINNING: "correlation_id >= ? AND correlation_id < ?",
    By.WORKFLOW: f"(correlation_id = ? AND workflow_id = ?) OR (workflow_id = ? AND workflow_id <> '' "
    f"AND substr(workflow_id, -{CORRELATION_CHARS}) <> correlation_id)",
    By.SOURCE: "source = ?",
}


def sought(rows: Rows, seek: Seek) -> tuple[list[Followed], Seek | None]:
    """The next part of a search, and what is left of it; None when it is done."""
    if seek.by is not By.EVENT:
        sql = _SELECT + _CONDITIONS[seek.by] + _NEWEST
        return [_followed(row) for row in rows.execute(sql, (*_values(seek), seek.limit))], None
    part = list(
        rows.execute(
            "SELECT rowid, event_id FROM trigger WHERE rowid > ? ORDER BY rowid LIMIT ?", (seek.after, _PART_ROWS)
        )
    )
    found = [
        _followed(row)
        for rowid, event_id in part
        if event_id == seek.text
        for row in rows.execute(_SELECT + "rowid = ?", (rowid,))
    ]
    return found, msgspec.structs.replace(seek, after=part[-1][0]) if len(part) == _PART_ROWS else None


def with_uncommitted(
    found: Iterable[Followed],
    uncommitted: Mapping[str, tuple[Life, int]],
    told: Iterable[Relayed],
    seek: Seek,
    ways: int,
) -> list[Followed]:
    """What was found on disk, with what is not written yet: changes, and that devices were told of a version.

    `ways`: those by which devices are told.
    """
    by_id = {each.life.report.correlation_id: each for each in found}
    for name, (life, version) in uncommitted.items():
        if _is_meant(life, seek):
            by_id[name] = Followed(life, version, ways, by_id[name].relayed_ms if name in by_id else 0)
    for at_ms, way, name, version in told:
        known = by_id.get(name)
        if known is not None and known.version == version and known.untold & way:
            by_id[name] = msgspec.structs.replace(known, untold=known.untold & ~way, relayed_ms=at_ms)
    return sorted(by_id.values(), key=_accepted_ms, reverse=True)[: seek.limit]


def _values(seek: Seek) -> tuple[str, ...]:
    text = seek.text
    if seek.by is By.BEGINNING:
        return text, text + _AFTER_DIGITS
    return (text[-CORRELATION_CHARS:], text, text) if seek.by is By.WORKFLOW else (text,)


def _is_meant(life: Life, seek: Seek) -> bool:
    report, text = life.report, seek.text
    match seek.by:
        case By.CORRELATION:
            return report.correlation_id == text
        case By.BEGINNING:
            return report.correlation_id.startswith(text)
        case By.EVENT:
            return report.event_id == text
        case By.WORKFLOW:
            return report.workflow_id == text
        case By.SOURCE:
            return report.source == text


def _followed(row: tuple[Any, ...]) -> Followed:
    *columns, untold, relayed_ms = row
    return Followed(*from_row(tuple(columns)), untold, relayed_ms)


def _accepted_ms(followed: Followed) -> int:
    return followed.life.accepted_ms
