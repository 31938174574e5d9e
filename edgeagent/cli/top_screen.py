"""The live screen of `edgeagent top`, drawn with `rich`; every state can be read without colour."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from edgeagent.cli.pieces import Line, Shade
from edgeagent.common.foreign import escaped

_STYLES = {
    Shade.PLAIN: "",
    Shade.STRONG: "bold",
    Shade.FAINT: "dim",
    Shade.GOOD: "green",
    Shade.BAD: "bold red",
    Shade.WAITING: "yellow",
}


class RichScreen:
    """The terminal's alternate screen. The last picture stays on the terminal after the end."""

    def __init__(self, console: Console, live: Live) -> None:
        self._console = console
        self._live = live
        self.last: Group | None = None

    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        width, height = self._console.size
        return width, height

    def show(self, lines: list[Line]) -> None:
        """Show these lines in place of what was shown before."""
        self.last = Group(*map(_text, lines))
        self._live.update(self.last, refresh=True)


@contextlib.contextmanager
def open_screen() -> Iterator[RichScreen]:
    """The screen, until the block ends."""
    console = Console(highlight=False)
    live = Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    with live:
        screen = RichScreen(console, live)
        yield screen
    if screen.last is not None:
        console.print(screen.last)


def _text(line: Line) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    for piece in line:
        text.append(escaped(piece.text), _STYLES[piece.shade])
    return text
