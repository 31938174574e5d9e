"""`edgeagent check --replay`: what would the rules of a configuration have done with recorded events?"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeagent.cli.access import OutboxAccess, with_outbox
from edgeagent.cli.options import say, say_json
from edgeagent.cli.progress import ProgressLine
from edgeagent.cli.recordings import Recorded, Recording, Unusable, recent
from edgeagent.cli.replay_table import document, lines
from edgeagent.common.times import rfc3339
from edgeagent.config import load_agent
from edgeagent.config.tables import AgentConfig
from edgeagent.errors import CommandFailed
from edgeagent.rehearsal.rehearsal import Rehearsal

RECENT = "recent"
# A line has an event, the largest of which may be escaped or encoded, and its attributes.
_LINE_FACTOR = 4
_LINE_SPARE_BYTES = 64 << 10
# The agent's id where none is configured: only correlation ids depend on it, and none is shown.
_ANY_AGENT = "agent"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a rehearsal."""
    group = parser.add_argument_group("rehearsal", "What would the rules have done with recorded events?")
    group.add_argument(
        "--replay",
        metavar="FILE",
        help="run the rules over the events in a file: JSON events, one a line; readings (CSV); or an export of "
        f"`edgeagent outbox export`. `{RECENT}`: over what is still in the agent's own outbox",
    )
    group.add_argument("--against", metavar="OLD", help="show only where the rules of this configuration differ")
    group.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="COLUMN=NAME,...",
        help="the meaning of columns of readings: source, time, id, type, subject, or a member of the data; a column "
        "is named as in the first line, or by its number",
    )
    group.add_argument("--source", default="", help="the source of events that name none (readings: the file's name)")


def misuse(args: argparse.Namespace) -> str:
    """What is wrong with the combination of options; empty if nothing is."""
    if args.replay is None:
        given = [name for name in ("against", "map", "source") if getattr(args, name)]
        return f"--{given[0]} belongs to --replay" if given else ""
    if args.dispatch:
        return "--replay runs the rules of an agent: remove --dispatch"
    if args.replay == RECENT and (args.map or args.source):
        return "--map and --source apply to a file only"
    for text in _mappings(args.map):
        column, _, meaning = text.rpartition("=")
        if not (column and meaning):
            return f"--map {text}: write COLUMN=NAME"
    return ""


def run(args: argparse.Namespace, path: Path, config: AgentConfig) -> None:
    """Run the rules of a configuration over the events named by `args`, and print what they did.

    Raises:
        ConfigError: the configuration to compare with cannot be used.
        CommandFailed: the events cannot be read, or there are none.
        OutboxLocked: the agent runs, but its socket cannot be reached.
    """
    against = load_agent(Path(args.against)) if args.against else None
    rehearsal = Rehearsal(
        config.rule,
        against.rule if against is not None else None,
        agent=config.agent.id or _ANY_AGENT,
        now=rfc3339(time.time_ns() // 1_000_000),
        max_event_bytes=config.outbox.max_event_bytes,
        dedupe_events=config.outbox.dedupe_events,
    )
    if args.replay == RECENT:
        with_outbox(args, lambda _, outbox: _run_recent(rehearsal, outbox), read_only=True)
    else:
        _run_file(rehearsal, args, config)
    rehearsal.end()
    if not rehearsal.events:
        fault = "".join(f": {where}: {reason}" for where, reason in rehearsal.faults[:1])
        raise CommandFailed(f"{args.replay}: there is no event in it{fault}")
    if args.json:
        result = {"file": str(path), "ok": True, "replay": document(args.replay, rehearsal)}
        say_json(result)
        return
    for line in lines(args.replay, rehearsal):
        say(line)


def _run_recent(rehearsal: Rehearsal, outbox: OutboxAccess) -> int:
    for item in recent(outbox):
        _take(rehearsal, item)
    return 0


def _run_file(rehearsal: Rehearsal, args: argparse.Namespace, config: AgentConfig) -> None:
    mapping = {column: meaning for column, _, meaning in (text.rpartition("=") for text in _mappings(args.map))}
    limit = _LINE_FACTOR * config.outbox.max_event_bytes + _LINE_SPARE_BYTES
    with (
        Recording(Path(args.replay), mapping=mapping, source=args.source, max_line_bytes=limit) as recording,
        ProgressLine("rehearsing") as progress,
    ):
        for item in recording.items():
            _take(rehearsal, item)
            progress.at(recording.read_bytes, recording.size_bytes)


def _take(rehearsal: Rehearsal, item: Recorded | Unusable) -> None:
    if isinstance(item, Recorded):
        rehearsal.take(*item)
    else:
        rehearsal.reject(*item)


def _mappings(texts: Sequence[str]) -> Iterator[str]:
    """The mappings in `--map a=b,c=d --map e=f`, one by one."""
    for text in texts:
        yield from text.split(",")
