"""The ledger's tables, and the conversion between a row and a `Life`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import UNSET

from edgeagent.storage.database import Layout
from edgeagent.wire.lifecycle import FINAL, Life
from edgeagent.wire.messages import Report, State, cut

_VERSION: Final = 9

# Rows are in the order of the events, so that rows that change together are on the same page, and pages are small: each
# commit writes every page that it touches, and flash wears out (`python -m benchmarks wear`).
_PAGE_BYTES: Final = 1024

# A workflow whose name ends with its trigger's correlation id, as ours do, is found by that id.
CORRELATION_CHARS: Final = 32

TRIGGERS: Final = """
CREATE TABLE trigger (
    correlation_id TEXT PRIMARY KEY,
    event_id TEXT NOT NULL,
    source TEXT NOT NULL,
    rule TEXT NOT NULL,
    state TEXT NOT NULL,
    at TEXT NOT NULL,
    workflow_id TEXT NOT NULL,
    namespace TEXT NOT NULL,
    progress TEXT NOT NULL,
    message TEXT NOT NULL,
    error TEXT NOT NULL,
    merged_into TEXT NOT NULL,
    accepted_ms INTEGER NOT NULL,
    run TEXT NOT NULL,
    ends_published INTEGER NOT NULL,
    version INTEGER NOT NULL,
    unrelayed INTEGER NOT NULL,
    asks INTEGER NOT NULL DEFAULT 0,
    steps TEXT NOT NULL DEFAULT '',
    relayed_ms INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX trigger_by_time ON trigger (accepted_ms);
CREATE INDEX trigger_by_source ON trigger (source, accepted_ms);
CREATE INDEX trigger_by_workflow ON trigger (workflow_id)
    WHERE workflow_id <> '' AND substr(workflow_id, -32) <> correlation_id;
CREATE INDEX trigger_unrelayed ON trigger (accepted_ms) WHERE unrelayed;
"""

# What is to be posted to webhooks. The newest of a trigger's reports of one state counts.
_DELIVERIES: Final = """
CREATE TABLE delivery (
    seq INTEGER PRIMARY KEY,
    receiver TEXT NOT NULL,
    key TEXT NOT NULL,
    state TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    payload BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX delivery_of ON delivery (receiver, key, state);
CREATE INDEX delivery_by_receiver ON delivery (receiver, seq);
"""
# The daily roll-up (`ledger.daily`).
_DAILY: Final = """
CREATE TABLE daily (
    day INTEGER NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    tally BLOB NOT NULL,
    PRIMARY KEY (day, kind, name)
) STRICT, WITHOUT ROWID;
"""
# When a delivery came to be, by the machine's own clock too.
_DELIVERY_AGES: Final = """
ALTER TABLE delivery ADD COLUMN uptime_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN boot BLOB NOT NULL DEFAULT x'';
"""
# A report's outputs as JSON; "" without any.
_OUTPUTS: Final = "ALTER TABLE trigger ADD COLUMN outputs TEXT NOT NULL DEFAULT '';"
# A report's trace; "" without one.
_TRACE: Final = "ALTER TABLE trigger ADD COLUMN traceparent TEXT NOT NULL DEFAULT '';"
SCHEMA: Final = TRIGGERS + _DELIVERIES + _DAILY + _DELIVERY_AGES + _OUTPUTS + _TRACE

# The upgrades from earlier versions. Before version 3 the engine's texts were not bounded.
_TO_3: Final = """
ALTER TABLE trigger ADD COLUMN asks INTEGER NOT NULL DEFAULT 0;
UPDATE trigger
    SET progress = substr(progress, 1, 64), message = substr(message, 1, 1024), error = substr(error, 1, 1024)
    WHERE length(progress) > 64 OR length(message) > 1024 OR length(error) > 1024;
"""
_TO_4: Final = """
ALTER TABLE trigger ADD COLUMN steps TEXT NOT NULL DEFAULT '';
ALTER TABLE trigger ADD COLUMN relayed_ms INTEGER NOT NULL DEFAULT 0;
"""
# What makes of each version the next one.
_STEPS: Final = {
    1: "ALTER TABLE trigger ADD COLUMN merged_into TEXT NOT NULL DEFAULT '';",
    2: _TO_3,
    3: _TO_4,
    4: _DELIVERIES,
    5: _DAILY,
    6: _DELIVERY_AGES,
    7: _OUTPUTS,
    8: _TRACE,
}
_UPGRADES: Final = {
    version: "".join(_STEPS[earlier] for earlier in range(version, _VERSION)) for version in range(1, _VERSION)
}

LAYOUT: Final = Layout(
    _VERSION,
    SCHEMA,
    _UPGRADES,
    _PAGE_BYTES,
    name="the ledger",
    event="ledger",
    lost="states of earlier triggers are gone, what was still to be posted to webhooks, and the daily sums",
    in_memory="the states of triggers are in memory until the agent stops, and those from before are not seen",
)

COLUMNS: Final = (
    "correlation_id, event_id, source, rule, state, at, workflow_id, namespace, progress, message, error, merged_into, "
    "accepted_ms, run, ends_published, steps, outputs, traceparent, version"
)
UPSERT: Final = (
    f"INSERT INTO trigger ({COLUMNS}, unrelayed, relayed_ms) "  # noqa: S608  constants
    "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) "
    "ON CONFLICT (correlation_id) DO UPDATE SET state = excluded.state, at = excluded.at, "
    "workflow_id = excluded.workflow_id, namespace = excluded.namespace, progress = excluded.progress, "
    "message = excluded.message, error = excluded.error, merged_into = excluded.merged_into, run = excluded.run, "
    "ends_published = excluded.ends_published, steps = excluded.steps, outputs = excluded.outputs, "
    "version = excluded.version, unrelayed = excluded.unrelayed, asks = 0, "
    "relayed_ms = CASE excluded.relayed_ms WHEN 0 THEN relayed_ms ELSE excluded.relayed_ms END"
)
# No further change is expected of these triggers: they are deleted before the others.
PRUNED_FIRST: Final = f"(state IN ({', '.join(repr(str(state)) for state in sorted(FINAL))}) OR ends_published)"
UNFINISHED_PAGE: Final = (
    "SELECT accepted_ms, rowid, correlation_id, state, ends_published, asks FROM trigger "
    "WHERE (accepted_ms, rowid) > (?, ?) ORDER BY accepted_ms, rowid LIMIT ?"
)
# The list of triggers, and the part of it after a place (`ports.device.Place`); the index needs its first member alone.
NEWEST_FIRST: Final = "ORDER BY accepted_ms DESC, event_id DESC, correlation_id DESC"
AFTER: Final = "accepted_ms <= ? AND (accepted_ms, event_id, correlation_id) < (?, ?, ?)"
# By which ways devices are told: bits of the column `unrelayed`.
LOCAL: Final = 1
LISTENER: Final = 2
Relayed = tuple[int, int, str, int]  # when (Unix milliseconds), way, correlation id, version
UNRELAYED: Final = (
    f"SELECT rowid, accepted_ms, {COLUMNS} FROM trigger WHERE unrelayed AND unrelayed & ? "  # noqa: S608  constants
    "AND (accepted_ms, rowid) > (?, ?) ORDER BY accepted_ms, rowid LIMIT ?"
)
NEWEST_EVENT: Final = (
    "SELECT accepted_ms, event_id FROM trigger WHERE source = ? ORDER BY accepted_ms DESC, rowid DESC LIMIT 1"
)
SET_RELAYED: Final = (
    "UPDATE trigger SET relayed_ms = ?1, unrelayed = unrelayed & ~?2 "
    "WHERE correlation_id = ?3 AND version = ?4 AND unrelayed & ?2"
)
BY_WORKFLOW: Final = (
    f"SELECT {COLUMNS} FROM trigger WHERE correlation_id = ? AND workflow_id = ? UNION ALL "  # noqa: S608  constants
    f"SELECT {COLUMNS} FROM trigger WHERE workflow_id = ? AND workflow_id <> '' "
    "AND substr(workflow_id, -32) <> correlation_id"
)

_OUTPUTS_OF: Final = msgspec.json.Decoder(dict[str, str])


def to_rows(
    lives: Iterable[tuple[Life, int]], relayed: Iterable[Relayed], relay: int
) -> tuple[list[tuple[Any, ...]], list[Relayed]]:
    """The values for `UPSERT`, and those for `SET_RELAYED`: of reports that are in no row of this commit.

    Most reports are told before their commit, so that their rows are written once.
    """
    told: dict[tuple[str, int], Relayed] = {}
    for at_ms, way, correlation_id, version in relayed:
        key = correlation_id, version
        told[key] = (at_ms, way | told[key][1] if key in told else way, correlation_id, version)
    rows: list[tuple[Any, ...]] = []
    for life, version in lives:
        mark = told.pop((life.report.correlation_id, version), None) if told else None
        at_ms, ways = (mark[0], mark[1] & relay) if mark is not None else (0, 0)
        rows.append(_row(life, version, relay & ~ways, at_ms if ways else 0))
    return rows, [*told.values()]


def _row(life: Life, version: int, unrelayed: int, relayed_ms: int) -> tuple[Any, ...]:
    report = life.report
    return (
        report.correlation_id,
        report.event_id,
        report.source,
        report.rule,
        str(report.state),
        report.at,
        report.workflow_id,
        report.namespace,
        report.progress,
        cut(report.message),
        cut(report.error),
        report.into or "",
        life.accepted_ms,
        life.run,
        int(life.ends_published),
        life.steps,
        msgspec.json.encode(report.outputs).decode() if report.outputs else "",
        report.traceparent or "",
        version,
        unrelayed,
        relayed_ms,
    )


def from_row(row: tuple[Any, ...]) -> tuple[Life, int]:
    """The life and its version, from a row of `COLUMNS`."""
    correlation_id, event_id, source, rule, state, at, workflow_id, namespace, progress, message, error, *rest = row
    into, accepted_ms, run, ends_published, steps, outputs, traceparent, version = rest
    report = Report(
        correlation_id,
        event_id,
        source,
        rule,
        State(state),
        at,
        workflow_id,
        namespace,
        progress,
        message,
        error,
        into or UNSET,
        _OUTPUTS_OF.decode(outputs) if outputs else UNSET,
        traceparent or UNSET,
    )
    return Life(report, accepted_ms, run, bool(ends_published), steps), version
