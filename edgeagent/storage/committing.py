"""When a database commits what changes: at the time that its owner sets, or at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn


async def commit_when_due(
    due_s: Callable[[], float | None], changed: asyncio.Event, commit: Callable[[], Coroutine[Any, Any, None]]
) -> NoReturn:
    """Commit whenever it is due, until cancelled; a commit that was begun then goes on.

    Args:
        due_s: when the next commit is due, by the loop's clock; None for never.
        changed: set by the owner when that is another time than before.
        commit: commits, and sets the next time. What it raises ends this.
    """
    loop = asyncio.get_running_loop()
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(due_s()):
                await changed.wait()
        changed.clear()
        due = due_s()
        if due is not None and loop.time() >= due:
            await asyncio.shield(asyncio.ensure_future(commit()))
