"""`edgeagent workflow`: manage workflows through the running agent, also while its uplink is away."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from functools import partial

from edgeagent.cli.client import AgentClient
from edgeagent.cli.find_agent import agent_client, client_config
from edgeagent.cli.options import add_actions, say, say_json
from edgeagent.common.units import Duration
from edgeagent.errors import CommandFailed
from edgeagent.ports.manage import DEFAULT_TTL_S, ManagedRequest, ManageOrder, RequestQuery
from edgeagent.ports.operator import MANAGE, MANAGED, REQUESTS, NoArguments
from edgeagent.wire.operations import Operation

_LOOK_S = 0.2
_ACTIONS: tuple[tuple[Operation, str], ...] = (
    ("stop", "let a workflow end: no new steps, but exit handlers"),
    ("terminate", "end a workflow at once"),
    ("suspend", "let a workflow begin no new steps until it is resumed"),
    ("resume", "let a suspended workflow go on"),
    ("retry", "run the failed steps of a workflow again"),
    ("resubmit", "run a workflow again as a new one"),
    ("delete", "delete a workflow from the engine"),
    ("get", "ask the engine for a workflow's status"),
    ("list", "ask the engine for the statuses of this gateway's workflows"),
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "workflow",
        help="stop, suspend, retry, … the workflow of a trigger",
        description="Manage the workflows of this gateway's triggers through the running agent. A request is kept on "
        "disk and sent when the uplink is up; a dispatcher's [[allow]] operations must allow it.",
        epilog="With --wait, and for get and list always, exit code 0 only if the engine's side did what was asked.",
    )
    actions = [(name, text, partial(_manage, operation=name)) for name, text in _ACTIONS]
    made = add_actions(parser, run, [*actions, ("requests", "list the requests and what became of them", _requests)])
    for name, _ in _ACTIONS:
        _add_options(made[name], name)


def _add_options(parser: argparse.ArgumentParser, operation: Operation) -> None:
    if operation == "list":
        parser.add_argument("namespace", metavar="NAMESPACE", help="the engine's namespace")
        parser.add_argument("--limit", type=int, default=50, help="how many at most, 1 to 100 (default: 50)")
        parser.add_argument("--continue", dest="continue_", default="", help="`continue` of an earlier answer")
    else:
        parser.add_argument("id", metavar="ID", help="what `edgeagent where` knows, or with -n a workflow's name")
        parser.add_argument(
            "-n", "--namespace", default="", help="where a workflow is that none of this gateway's triggers started"
        )
    if operation == "stop":
        parser.add_argument("-m", "--message", default="", help="what the workflow's status then says")
    if operation == "get":
        parser.add_argument("--whole", action="store_true", help="with --json, the whole object too")
    parser.add_argument(
        "--ttl", metavar="TIME", help="for how long the request may wait for the uplink and the engine (default: 1h)"
    )
    wait = "60s" if operation in {"get", "list"} else None
    parser.add_argument(
        "--wait", nargs="?", const="60s", default=wait, metavar="TIME", help="wait for the answer (default: 60s)"
    )
    parser.set_defaults(parser=parser)


def run(args: argparse.Namespace) -> int:
    """Do what the action says.

    Raises:
        AgentUnreachable: no agent is running.
        AgentRefused: the agent knows no such trigger, or cannot take the request now.
        CommandFailed: the answer did not come in time.
    """
    code: int = args.action(args)
    return code


def _manage(args: argparse.Namespace, operation: Operation) -> int:
    ttl_s, wait_s = _seconds(args, "ttl"), _seconds(args, "wait")
    order = ManageOrder(
        operation,
        getattr(args, "id", ""),
        args.namespace,
        getattr(args, "message", ""),
        getattr(args, "whole", False),
        getattr(args, "limit", 50),
        getattr(args, "continue_", ""),
        DEFAULT_TTL_S if ttl_s is None else ttl_s,
    )
    with agent_client(client_config(args)) as client:
        made = client.perform(MANAGE, order)
        if wait_s is not None:
            made = _answered(client, made, wait_s)
    _show(made, as_json=args.json)
    if wait_s is None:
        return 0
    if made.state == "waiting":
        raise CommandFailed(f"no answer came within {wait_s:g} s: {made.why or 'it was not sent yet'}")
    return 0 if made.state == "done" else 1


def _requests(args: argparse.Namespace) -> int:
    with agent_client(client_config(args)) as client:
        found = client.perform(REQUESTS, NoArguments())
    for request in found.requests:
        _show(request, as_json=args.json)
    return 0


def _answered(client: AgentClient, made: ManagedRequest, wait_s: float) -> ManagedRequest:
    """The request when it has ended, or after at most so many seconds."""
    deadline = time.monotonic() + wait_s
    while made.state == "waiting" and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        made = client.perform(MANAGED, RequestQuery(made.request_id))
    return made


def _seconds(args: argparse.Namespace, name: str) -> float | None:
    text = getattr(args, name)
    try:
        return None if text is None else float(Duration.parse(float(text) if text.isdecimal() else text))
    except ValueError as exc:
        args.parser.error(f"--{name}: {exc}")
    return None


def _show(request: ManagedRequest, *, as_json: bool) -> None:
    if as_json:
        say_json(request)
        return
    for line in lines_of(request):
        say(line)


def lines_of(request: ManagedRequest) -> Iterator[str]:
    """A request for a person."""
    about = request.workflow_id or request.correlation_id or request.namespace
    why = f": {request.why}" if request.why else ""
    yield f"{request.request_id}  {request.operation} {about}  {request.state}{why}"
    if request.state == "waiting":
        yield f"  it may wait until {request.until}; see `edgeagent workflow requests`"
    answer = request.answer or {}
    for status in [*(answer.get("workflows") or ()), *filter(None, [answer.get("workflow")])]:
        said = f"  {status['message']}" if status.get("message") else ""
        yield f"  {status['namespace']}/{status['workflowId']}  {status['status']} {status.get('progress', '')}{said}"
    if answer.get("continue"):
        yield f"  there are more: --continue {answer['continue']}"
