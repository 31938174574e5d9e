"""`edgeagent reload`: makes a running agent load the rules of its configuration."""

from __future__ import annotations

import argparse
from http import HTTPStatus

import msgspec

from edgeagent.cli.client import AgentRefused
from edgeagent.cli.find_agent import agent_client, client_config
from edgeagent.cli.options import add_config, add_json, say, say_json
from edgeagent.errors import ConfigError, Problem
from edgeagent.ports.operator import RELOAD, NoArguments, Reloaded


class _Problem(msgspec.Struct):
    path: str
    reason: str


class _Refused(msgspec.Struct):
    """The agent's answer if its configuration cannot be used."""

    file: str
    problems: list[_Problem]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "reload",
        help="make the running agent load the rules of its configuration",
        description="Make the running agent read its configuration again and load its rules, and at its MQTT listener "
        "who may do what, which topics are events, and the limits. Nothing stops and nothing is lost. A configuration "
        "with a mistake is refused, and the old one stays in force. Other tables take effect only after a restart. "
        "Uploads of large data that failed are tried again at once.",
    )
    add_config(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Reload, and print the differences.

    Raises:
        ConfigError: the configuration cannot be used; with every problem found.
        AgentUnreachable: no agent is running.
    """
    with agent_client(client_config(args)) as client:
        try:
            reloaded = client.perform(RELOAD, NoArguments())
        except AgentRefused as exc:
            if exc.status != HTTPStatus.UNPROCESSABLE_ENTITY:
                raise
            refused = msgspec.convert(exc.document, _Refused)
            raise ConfigError(refused.file, [Problem(each.path, each.reason) for each in refused.problems]) from exc
    if args.json:
        say_json(reloaded)
        return 0
    for line in _lines(reloaded):
        say(line)
    return 0


def _lines(reloaded: Reloaded) -> list[str]:
    lines = [f"{reloaded.file}: rules from now on: {reloaded.rules}"]
    lines += [f"  added    {name}" for name in reloaded.added]
    lines += [f"  changed  {name}" for name in reloaded.changed]
    lines += [f"  removed  {name}: triggers of it that still wait become dead letters" for name in reloaded.removed]
    if not (reloaded.added or reloaded.changed or reloaded.removed):
        lines.append("  no rule differs")
    if reloaded.restart:
        tables = ", ".join(f"[{table}]" for table in reloaded.restart)
        lines.append(f"  warning: changed too, but needs a restart: {tables}")
    return lines
