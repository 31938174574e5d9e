"""The end of what was done on a thread, for those who may be cancelled and those who are not."""

from __future__ import annotations

from collections.abc import Callable

from edgeagent.ports.threads import JobThread


async def end_on(thread: JobThread, job: Callable[[], None], *, is_cancelled: bool) -> None:
    """Run a job that ends something, such as closing a file; whoever is cancelled does not wait for it.

    A volume that does not answer would else keep the process from stopping, and a time limit from being one.
    """
    if is_cancelled:
        thread.begin(job, lambda _result, _error: None)
    else:
        await thread.call(job)
