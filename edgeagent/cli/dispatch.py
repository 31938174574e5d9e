"""`edgeagent dispatch`: the engine's side, which takes triggers and answers them."""

from __future__ import annotations

import argparse
import asyncio
import sys

from edgeagent.config import DISPATCHER_CONFIG, dispatcher_config_path, load_dispatcher
from edgeagent.config.tables import DispatcherConfig
from edgeagent.dispatcher.service import serve
from edgeagent.host import ending, log


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "dispatch",
        help="take triggers from the broker, start workflows, answer and report",
        description="Take triggers from the broker, have the engine start workflows, answer and report their status.",
    )
    parser.add_argument("-c", "--config", metavar="FILE", help=f"configuration (default: {DISPATCHER_CONFIG})")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    config = load_dispatcher(dispatcher_config_path(args.config))
    log.configure(config.log.level, config.log.format, sys.stderr)
    return ending.run(lambda deadline: _serve(config, deadline))


async def _serve(config: DispatcherConfig, deadline: ending.Deadline) -> int:
    return await serve(config, stop=asyncio.Event(), deadline=deadline)
