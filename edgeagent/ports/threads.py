"""A thread for blocking work, as the parts that are given one see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from edgeagent.errors import DiskThreadDied

T = TypeVar("T")


class JobThread(Protocol):
    """A thread for what blocks on the disk, one job after another (`outbox.disk`)."""

    died: Callable[[DiskThreadDied], None]

    async def call(self, job: Callable[[], T]) -> T:
        """Run a job there, in any case, and return what it returns; raises what it raises, or `DiskThreadDied`."""

    def close(self) -> None:
        """End the thread when the jobs that were begun are done."""
