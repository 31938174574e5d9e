"""How tests end a task of theirs."""

from __future__ import annotations

import asyncio
from typing import Any


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it has ended; what it failed with is raised.

    Whoever is cancelled while waiting here is cancelled: awaiting the task and suppressing `CancelledError` would take
    the one for the other, and go on.
    """
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
