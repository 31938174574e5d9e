"""`edgeagent emit`: send events to the running agent, and follow what becomes of them."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from typing import Any

from edgeagent.cli.client import AgentClient, batches
from edgeagent.cli.options import add_config, add_json, agent_client, client_config, say, say_json
from edgeagent.common.units import Duration
from edgeagent.wire.lifecycle import FINAL
from edgeagent.wire.messages import State

_DEFAULT_WAIT = "60s"
# The agent holds a waiting request this long at most.
_MAX_WAIT_S = 30.0
_FINAL = FINAL - {State.MERGED}  # that one is followed into the trigger in which it ended


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "emit",
        help="send an event to the running agent",
        description="Send an event to the running agent and print the correlation ids of its triggers.",
    )
    parser.add_argument("source", help="what reports the event, such as boiler-1")
    parser.add_argument("data", nargs="?", default="-", help="the data as JSON; -: one JSON value a line from stdin")
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
    """Send, print, and follow if asked to.

    Raises:
        AgentUnreachable: no agent runs.
        CommandFailed: it refuses the event, or the data is no JSON.
    """
    try:
        given = args.wait
        wait_s = None if given is None else Duration.parse(float(given) if given.isdecimal() else given)
    except ValueError as exc:
        args.parser.error(f"--wait: {exc}")
    config = client_config(args)
    triggers: list[dict[str, str]] = []
    with agent_client(config) as client:
        for data in _data(args.data, config.outbox.max_event_bytes):
            for event in client.send_events(args.source, data):
                _tell_accepted(event, as_json=args.json)
                triggers += event["triggers"]
        if wait_s is None:
            return 0
        deadline = time.monotonic() + wait_s
        ends = [_follow(client, trigger, deadline, as_json=args.json) for trigger in triggers]
    return 0 if all(ends) else 1


def _data(argument: str, max_bytes: int) -> Iterator[list[bytes]]:
    if argument == "-":
        return batches(sys.stdin.fileno(), max_bytes)
    return iter([[argument.encode("utf-8", "surrogateescape")]])


def _tell_accepted(event: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json(event)
        return
    note = " (came before)" if event["duplicate"] else ""
    if not event["triggers"]:
        say(f"event {event['id']}: starts nothing, no rule wants it now{note}")
    for trigger in event["triggers"]:
        say(f"{trigger['correlation_id']}  {trigger['rule']}  event {event['id']}{note}")


def _follow(client: AgentClient, trigger: dict[str, str], deadline: float, *, as_json: bool) -> bool:
    """Wait for the end of a trigger, or of the one into which it was merged, and tell it; whether it succeeded."""
    correlation_id = followed = trigger["correlation_id"]
    report: dict[str, Any] | None = None
    while (left_s := deadline - time.monotonic()) > 0:
        report = client.trigger(followed, min(left_s, _MAX_WAIT_S))
        if report is None or report["state"] in _FINAL:
            break
        followed = report.get("into", followed)
    if report is None:
        report = {"correlation_id": followed, "state": "unknown", "error": "the agent does not follow it"}
    if as_json:
        say_json(report)
    else:
        detail = report.get("error") or report.get("message") or ""
        workflow = report.get("workflowId") or ""
        merged = f"merged into {followed}" if followed != correlation_id else ""
        say("  ".join(text for text in (correlation_id, merged, report["state"], workflow, detail) if text))
    return bool(report["state"] == "succeeded")
