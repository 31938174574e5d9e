"""`edgeagent emit`: sends events to the running agent, and follows their triggers."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgeagent.cli.blocked import cause
from edgeagent.cli.client import AgentClient, AgentRefused, batches
from edgeagent.cli.find_agent import agent_client, client_config
from edgeagent.cli.options import add_config, add_json, say, say_json
from edgeagent.cli.progress import ProgressLine
from edgeagent.cli.send_file import send_file
from edgeagent.common.foreign import escaped, shown
from edgeagent.common.names import Glob
from edgeagent.common.plural import counted
from edgeagent.common.spans import span
from edgeagent.common.units import Duration
from edgeagent.config.tables import AgentConfig
from edgeagent.errors import CommandFailed
from edgeagent.wire.lifecycle import FINAL
from edgeagent.wire.messages import State

_DEFAULT_WAIT = "60s"
# The longest time that the agent holds a waiting request.
_MAX_WAIT_S = 30.0
# How often a person is told how far the upload of a file is.
_PROGRESS_S = 1.0
_UNTAKEN = frozenset({State.BUFFERED, State.PUBLISHED})
_FINAL = FINAL - {State.MERGED}  # a merged trigger is followed into the one that it was merged into


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "emit",
        help="send an event to the running agent",
        description="Send an event to the running agent and print the correlation ids of its triggers.",
    )
    parser.add_argument("source", help="the source of the event, such as boiler-1")
    parser.add_argument("data", nargs="?", default="-", help="the data as JSON; -: one JSON value a line from stdin")
    parser.add_argument("--file", metavar="PATH", help="the data is this file, of any size (needs [artifacts])")
    parser.add_argument("--type", metavar="TYPE", help="with --file: the content type; else by the file's name")
    parser.add_argument(
        "--wait",
        nargs="?",
        const=_DEFAULT_WAIT,
        metavar="TIME",
        help=f"follow the triggers to their end, at most this long ({_DEFAULT_WAIT}); exit 0 only if all succeeded",
    )
    add_config(parser)
    add_json(parser)
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Send, print, and follow if requested.

    Raises:
        AgentUnreachable: no agent is running.
        CommandFailed: the agent refuses the event, the data is not JSON, or triggers have not ended in time; says why.
    """
    try:
        given = args.wait
        wait_s = None if given is None else Duration.parse(float(given) if given.isdecimal() else given)
    except ValueError as exc:
        args.parser.error(f"--wait: {exc}")
    _check_printable("source", args.source)
    _check_printable("--type", args.type or "")
    config = client_config(args)
    triggers: list[dict[str, str]] = []
    limits = [*_limits(config, args.source)]
    with agent_client(config) as client:
        for event in _sent(client, args, config):
            _print_accepted(event, limits, as_json=args.json)
            triggers += event["triggers"]
        if wait_s is None:
            return 0
        begun = time.monotonic()
        ends = _FINAL | {State.PUBLISHED} if config.uplink.settle == "broker" else _FINAL
        with ProgressLine("waiting") as progress:
            shown = progress if args.file is not None and progress.is_seen else None
            states = [_follow(client, trigger, begun + wait_s, ends, shown, as_json=args.json) for trigger in triggers]
        late = {
            trigger["correlation_id"]: state
            for trigger, state in zip(triggers, states, strict=True)
            if state not in FINAL
        }
        if late:
            waited_s, why = time.monotonic() - begun, _why(client, late, config)
            of_all = f"{len(late)} of {counted(len(states), 'trigger')}"
            raise CommandFailed(f"{of_all} had not ended after {waited_s:.1f} s: {why}")
    return 0 if all(state == State.SUCCEEDED for state in states) else 1


def _check_printable(name: str, text: str) -> None:
    if not text.isprintable():  # nor is what the shell gave that is no UTF-8, and cannot be sent
        raise CommandFailed(f"{name}: must be printable, is {shown(text)}")


def _sent(client: AgentClient, args: argparse.Namespace, config: AgentConfig) -> Iterator[dict[str, Any]]:
    """Send what was given; each event as the agent accepted it."""
    if args.file is not None:
        if args.data != "-":
            args.parser.error("--file: the data is the file, and cannot be given too")
        yield send_file(client, args.source, Path(args.file), args.type, config.inline_bytes)
        return
    if args.type is not None:
        args.parser.error("--type: only with --file")
    for data in _data(args.data, config.outbox.max_event_bytes):
        yield from client.send_events(args.source, data)


