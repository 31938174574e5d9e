"""A program that the demo starts, with its log in a file; it is ended by its process id and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from edgeagent.errors import CommandFailed

_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from edgeagent.__main__ import main; sys.exit(main())"
_STOP_TIMEOUT_S = 8.0
_POLL_S = 0.02
_TAIL_LINES = 12
_TAIL_BYTES = 8 << 10


class ChildFailed(CommandFailed):
    """A program of the demo ended, or did not do what it should. `log`: its log file, `tail`: the last lines of it."""

    def __init__(self, name: str, what: str, log: Path, tail: Sequence[str]) -> None:
        super().__init__(name, what, log, tail)
        self.name = name
        self.what = what
        self.log = log
        self.tail = tuple(tail)

    def __str__(self) -> str:
        return f"the {self.name} {self.what}; its log is {self.log}"


class Child:
    """Owns one program, which may be killed and started again, in a session of its own that Ctrl-C does not reach."""

    def __init__(self, name: str, command: Sequence[str], directory: Path) -> None:
        """Create it without starting it. `name`, for a person, also names the log."""
        self.name = name
        self.log = directory / f"{name}.log"
        self._command = list(command)
        self._process: asyncio.subprocess.Process | None = None
        self._running = asyncio.Event()

    async def start(self) -> None:
        """Start the program; its log continues.

        Raises:
            ChildFailed: it cannot be started.
        """
        with self.log.open("ab") as log:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
            except OSError as exc:
                raise self.failed(f"cannot be started ({exc.strerror})") from exc
        self._running.set()

    async def kill(self) -> int:
        """End it like a power cut (SIGKILL); returns the process id that it had."""
        process, self._process = self._process, None
        self._running.clear()
        if process is None:
            raise self.failed("is not running, but should be")
        if process.returncode is None:
            process.kill()
        await process.wait()
        return process.pid

    async def stop(self) -> None:
        """Ask it to end (SIGTERM), and kill it if it takes too long. Does nothing if it is not running."""
        process, self._process = self._process, None
        self._running.clear()
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def watch(self) -> None:
        """Wait for the program to end by itself; never returns.

        Raises:
            ChildFailed: it ended without being asked to.
        """
        while True:
            await self._running.wait()
            process = self._process
            if process is None:
                continue
            code = await process.wait()
            if process is self._process:
                raise self.failed(f"has ended by itself (exit code {code})")

    async def ready(self, condition: Callable[[], Coroutine[Any, Any, bool]], timeout_s: float) -> None:
        """Wait until the program is ready for use.

        Raises:
            ChildFailed: it has ended, or is not ready in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not await condition():
                    if self._process is not None and self._process.returncode is not None:
                        raise self.failed(f"has ended at once (exit code {self._process.returncode})")
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as exc:
            raise self.failed(f"is not ready after {timeout_s:g} s") from exc

    async def logged(self, text: str) -> bool:
        """Whether its log contains this text."""
        return text.encode() in self.log.read_bytes()

    def failed(self, what: str) -> ChildFailed:
        """The error that says what happened to it, with the end of its log."""
        return ChildFailed(self.name, what, self.log, self._tail())

    def _tail(self) -> list[str]:
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
                return file.read().decode("utf-8", "replace").splitlines()[-_TAIL_LINES:]
        except OSError:
            return []


def edgeagent(command: str, config: Path) -> list[str]:
    """The command line for one of our own commands, run by this interpreter from where this module was imported.

    That place need not be on the interpreter's own path: of a Debian package only `/usr/bin/edgeagent` knows it.
    """
    return [sys.executable, "-c", _START, str(Path(__file__).parents[2]), command, "-c", str(config)]
