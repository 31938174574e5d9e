"""`edgeagent doctor`: does everything around an agent or a dispatcher work, and what is to be done if not?"""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from edgeagent.cli import bundle
from edgeagent.cli.access import OutboxAccess, with_outbox
from edgeagent.cli.blocked import canary_finding, triggers_finding, webhook_findings
from edgeagent.cli.find_agent import agent_client, client_config
from edgeagent.cli.options import add_json, say, say_json
from edgeagent.common.finding import Finding, Level, fail, ok, warn
from edgeagent.common.plural import counted
from edgeagent.common.times import rfc3339
from edgeagent.config import (
    AGENT_CONFIG,
    DISPATCHER_CONFIG,
    agent_config_path,
    dispatcher_config_path,
    load_agent,
    load_dispatcher,
)
from edgeagent.errors import EdgeAgentError
from edgeagent.host import ending
from edgeagent.ports.operator import LOG_LINES, OVERVIEW, NoArguments
from edgeagent.ports.verification import DeadHealth, Overview

_MIB = 1 << 20
_NEARLY = 0.9  # the part of a limit from which on a warning is given


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "doctor",
        help="check everything around an agent or a dispatcher: disk, brokers, engine, files, clock",
        description="Check everything around an agent or a dispatcher, running or not, and say what to do about it. "
        "Nothing is changed. Exit code 1 when something fails.",
    )
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        help=f"configuration (default: $EDGEAGENT_CONFIG, else {AGENT_CONFIG}; with --dispatch {DISPATCHER_CONFIG})",
    )
    parser.add_argument("--dispatch", action="store_true", help="check a dispatcher")
    parser.add_argument(
        "--bundle",
        metavar="FILE",
        type=Path,
        help="also write a .tar.gz for a fault report: configuration without secrets, findings, statistics, the last "
        "log lines, versions",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the findings as they are made; returns 1 if a check failed.

    Raises:
        ConfigError: the configuration cannot be used.
        CommandFailed: the bundle's file exists.
    """
    logging.getLogger("edgeagent").addHandler(logging.NullHandler())  # log lines would repeat the findings
    if args.bundle is not None:
        bundle.refuse_existing(args.bundle)
    found: list[Finding] = []
    code = ending.run(lambda _: _print(_findings(args), found, as_json=args.json))
    if args.bundle is not None:
        _write_bundle(args, found)
    return code


def _write_bundle(args: argparse.Namespace, found: list[Finding]) -> None:
    config: msgspec.Struct
    documents, log_lines = {}, None
    if args.dispatch:
        config = load_dispatcher(dispatcher_config_path(args.config))
    else:
        config = load_agent(agent_config_path(args.config))
        documents = {"stats": _stats(args), "outbox": _outbox(args)}
        with suppress(EdgeAgentError), agent_client(client_config(args)) as client:
            log_lines = client.perform(LOG_LINES, NoArguments()).lines
    bundle.write(args.bundle, config, found, documents, log_lines)
    if not args.json:
        say(f"{args.bundle}: read it before you pass it on; secrets are masked, names of devices and hosts are not")


async def _findings(args: argparse.Namespace) -> AsyncIterator[Finding]:
    # Each import loads a whole program, which is not needed to report a configuration error.
    if args.dispatch:
        path = dispatcher_config_path(args.config)
        dispatcher = load_dispatcher(path)
        from edgeagent.dispatcher.checkup import examine as examine_dispatcher  # noqa: PLC0415

        findings = examine_dispatcher(dispatcher)
    else:
        path = agent_config_path(args.config)
        agent = load_agent(path)
        from edgeagent.agent.checkup import examine as examine_agent  # noqa: PLC0415

        findings = examine_agent(agent)
    yield ok("configuration", str(path))
    async for finding in findings:
        yield finding
    if args.dispatch:
        return
    stats = await asyncio.to_thread(_stats, args)
    if (outbox := await asyncio.to_thread(_outbox, args)) is not None:
        yield outbox_finding(outbox)
        yield dead_finding(outbox.dead)
        if stats is None and outbox.account.pending:
            yield stopped_finding(outbox.account.pending)
    if stats is not None:
        yield triggers_finding(stats)
        if (canary := canary_finding(stats)) is not None:
            yield canary
        for finding in webhook_findings(stats):
            yield finding


def _outbox(args: argparse.Namespace) -> Overview | None:
    """The outbox's overview, from the running agent or from its disk; None if there is none that can be read."""
    found: list[Overview] = []

    def ask(_: argparse.Namespace, outbox: OutboxAccess) -> int:
        found.append(outbox.perform(OVERVIEW, NoArguments()))
        return 0

    # What opening a stopped outbox finds is reported as a finding, not as a log line.
    logging.getLogger("edgeagent").addHandler(logging.NullHandler())
    with suppress(EdgeAgentError):  # the state directory's finding says why
        with_outbox(args, ask, read_only=True)
    return found[0] if found else None


def _stats(args: argparse.Namespace) -> Any:
    """The statistics of the running agent; None if none is running."""
    with suppress(EdgeAgentError), agent_client(client_config(args)) as client:
        return client.request("GET", "/v1/stats")[1]
    return None


def outbox_finding(outbox: Overview) -> Finding:
    """Whether anything acknowledged is lost."""
    if faults := list(outbox.faults()):
        remedy = "see `edgeagent outbox verify`; have devices send again what they can, and check the disk"
        return fail("outbox", "; ".join(faults), remedy)
    damaged, pending = outbox.account.damaged, outbox.account.pending
    if damaged:
        lost = counted(damaged, "trigger was", "triggers were")
        found = f"{lost} lost with damaged records since this outbox was made; {counted(pending, 'waits', 'wait')}"
        return warn("outbox", found, "look for outbox_damaged in the log, and check the disk")
    return ok("outbox", f"{counted(pending, 'trigger waits', 'triggers wait')}; nothing is known to be lost")


def stopped_finding(pending: int) -> Finding:
    """That no agent runs, although triggers wait to be sent."""
    found = f"does not run, and {counted(pending, 'trigger waits', 'triggers wait')} in its outbox"
    return warn("agent", found, "start it: systemctl start edgeagent")


def dead_finding(dead: DeadHealth) -> Finding:
    """How many dead letters await a decision, and whether there is room for more."""
    found = (
        f"{dead.count:,} of at most {dead.max_count:,}, {dead.used_bytes / _MIB:.1f} of {dead.max_bytes / _MIB:.1f} MiB"
    )
    found += f", the oldest of {rfc3339(dead.oldest_ms)}" if dead.oldest_ms else ""
    remedy = "inspect them (`edgeagent dead ls`), then discard or replay some"
    if dead.full:
        return fail("dead letters", f"{found}: there is no room for another one: {dead.full}", remedy)
    if dead.count and (dead.count >= _NEARLY * dead.max_count or dead.used_bytes >= _NEARLY * dead.max_bytes):
        return warn("dead letters", f"{found}: there is hardly any room left", remedy)
    if dead.count:
        return warn("dead letters", found, remedy)
    return ok("dead letters", found)


async def _print(findings: AsyncIterator[Finding], printed: list[Finding], *, as_json: bool) -> int:
    has_failed = False
    async for finding in findings:
        printed.append(finding)
        has_failed = has_failed or finding.level is Level.FAIL
        if as_json:
            say_json(finding)
        else:
            say(_line(finding))
    return int(has_failed)


def _line(finding: Finding) -> str:
    text = f"{finding.level:<5} {finding.subject}: {finding.found}"
    if finding.remedy:
        text += f"; {finding.remedy}"
    return text
