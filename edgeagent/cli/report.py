"""`edgeagent report`: what happened in the last days, from a running agent or a stopped one's directory."""

from __future__ import annotations

import argparse

import msgspec

from edgeagent.cli.client import AgentClient
from edgeagent.cli.find_agent import client_config, socket_path
from edgeagent.cli.options import add_config, add_json, say, say_json
from edgeagent.cli.report_table import csv_lines, table
from edgeagent.errors import AgentUnreachable, CommandFailed
from edgeagent.ports.operator import REPORT
from edgeagent.ports.report import DaysReport, ReportQuery


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "report",
        help="show what happened in the last days: events, triggers, how they ended, how long it took",
        description="Show what happened in the last days, which are those of UTC: events, triggers, how they ended, "
        "how long it took, and for how long there was no uplink. For a running agent and a stopped one alike.",
    )
    add_config(parser)
    parser.add_argument("--since", metavar="DAYS|DATE", default="7d", help="7d: seven days with today; or 2026-11-01")
    parser.add_argument("--by", choices=("day", "rule", "source"), default="day", help="a line for each (default: day)")
    forms = parser.add_mutually_exclusive_group()
    add_json(forms)
    forms.add_argument("--csv", action="store_true", help="print CSV, for a spreadsheet")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report.

    Raises:
        CommandFailed: `--since` is no number of days and no date, or there is no outbox.
        OutboxLocked: an agent runs, but its socket cannot be reached.
    """
    try:
        asked = msgspec.convert({"since": args.since, "by": args.by}, ReportQuery)
    except msgspec.ValidationError as exc:
        raise CommandFailed(
            "--since: must be a number of days, such as 7d, or the first day, such as 2026-11-01"
        ) from exc
    report = _report(args, asked)
    if args.json:
        say_json(report)
    elif args.csv:
        for line in csv_lines(report):
            say(line)
    else:
        for line in table(report):
            say(line)
    return 0


def _report(args: argparse.Namespace, asked: ReportQuery) -> DaysReport:
    config = client_config(args)
    with AgentClient.unix(socket_path(config)) as client:
        try:
            return client.perform(REPORT, asked)
        except AgentUnreachable:
            pass
    # Imported only here: it loads the whole agent.
    from edgeagent.agent.stopped_report import report_stopped  # noqa: PLC0415

    return report_stopped(config, asked)
