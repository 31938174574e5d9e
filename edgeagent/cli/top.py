"""`edgeagent top`: the screen of `edgeagent status`, live; plain lines where there is no terminal, or no `rich`."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from typing import Protocol

from edgeagent.cli.board import Board, board_lines, plain_line
from edgeagent.cli.board_source import BoardSource
from edgeagent.cli.client import AgentClient
from edgeagent.cli.find_agent import agent_client, client_config
from edgeagent.cli.options import add_config, say
from edgeagent.cli.pieces import Line, Piece, Shade
from edgeagent.errors import AgentUnreachable, EdgeAgentError

_INTERVAL_S = 2.0
_MIN_INTERVAL_S, _MAX_INTERVAL_S = 0.2, 3600.0
_QUIT = frozenset(b"qQ\x03\x04\x1b")
_HINT = "q ends it"


class BoardScreen(Protocol):
    """A terminal's screen."""

    def size(self) -> tuple[int, int]:
        """Columns and lines."""

    def show(self, lines: list[Line]) -> None:
        """Show these lines in place of what was shown before."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "top",
        help="the same as status, live",
        description="The screen of `edgeagent status`, live, until q or Ctrl-C. It survives the agent's restart. "
        "Without a terminal, or without rich (the extra `top`), it prints one line each time.",
    )
    add_config(parser)
    parser.add_argument(
        "--interval", type=_interval_s, default=_INTERVAL_S, metavar="SECONDS", help=f"how often ({_INTERVAL_S:g} s)"
    )
    parser.add_argument("--plain", action="store_true", help="plain lines, on a terminal too")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show the screen until the user ends it.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    with agent_client(client_config(args)) as client:
        screen = None if args.plain else _screen()
        with contextlib.suppress(KeyboardInterrupt):  # which is how a user ends it
            if screen is None:
                _print_lines(client, args.interval)
            else:
                with screen as opened, _keys() as keys:
                    _show(client, opened, keys, args.interval)
    return 0


def _interval_s(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not _MIN_INTERVAL_S <= seconds <= _MAX_INTERVAL_S:
        words = f"{text!r} is no number of seconds from {_MIN_INTERVAL_S:g} to {_MAX_INTERVAL_S:g}"
        raise argparse.ArgumentTypeError(words)
    return seconds


def _screen() -> contextlib.AbstractContextManager[BoardScreen] | None:
    """The screen; None without a terminal to show it on and to read keys from, or without `rich`."""
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        return None
    try:
        from edgeagent.cli.top_screen import open_screen  # noqa: PLC0415  it needs rich, which is an extra
    except ModuleNotFoundError:
        say("plain lines, because rich is not installed: pip install 'edgeagent[top]'")
        return None
    return open_screen()


def _print_lines(client: AgentClient, interval_s: float) -> None:
    """Print a line each time, until interrupted."""
    source = BoardSource(client)
    while True:
        now = time.strftime("%H:%M:%S", time.gmtime())
        try:
            say(f"{now} {plain_line(source.look())}")
        except EdgeAgentError as exc:
            say(f"{now} {_away(exc)}")
        time.sleep(interval_s)


def _show(client: AgentClient, screen: BoardScreen, keys: int, interval_s: float) -> None:
    """Show the board each time, until a key ends it."""
    source = BoardSource(client)
    board: Board | None = None
    while True:
        trouble = ""
        try:
            board = source.look()
        except EdgeAgentError as exc:
            trouble = _away(exc)
        screen.show(_picture(board, trouble, *screen.size()))
        if _ended(keys, interval_s):
            return


def _picture(board: Board | None, trouble: str, width: int, height: int) -> list[Line]:
    foot: Line = [Piece(trouble, Shade.BAD), Piece("   " if trouble else ""), Piece(_HINT, Shade.FAINT)]
    if board is None:
        return [foot]
    return [*board_lines(board, width, height - 1), foot]


def _away(error: EdgeAgentError) -> str:
    if isinstance(error, AgentUnreachable):
        return f"no agent answers; trying again ({error})"
    return str(error)


@contextlib.contextmanager
def _keys() -> Iterator[int]:
    """Standard input, read key by key and not shown; as it was afterwards."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _ended(keys: int, wait_s: float) -> bool:
    """Wait, at most so long; whether a key ended it."""
    end = time.monotonic() + wait_s
    while (left_s := end - time.monotonic()) > 0:
        if not select.select([keys], [], [], left_s)[0]:
            return False
        pressed = os.read(keys, 64)
        if not pressed or not _QUIT.isdisjoint(pressed):
            return True
    return False
