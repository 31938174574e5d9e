"""`edgeagent run`: the agent."""

from __future__ import annotations

import argparse
import signal

from edgeagent.cli.options import add_config
from edgeagent.cli.terminal import HelpFormatter
from edgeagent.config import agent_config_path, load_agent
from edgeagent.config.encryption import uses_tls
from edgeagent.host.without_tls import import_asyncio_without_tls


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "run",
        formatter_class=HelpFormatter,
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
    if not uses_tls(config):
        import_asyncio_without_tls()
    from edgeagent.cli.running import run_agent  # noqa: PLC0415  with it comes asyncio

    return run_agent(config, path)
