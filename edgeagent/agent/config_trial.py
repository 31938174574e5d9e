"""A configuration on trial: it stays only if the uplink comes up with it (`edgeagent config apply`).

`config-trial.json` in the state directory names the file by its content, and the file to go back to. Whoever applies a
configuration writes it, the agent reads it at its start. So a gateway comes back by itself, whether or not whoever
applied it is still there, and after a power cut too.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from edgeagent.common.digests import blake2b
from edgeagent.errors import ConfigRefused, StorageFailed
from edgeagent.outbox.files import Filesystem, OsFilesystem

FILE: Final = "config-trial.json"
# An agent that was started so often and never came so far as to judge does not work with this configuration.
MAX_STARTS: Final = 3
_DIGEST_BYTES: Final = 16


class Trial(msgspec.Struct, frozen=True):
    """A trial.

    Attributes:
        digest: of the file that is on trial.
        before: the path of the file with the configuration before.
        within_s: for how long the uplink may stay away after a start, in seconds.
        starts: how often the agent was started with it.
        failed: why the configuration is not used any more; empty while it is on trial.
    """

    digest: str
    before: str
    within_s: float
    starts: int = 0
    failed: str = ""


class TrialFile:
    """The trial that a state directory keeps. Every change is synced when its method returns."""

    def __init__(self, directory: Path, filesystem: Filesystem | None = None) -> None:
        """Read nothing yet. `filesystem`: the real disk by default."""
        self._path = directory / FILE
        self._filesystem = filesystem if filesystem is not None else OsFilesystem()

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return self._path

    def read(self) -> Trial | None:
        """The trial; None if there is none, or what is there cannot be read as one.

        Raises:
            StorageFailed: the disk refuses.
        """
        if not self._filesystem.exists(self._path):
            return None
        try:
            return msgspec.json.decode(self._filesystem.read(self._path), type=Trial)
        except msgspec.DecodeError:
            return None

    def write(self, trial: Trial) -> None:
        """Keep a trial in the place of any other.

        Raises:
            StorageFailed: the disk refuses.
        """
        self._filesystem.replace(self._path, msgspec.json.encode(trial))

    def end(self) -> None:
        """There is no trial any more.

        Raises:
            StorageFailed: the disk refuses.
        """
        self._filesystem.remove(self._path)


def digest_of(data: bytes) -> str:
    """What names a configuration's file."""
    return blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()


def file_to_use(path: Path, file: TrialFile) -> tuple[Path, str]:
    """Which file an agent starts with, and why that is not the configured one; empty if it is.

    Raises:
        StorageFailed: the trial cannot be read.
    """
    trial = trial_of(path, file)
    if trial is None or not trial.failed or not Path(trial.before).exists():
        return path, ""
    return Path(trial.before), trial.failed


def trial_of(path: Path, file: TrialFile) -> Trial | None:
    """The trial of this configuration; None if there is none, or somebody has written another file since.

    Raises:
        StorageFailed: the trial cannot be read.
    """
    trial = file.read()
    return trial if trial is not None and digest_of(path.read_bytes()) == trial.digest else None


def note_start(path: Path, directory: Path) -> None:
    """Count a start of the agent whose state directory is locked; too many of them end the trial.

    On a disk that cannot be written the trial goes on, and its starts are not counted.

    Raises:
        ConfigRefused: it was started too often, so that the next start uses the configuration before.
    """
    file = TrialFile(directory)
    with suppress(StorageFailed):
        trial = trial_of(path, file)
        if trial is None or trial.failed:
            return
        if trial.starts < MAX_STARTS:
            file.write(msgspec.structs.replace(trial, starts=trial.starts + 1))
            return
        reason = f"the agent was started {trial.starts} times with it, and its uplink never came up"
        file.write(failed(trial, reason))
        raise ConfigRefused(reason)


def failed(trial: Trial, reason: str) -> Trial:
    """The trial when it is over."""
    return msgspec.structs.replace(trial, failed=reason)