def _why(client: AgentClient, late: Mapping[str, str], config: AgentConfig) -> str:
    """Why triggers did not end in time, as far as the agent knows. `late`: the state of each, by its correlation id."""
    states = late.values()
    if not _UNTAKEN.intersection(states):
        return "the engine took them, and their workflows have not ended yet"
    if State.BUFFERED not in states and config.uplink.settle == "broker":
        return 'the broker has them, and with uplink.settle = "broker" nothing reports what the engine does'
    what, remedy = cause(client.request("GET", "/v1/stats")[1])
    if what:
        return f"{what}; {remedy}"
    waiting = next((name for name, state in late.items() if state == State.BUFFERED), None)
    if waiting is not None and (hang := _hang(client, waiting)) is not None:
        return f"{hang['text']}; {hang['advice']}"
    return "the engine has not answered yet; see `edgeagent doctor`"


def _hang(client: AgentClient, correlation_id: str) -> dict[str, str] | None:
    """What a trigger waits for (contract section 9); None if that is not known."""
    try:
        courses = client.request("GET", f"/v1/where/{quote(correlation_id, safe='')}")[1]["triggers"]
    except AgentRefused:  # it has ended, or the agent cannot read its disk now
        return None
    found: dict[str, str] | None = courses[0].get("hangs") if courses else None
    return found


def _data(argument: str, max_bytes: int) -> Iterator[list[bytes]]:
    if argument == "-":
        if sys.stdin.isatty():
            sys.stderr.write("reading events from the terminal, one JSON value a line; end with Ctrl-D\n")
        return batches(sys.stdin.fileno(), max_bytes)
    return iter([[argument.encode("utf-8", "surrogateescape")]])


def _limits(config: AgentConfig, source: str) -> Iterator[str]:
    """What may keep rules from firing for an event of this source that they match."""
    for rule in config.rule:
        if rule.enabled and Glob(rule.source).matches(source):
            if rule.throttle is not None:
                yield f"throttled: rule {rule.name} allows one of each source in {span(rule.throttle)}"
            if rule.rearm is not None:
                yield f"disarmed: rule {rule.name} fires again only after its rearm filters held"


def _print_accepted(event: dict[str, Any], limits: Sequence[str], *, as_json: bool) -> None:
    """`limits`: what may be the reason if it starts nothing."""
    if as_json:
        say_json(event)
        return
    note = " (came before)" if event["duplicate"] else ""
    if not event["triggers"]:
        why = f"; if one matches, it is {', or '.join(limits)}" if limits and not event["duplicate"] else ""
        say(f"event {event['id']}: starts nothing, no rule wants it now{note}{why}")
    for trigger in event["triggers"]:
        say(f"{trigger['correlation_id']}  {trigger['rule']}  event {event['id']}{note}")


def _follow(
    client: AgentClient,
    trigger: dict[str, str],
    deadline: float,
    ends: Collection[str],
    progress: ProgressLine | None,
    *,
    as_json: bool,
) -> str:
    """Wait for the end of a trigger, or of the one it was merged into, and print it; returns its state.

    `progress`: shows what it waits for until it is published.
    """
    most_s = _MAX_WAIT_S if progress is None else _PROGRESS_S
    correlation_id = followed = trigger["correlation_id"]
    while True:  # at least once, or nothing would be known of the last of many
        left_s = max(deadline - time.monotonic(), 0.0)
        report = client.trigger(followed, min(left_s, most_s))
        if report is None or report["state"] in ends or not left_s:
            break
        if progress is not None and report["state"] in _UNTAKEN and (hang := _hang(client, followed)) is not None:
            progress.says(escaped(hang["text"]))
        followed = report.get("into", followed)
    if progress is not None:
        progress.clear()
    if report is None:
        report = {"correlation_id": followed, "state": "unknown", "error": "the agent does not follow it"}
    if as_json:
        say_json(report)
    else:
        detail = report.get("error") or report.get("message") or ""
        workflow = report.get("workflowId") or ""
        merged = f"merged into {followed}" if followed != correlation_id else ""
        say("  ".join(text for text in (correlation_id, merged, report["state"], workflow, detail) if text))
    return str(report["state"])
