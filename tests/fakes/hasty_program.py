"""An agent whose clocks hurry through an hour in a minute, up to the present, for pictures of what takes an hour.

`python -m tests.fakes.hasty_program COMMAND` is `edgeagent COMMAND`. Its timers do not hurry.
"""

from __future__ import annotations

import sys
import time
from typing import Final

from edgeagent.__main__ import main
from edgeagent.agent import watch_service
from edgeagent.agent.clock import Clock

HASTE: Final = 60
PLAYED_S: Final = 60.0
_STARTED_AT: Final = time.monotonic()


def _behind_ms() -> int:
    """How far the hasty clocks are behind the machine's."""
    return int(max(0.0, PLAYED_S - (time.monotonic() - _STARTED_AT)) * (HASTE - 1) * 1000)


def _hurry() -> None:
    now_ms, uptime_ms = Clock.now_ms, Clock.uptime_ms
    setattr(Clock, "now_ms", lambda clock: now_ms(clock) - _behind_ms())  # noqa: B010  a method
    setattr(Clock, "uptime_ms", lambda clock: uptime_ms(clock) - _behind_ms())  # noqa: B010  a method
    setattr(watch_service, "_SAMPLE_S", 0.25)  # noqa: B010  so that each step has a sample


if __name__ == "__main__":
    _hurry()
    sys.exit(main(sys.argv[1:]))
