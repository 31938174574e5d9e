"""The interface of a thread for blocking work, for the parts that are given one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from edgeagent.errors import DiskThreadDied

T = TypeVar("T")


class JobThread(Protocol):
    """A thread for work that blocks on the disk, one job after another (implemented by `outbox.disk`)."""

    died: Callable[[DiskThreadDied], None]

    def begin(self, job: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        """Run a job; `done` is called in the loop with its result or its error."""

    async def call(self, job: Callable[[], T]) -> T:
        """Run a job and return its result, even if cancelled; raises the job's error, or `DiskThreadDied`."""

    def close(self) -> None:
        """End the thread when the jobs already begun are done."""
