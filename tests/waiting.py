"""How tests wait: for a condition, never for a time.

Each function polls or listens until something holds, and otherwise fails with what was waited for and what was seen
instead. Deadlines are generous: they end a test that would hang, and never decide about one that is slow.
Deadlines go by the system's clock, because some tests turn the loop's; but by the loop's own if that is virtual.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from tests.virtual_time import VirtualTimeLoop

DEADLINE_S = 90.0
# The first polls are turns of the loop; then they become rarer, from the one to the other.
_FIRST_TURNS = 20
_SHORTEST_S = 0.001
_LONGEST_S = 0.02
_SLOWER = 1.3
_SHOWN = 4000  # characters of what was seen

Seen = Callable[[], object]
T = TypeVar("T")


async def until(
    condition: Callable[[], object], what: str = "", *, seen: Seen | None = None, deadline_s: float = DEADLINE_S
) -> None:
    """Return when the condition holds.

    Args:
        condition: has no effects; asked again and again.
        what: is waited for. The default is the condition's source.
        seen: tells what there was instead, at the end (a log, a list). The default is what the condition looks at.
        deadline_s: how long it may take.

    Raises:
        AssertionError: it did not come to hold.
    """
    pause = _Pause(deadline_s)
    while not condition():
        if pause.over:
            _fail(deadline_s, what or _source(condition), _looked_at(condition) if seen is None else seen())
        await pause.take()


async def until_answer(
    ask: Callable[[], Awaitable[T]],
    good: Callable[[T], object],
    what: str,
    *,
    more: Seen | None = None,
    deadline_s: float = DEADLINE_S,
) -> T:
    """Ask until the answer is good, and return it.

    Raises:
        AssertionError: no answer was good; says the last one, and what `more` tells.
    """
    pause = _Pause(deadline_s)
    while not good(answer := await ask()):
        if pause.over:
            _fail(deadline_s, what, answer if more is None else f"{answer}\n{more()}")
        await pause.take()
    return answer


async def until_told(
    condition: Callable[[], object], changed: asyncio.Event, what: str, *, seen: Seen, deadline_s: float = DEADLINE_S
) -> None:
    """Return when the condition holds. It is asked each time that `changed` is set, and not otherwise.

    Raises:
        AssertionError: it did not come to hold.
    """
    try:
        async with asyncio.timeout(deadline_s):
            while not condition():
                changed.clear()
                await changed.wait()
    except TimeoutError:
        _fail(deadline_s, what, seen())


async def until_line(reader: asyncio.StreamReader, pattern: str, *, deadline_s: float = DEADLINE_S) -> re.Match[str]:
    """Read lines until one has the pattern somewhere; its match, whose `string` is all that was read.

    Raises:
        AssertionError: there was none before the end or the deadline; says what was read.
    """
    text = ""
    wanted = re.compile(pattern, re.MULTILINE)
    try:
        async with asyncio.timeout(deadline_s):
            while line := (await reader.readline()).decode():
                text += line
                if found := wanted.search(text, len(text) - len(line)):
                    return found
    except TimeoutError:
        _fail(deadline_s, f"a line with {pattern!r}", text)
    raise AssertionError(f"the output ended without a line with {pattern!r}: {text[-_SHOWN:]}")


async def until_accepting(
    process: subprocess.Popen[bytes], ports: Sequence[int], said: Seen, *, deadline_s: float = DEADLINE_S
) -> None:
    """Return when a program that was just started accepts connections on all of these ports of loopback.

    Args:
        process: the program.
        ports: where it will listen.
        said: what it has to say when it has ended instead.
        deadline_s: how long it may take.

    Raises:
        RuntimeError: it has ended.
        AssertionError: it takes too long.
    """
    pause = _Pause(deadline_s)
    for port in ports:
        while not await accepts(port):
            if process.poll() is not None:
                raise RuntimeError(f"{process.args!r} ended with {process.returncode}: {said()}")
            if pause.over:
                _fail(deadline_s, f"port {port} of {process.args!r}", "nobody listens there")
            await pause.take()


async def accepts(port: int) -> bool:
    """Whether somebody listens on this port of loopback."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def turns(count: int = 20) -> None:
    """As many turns of the loop as anything could need that is expected not to happen."""
    for _ in range(count):
        await asyncio.sleep(0)


class _Pause:
    """The pauses between polls, and the deadline."""

    def __init__(self, deadline_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._virtual = loop if isinstance(loop, VirtualTimeLoop) else None
        self._ends_s = time.monotonic() + deadline_s
        self._ends_virtually_s = loop.time() + deadline_s
        self._turns = 0
        self._pause_s = _SHORTEST_S

    @property
    def over(self) -> bool:
        """Whether the deadline has passed."""
        if self._virtual is None or self._virtual.thread_works:
            return time.monotonic() > self._ends_s
        return self._virtual.time() > self._ends_virtually_s

    async def take(self) -> None:
        """Let others work."""
        if self._virtual is not None and self._virtual.thread_works:
            await asyncio.sleep(0)  # a pause would end after all that the thread does now, and miss what it is about
            return
        if self._turns < _FIRST_TURNS:
            self._turns += 1
            await asyncio.sleep(0)
            return
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(_LONGEST_S, self._pause_s * _SLOWER)


def _fail(deadline_s: float, what: str, seen: object) -> None:
    raise AssertionError(f"waited {deadline_s} s for {what}; seen: {str(seen)[-_SHOWN:]}")


def _source(condition: Callable[[], object]) -> str:
    try:
        return " ".join(inspect.getsource(condition).split())
    except (OSError, TypeError):
        return repr(condition)


def _looked_at(condition: Callable[[], object]) -> dict[str, Any]:
    """The values of the names that a condition takes from around it."""
    try:
        return dict(inspect.getclosurevars(condition).nonlocals)
    except TypeError:
        return {}
