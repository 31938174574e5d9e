"""`edgeagent run`: the agent."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from edgeagent.cli.options import add_config
from edgeagent.config import agent_config_path, load_agent
from edgeagent.config.tables import AgentConfig
from edgeagent.errors import ConfigError
from edgeagent.host import ending, log
from edgeagent.host.descriptors import raise_descriptor_limit
from edgeagent.mqtt import engines


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "run",
        help="run the agent: take events, forward triggers, relay status",
        description="Run the agent until SIGTERM or SIGINT. A broker that is not there is no error: events are kept.",
    )
    add_config(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT.

    Raises:
        ConfigError, OutboxLocked, StorageFailed, ListenFailed: the agent cannot start.
    """
    # SIGHUP waits until the agent can reload: its default would end the process, and ignoring it could miss a change.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    path = agent_config_path(args.config).absolute()
    config = load_agent(path)
    if problem := engines.qos_problem(config.uplink):
        raise ConfigError(str(path), [problem])
    log.configure(config.log.level, config.log.format, sys.stderr)
    raise_descriptor_limit()
    return ending.run(lambda deadline: _serve(config, path, deadline))


async def _serve(config: AgentConfig, path: Path, deadline: ending.Deadline) -> int:
    from edgeagent.agent.agent import serve  # noqa: PLC0415  not needed to report a configuration error

    return await serve(config, path, stop=asyncio.Event(), deadline=deadline)
