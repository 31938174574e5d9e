"""Agents whose wall clock the test sets, by libfaketime, and who are told whether a time server set it.

`python -m tests.fakes.clocked_program COMMAND` is `edgeagent COMMAND` whose systemd-timesyncd is a directory of the
test's, named by `TIMESYNC`. libfaketime cannot set what the kernel and the real one say.
"""

from __future__ import annotations

import os
import select
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from edgeagent.__main__ import main
from edgeagent.host import time_sync
from tests.fakes.programs import Agent

TIMESYNC = "TESTS_TIMESYNC"


class ClockedAgent(Agent):
    """An agent with a wall clock of its own, which the test sets; the time since the machine's boot is the machine's.

    Args: as for `Agent`, after `ahead`: how far its clock is ahead of the machine's at first.
    """

    module = "tests.fakes.clocked_program"

    def __init__(self, directory: Path, uplink: str, ahead: timedelta, **options: Any) -> None:
        super().__init__(directory, uplink, **options)
        self._offset_file, self._timesync = directory / "offset", directory / "timesync"
        self._timesync.mkdir()
        self.set_clock(ahead)
        self.environment = {
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset_file),
            "FAKETIME_NO_CACHE": "1",  # the file is read at each reading of the clock
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
            TIMESYNC: str(self._timesync),
        }

    def set_clock(self, ahead: timedelta) -> None:
        """Set its wall clock so far ahead of the machine's; a restart does not change it."""
        new = self._offset_file.with_suffix(".new")
        new.write_text(f"{ahead.total_seconds():+.3f}\n", "ascii")
        new.replace(self._offset_file)

    def synchronize(self, ahead: timedelta) -> None:
        """A time server sets its clock so far ahead of the machine's."""
        (self._timesync / "synchronized").touch()  # before: it is looked for at once when the clock was set
        self.set_clock(ahead)


def now() -> datetime:
    """What the machine's clock shows."""
    return datetime.now(UTC)


def _library() -> Path:
    found = list(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    assert found, "libfaketime is missing: apt-get update && apt-get install libfaketime"
    return found[0]


def _tell_time_sync(directory: Path) -> None:
    setattr(time_sync, "TIMESYNC", directory)  # noqa: B010  a constant, in this process only


def _sleep(seconds: float) -> None:
    """A sleep of its real length: libfaketime takes the end of one, by the monotonic clock, for another time."""
    select.select([], [], [], seconds)


if __name__ == "__main__":
    setattr(time, "sleep", _sleep)  # noqa: B010  in this process only
    _tell_time_sync(Path(os.environ[TIMESYNC]))
    sys.exit(main(sys.argv[1:]))
