"""`edgeagent config`: what is in force, and another configuration for a gateway where nobody is."""

from __future__ import annotations

import argparse

from edgeagent.cli.options import add_actions, say, say_json
from edgeagent.common.units import Duration
from edgeagent.config import agent_config_path, load_agent
from edgeagent.config.identity import identity, plain

_WITHIN = Duration(300.0)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    text = "show a configuration with its defaults, or apply another one and go back if the uplink does not come up"
    parser = subparsers.add_parser("config", help=text, description=text.capitalize() + ".")
    actions = add_actions(
        parser,
        run,
        [
            ("show", "print every key with its value, and the name of the whole", _show),
            ("apply", "check a file, show what it changes, use it, and go back if the uplink does not come up", _apply),
        ],
    )
    apply = actions["apply"]
    apply.add_argument("file", metavar="FILE", help="the new configuration; its relative names are beside the old one")
    apply.add_argument("--dry-run", action="store_true", help="check, show and rehearse only")
    apply.add_argument(
        "--within",
        type=_duration,
        default=_WITHIN,
        metavar="TIME",
        help="for how long the uplink may take to come up (default: 5m)",
    )
    apply.add_argument(
        "--restart",
        metavar="COMMAND",
        help="how to restart the agent, for what a reload does not take over (default: systemctl restart edgeagent)",
    )


def run(args: argparse.Namespace) -> int:
    """Do what the action says.

    Raises:
        ConfigError: a configuration cannot be used; with every problem found.
        CommandFailed: it was not applied, or was given up; the one before is in force.
    """
    code: int = args.action(args)
    return code


def _show(args: argparse.Namespace) -> int:
    path = agent_config_path(args.config)
    config = load_agent(path, needs_files=False)
    name, values = identity(config), plain(config)
    if args.json:
        say_json({"file": str(path), "config": name, "values": values})
        return 0
    say(f"# {path}: {name}")
    for key, value in _keys("", values):
        say(f"{key} = {value}")
    return 0


def _apply(args: argparse.Namespace) -> int:
    from edgeagent.cli.config_apply import Application  # noqa: PLC0415  it loads what rehearses

    return Application(args).run()


def _keys(prefix: str, value: object) -> list[tuple[str, str]]:
    from edgeagent.cli.config_changes import leaves  # noqa: PLC0415  only for this action

    return leaves(prefix, value)


def _duration(text: str) -> Duration:
    try:
        return Duration.parse(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
