"""Options that commands share, and how they print."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any

from edgeagent.cli.pieces import Line, Piece, Shade
from edgeagent.common.foreign import escaped, json_line
from edgeagent.config import AGENT_CONFIG

# The terminal's parameters for what a piece means (ECMA-48, SGR).
_COLOURS = {Shade.STRONG: "1", Shade.FAINT: "2", Shade.GOOD: "32", Shade.BAD: "31", Shade.WAITING: "33"}
_CLEAR = "\x1b[H\x1b[2J\x1b[3J"


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add `-c`: the agent's configuration."""
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        help=f"the agent's configuration (default: $EDGEAGENT_CONFIG, else {AGENT_CONFIG})",
    )


def add_json(parser: argparse._ActionsContainer) -> None:
    """Add `--json`: output for programs."""
    parser.add_argument("--json", action="store_true", help="print JSON, one value a line")


def say(text: str) -> None:
    """Print one line for a person; foreign text in it can neither control the terminal nor begin a line."""
    print(escaped(text), flush=True)


def say_line(line: Line) -> None:
    """Print one line of pieces for a person, in colours where they are wanted; foreign text in it is shown escaped."""
    coloured = _wants_colours()
    print("".join(_painted(piece) if coloured else escaped(piece.text) for piece in line).rstrip(), flush=True)


def _wants_colours() -> bool:
    """Not in a pipe, on a terminal without colours, or with `NO_COLOR` set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def _painted(piece: Piece) -> str:
    code, text = _COLOURS.get(piece.shade, ""), escaped(piece.text)
    return f"\x1b[{code}m{text}\x1b[0m" if code and text else text


def say_json(value: Any) -> None:
    """Print one line for a program, safe to show on a terminal too."""
    print(json_line(value), flush=True)


def warn(text: str) -> None:
    """Print one line on stderr, as errors are printed, about something that ends no command."""
    print(f"edgeagent: {escaped(text)}", file=sys.stderr, flush=True)


def clear_screen() -> None:
    """Clear the terminal, if stdout is one."""
    if sys.stdout.isatty():
        print(_CLEAR, end="", flush=True)


def terminal_width() -> int | None:
    """How many columns a line on stdout may have; None if stdout is not a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


Action = Callable[..., int]


def add_actions(
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], int],
    actions: Sequence[tuple[str, str, Action]],
) -> dict[str, argparse.ArgumentParser]:
    """Add a command's actions (name, help, function), each with `-c` and `--json`; returns their parsers."""
    adder = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    made: dict[str, argparse.ArgumentParser] = {}
    for name, text, action in actions:
        made[name] = sub = adder.add_parser(name, help=text, description=text.capitalize() + ".")
        add_config(sub)
        add_json(sub)
        sub.set_defaults(run=run, action=action)
    return made
