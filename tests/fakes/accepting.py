"""Waiting for a program that a test has started as a server."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Sequence

_POLL_S = 0.02


async def accepting(
    process: subprocess.Popen[bytes], ports: Sequence[int], said: Callable[[], str], deadline_s: float
) -> None:
    """Return when the program accepts connections on all of these ports of loopback.

    Args:
        process: which has just been started.
        ports: where it will listen.
        said: what it has to say when it has ended instead.
        deadline_s: how long it may take.

    Raises:
        RuntimeError: it has ended.
        TimeoutError: it takes too long.
    """
    async with asyncio.timeout(deadline_s):
        for port in ports:
            while True:
                if process.poll() is not None:
                    raise RuntimeError(f"{process.args!r} ended with {process.returncode}: {said()}")
                if await accepts(port):
                    break
                await asyncio.sleep(_POLL_S)


async def accepts(port: int) -> bool:
    """Whether somebody listens on this port of loopback."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
