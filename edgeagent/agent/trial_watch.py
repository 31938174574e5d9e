"""Judges a configuration that is on trial, while the agent runs with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from edgeagent.agent.config_trial import Trial, TrialFile, failed, trial_of
from edgeagent.agent.notices import ConnectionNotices
from edgeagent.errors import ConfigRefused

_log = logging.getLogger(__name__)


def trial_tasks(directory: Path, path: Path, uplink: ConnectionNotices) -> dict[str, Coroutine[Any, Any, None]]:
    """The task that judges, if the file at `path` is on trial. `directory`: of the agent's state.

    Raises:
        StorageFailed: the trial cannot be read.
    """
    file = TrialFile(directory)
    trial = trial_of(path, file)
    if trial is None or trial.failed:
        return {}
    return {"configuration on trial": judge(trial, file, uplink)}


async def judge(trial: Trial, file: TrialFile, uplink: ConnectionNotices) -> None:
    """Keep the configuration once the uplink is up, or end the process, so that its next start uses the one before.

    Returns never. Survives a kill at any time: the next start judges again.

    Raises:
        ConfigRefused: the uplink did not come up in time.
        StorageFailed: the disk refuses to keep the verdict.
    """
    came_up = asyncio.Event()

    def changed() -> None:
        if uplink.is_up:
            came_up.set()

    uplink.listen(changed)
    changed()
    try:
        async with asyncio.timeout(trial.within_s):
            await came_up.wait()
    except TimeoutError:
        why = uplink.error or "no attempt has ended yet"
        reason = f"the uplink did not come up within {trial.within_s:g} s: {why}"
        await asyncio.to_thread(file.write, failed(trial, reason))
        raise ConfigRefused(reason) from None
    await asyncio.to_thread(file.end)
    _log.info("the uplink is up with the configuration on trial, which is kept", extra={"event": "config_kept"})
    await asyncio.get_running_loop().create_future()
