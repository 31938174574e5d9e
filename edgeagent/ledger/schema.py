"""The ledger's tables and how a row becomes a `Life`."""

from __future__ import annotations

from typing import Any, Final

from edgeagent.core.lifecycle import Life
from edgeagent.core.messages import Report, State

VERSION: Final = 1

# STRICT and WITHOUT ROWID: a row is found by its correlation id in one look, and nothing of another type gets in.
SCHEMA: Final = """
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
    accepted_ms INTEGER NOT NULL,
    run TEXT NOT NULL,
    ends_published INTEGER NOT NULL,
    version INTEGER NOT NULL,
    unrelayed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX trigger_by_time ON trigger (accepted_ms);
CREATE INDEX trigger_by_source ON trigger (source, accepted_ms);
CREATE INDEX trigger_by_workflow ON trigger (workflow_id) WHERE workflow_id <> '';
CREATE INDEX trigger_unrelayed ON trigger (accepted_ms) WHERE unrelayed;
"""

COLUMNS: Final = (
    "correlation_id, event_id, source, rule, state, at, workflow_id, namespace, progress, message, error, "
    "accepted_ms, run, ends_published, version"
)
UPSERT: Final = f"INSERT OR REPLACE INTO trigger ({COLUMNS}, unrelayed) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608  constants


def to_row(life: Life, version: int, *, relay: bool) -> tuple[Any, ...]:
    """The values of `UPSERT`."""
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
        report.message,
        report.error,
        life.accepted_ms,
        life.run,
        int(life.ends_published),
        version,
        int(relay),
    )


def from_row(row: tuple[Any, ...]) -> tuple[Life, int]:
    """The life and its version from a row of `COLUMNS`."""
    correlation_id, event_id, source, rule, state, at, workflow_id, namespace, progress, message, error, *rest = row
    accepted_ms, run, ends_published, version = rest
    report = Report(
        correlation_id, event_id, source, rule, State(state), at, workflow_id, namespace, progress, message, error
    )
    return Life(report, accepted_ms, run, bool(ends_published)), version
