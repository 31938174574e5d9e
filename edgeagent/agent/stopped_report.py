"""The report about the days of an agent that does not run, from a copy of its ledger."""

from __future__ import annotations

from edgeagent.agent.clock import Clock
from edgeagent.agent.reporter import read_report
from edgeagent.agent.state import state_directory
from edgeagent.agent.stopped import looked_at
from edgeagent.config.tables import AgentConfig
from edgeagent.ledger.copied import copied_ledger
from edgeagent.ports.report import DaysReport, ReportQuery


def report_stopped(config: AgentConfig, asked: ReportQuery) -> DaysReport:
    """The report; changes nothing in the state directory.

    Raises:
        OutboxLocked: an agent runs.
        CommandFailed: there is no outbox.
        StorageFailed: the disk refuses.
        MessageError: the query names no day.
    """
    with looked_at(config) as stopped, copied_ledger(state_directory(config)) as ledger:
        return ledger.use(lambda: read_report(ledger, stopped.agent, asked, Clock().now_ms(), None))
