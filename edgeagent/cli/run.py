"""`edgeagent run`: the agent."""

from __future__ import annotations

import argparse

from edgeagent.cli.options import add_config
from edgeagent.cli.running import run_agent


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "run",
        help="run the agent: take events, forward triggers, relay status",
        description="Run the agent until SIGTERM or SIGINT. A broker that is not there is no error: events are kept.",
    )
    add_config(parser)
    parser.set_defaults(run=lambda args: run_agent(args.config))
