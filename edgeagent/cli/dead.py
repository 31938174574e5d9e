"""`edgeagent dead`: what was given up, and putting it back. On a running agent, and on a stopped one's directory."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from edgeagent.cli.client import AgentClient
from edgeagent.cli.options import add_config, add_json, client_config, socket_path
from edgeagent.config.tables import AgentConfig
from edgeagent.core.ports import DeadLetter
from edgeagent.errors import AgentUnreachable, CommandFailed

_SHORT_ID = 12
_MAX_REASON = 60


class _Letters(Protocol):
    """Where dead letters are: a running agent, or a directory."""

    def all(self) -> list[DeadLetter]:
        """Every dead letter, oldest first."""

    def replay(self, correlation_ids: Sequence[str]) -> list[str]:
        """Put them back; returns those found."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "dead",
        help="dead letters: triggers that were given up",
        description="Triggers that were given up, kept with payload and reason until you decide.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, text, action in (
        ("ls", "list them, oldest first", _ls),
        ("show", "print one with its data", _show),
        ("replay", "put them back into the outbox, to be sent again", _replay),
    ):
        sub = actions.add_parser(name, help=text, description=text.capitalize() + ".")
        add_config(sub)
        add_json(sub)
        sub.set_defaults(run=run, action=action)
        if name == "show":
            sub.add_argument("id", help="the correlation id, or its beginning")
        elif name == "replay":
            sub.add_argument("id", nargs="*", help="correlation ids, or their beginnings")
            sub.add_argument("--all", action="store_true", help="all of them")


def run(args: argparse.Namespace) -> int:
    """Do it where the dead letters are.

    Raises:
        OutboxLocked: the agent runs, but its socket cannot be reached.
        CommandFailed: no such dead letter.
    """
    config = client_config(args)
    try:
        with AgentClient.unix(socket_path(config)) as client:
            code: int = args.action(args, _Running(client))
    except AgentUnreachable:
        code = _on_stopped(args, config)
    return code


def _on_stopped(args: argparse.Namespace, config: AgentConfig) -> int:
    # Only here: it loads all of the agent.
    from edgeagent.agent.stopped import StoppedOutbox, opened  # noqa: PLC0415

    with opened(config) as store:
        letters: _Letters = StoppedOutbox(store)
        code: int = args.action(args, letters)
        return code


class _Running:
    """Dead letters of a running agent."""

    def __init__(self, client: AgentClient) -> None:
        self._client = client

    def all(self) -> list[DeadLetter]:
        """See `_Letters`."""
        _, answer = self._client.request("GET", "/v1/dead")
        return msgspec.convert(answer["dead"], list[DeadLetter])

    def replay(self, correlation_ids: Sequence[str]) -> list[str]:
        """See `_Letters`."""
        body = msgspec.json.encode({"correlation_ids": correlation_ids})
        _, answer = self._client.request("POST", "/v1/dead/replay", body, {"Content-Type": "application/json"})
        return msgspec.convert(answer["replayed"], list[str])


def _ls(args: argparse.Namespace, letters: _Letters) -> int:
    found = letters.all()
    if args.json:
        for letter in found:
            _print_json(letter)
        return 0
    if not found:
        print("no dead letters")
        return 0
    print(f"{'TRIGGER':{_SHORT_ID}}  {'GIVEN UP':24}  {'RULE':16}  {'SOURCE':20}  REASON")
    for letter in found:
        reason = letter.reason if len(letter.reason) <= _MAX_REASON else letter.reason[: _MAX_REASON - 1] + "…"
        print(f"{letter.correlation_id[:_SHORT_ID]}  {letter.at:24}  {letter.rule:16}  {letter.source:20}  {reason}")
    return 0


def _show(args: argparse.Namespace, letters: _Letters) -> int:
    letter = _by_id(letters.all(), args.id)
    if args.json:
        _print_json(letter)
        return 0
    for name, value in msgspec.to_builtins(letter).items():
        print(f"{name.replace('_', ' '):15} {value}")
    return 0


def _replay(args: argparse.Namespace, letters: _Letters) -> int:
    found = letters.all()
    if bool(args.id) == args.all:
        raise CommandFailed("dead replay: name correlation ids, or give --all")
    wanted = found if args.all else [_by_id(found, text) for text in args.id]
    replayed = letters.replay([letter.correlation_id for letter in wanted]) if wanted else []
    if args.json:
        _print_json({"replayed": replayed})
    else:
        print(f"{len(replayed)} put back; they are sent with the same correlation id, so none can start twice")
    return 0 if len(replayed) == len(wanted) else 1


def _by_id(letters: Sequence[DeadLetter], text: str) -> DeadLetter:
    found = [letter for letter in letters if letter.correlation_id.startswith(text)]
    if len(found) != 1:
        raise CommandFailed(f"{text!r} names {len(found)} dead letters; see `edgeagent dead ls`")
    return found[0]


def _print_json(value: Any) -> None:
    print(msgspec.json.encode(value).decode())
