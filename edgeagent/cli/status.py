"""`edgeagent status`: one screen about the running agent; without one, what its directory says."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys

from edgeagent.cli.access import OutboxAccess, with_outbox
from edgeagent.cli.board import MIN_HEIGHT, MIN_WIDTH, board_lines
from edgeagent.cli.board_source import BoardSource
from edgeagent.cli.find_agent import agent_client, client_config
from edgeagent.cli.options import add_config, add_json, say_json, say_line
from edgeagent.cli.pieces import Piece, Shade
from edgeagent.common.plural import counted
from edgeagent.errors import AgentUnreachable
from edgeagent.ports.operator import OVERVIEW, NoArguments

# In a pipe there is more room than on the smallest terminal.
_PIPE_WIDTH, _PIPE_HEIGHT = 160, 60


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "status",
        help="one screen: uplink, devices, outbox, rates, account, rules, last errors",
        description="One screen about the running agent: uplink, listeners and devices, outbox with its oldest trigger "
        "and hours of headroom, rates, account, the busiest rules, the last warnings and errors.",
        epilog=f"Exit code {AgentUnreachable.exit_code} if no agent runs; then its directory is asked what waits.",
    )
    add_config(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the screen.

    Raises:
        OutboxLocked: the agent runs, but its socket cannot be reached.
        CommandFailed: there is neither an agent nor an outbox.
    """
    try:
        with agent_client(client_config(args)) as client:
            source = BoardSource(client)
            if args.json:
                say_json(source.document())
                return 0
            width, height = screen_size()
            for line in board_lines(source.once(), width, height, scrolls=True):
                say_line(line)
            return 0
    except AgentUnreachable:
        logging.getLogger("edgeagent").addHandler(logging.NullHandler())
        return with_outbox(args, _stopped, read_only=True)


def screen_size() -> tuple[int, int]:
    """Columns and lines to fill, with a line left for the shell; at least the smallest screen."""
    if not sys.stdout.isatty():
        return _PIPE_WIDTH, _PIPE_HEIGHT
    size = shutil.get_terminal_size((MIN_WIDTH, MIN_HEIGHT))
    return max(size.columns, MIN_WIDTH), max(size.lines, MIN_HEIGHT) - 1


def _stopped(args: argparse.Namespace, outbox: OutboxAccess) -> int:
    overview = outbox.perform(OVERVIEW, NoArguments())
    if args.json:
        say_json({"stats": None, "overview": overview})
        return AgentUnreachable.exit_code
    account = overview.account
    say_line([Piece(f"edgeagent {outbox.agent}   ", Shade.STRONG), Piece("no agent runs", Shade.BAD)])
    waiting = counted(account.pending, "trigger waits", "triggers wait")
    say_line([Piece(f"{waiting} in its outbox: edgeagent outbox ls")])
    if account.dead:
        say_line([Piece(f"{counted(account.dead, 'dead letter')}: edgeagent dead ls", Shade.WAITING)])
    for fault in overview.faults():
        say_line([Piece(fault, Shade.BAD)])
    say_line([Piece("start it: systemctl start edgeagent, or edgeagent run", Shade.STRONG)])
    return AgentUnreachable.exit_code
