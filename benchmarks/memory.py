"""What a backlog costs in memory, in the agent and while the outbox is drained (goal G4)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.agent_process import agent
from benchmarks.events import make_backlog, open_store
from benchmarks.measure import Checked, resident_mib, show_checked
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import NORMAL, SETTLED

_BACKLOGS = (0, 1_000_000)
_LONG_BACKLOG = 10_000_000
_LIMIT_MIB = 12.0
_SETTLE_S = 1.0  # the agent leases its first triggers after it is ready


def run(*, long: bool) -> None:
    """Print the memory for each backlog, and what it is above that of none. `long`: 10,000,000 too."""
    rows: list[Checked] = []
    idle: dict[str, float] = {}
    for events in (*_BACKLOGS, _LONG_BACKLOG) if long else _BACKLOGS:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
            state = Path(directory) / "state"
            make_backlog(state / "outbox", events)
            for what, mib in (("agent", _agent_mib(state)), *_drained(state / "outbox", events).items()):
                limit = idle.setdefault(what, mib) + _LIMIT_MIB
                rows.append(Checked(f"{what}, {events:,} pending", mib, "MiB", limit if events else None))
    show_checked("memory", rows)


def _agent_mib(state: Path) -> float:
    with agent(state) as (process, _):
        time.sleep(_SETTLE_S)
        return resident_mib(process)


def _drained(outbox: Path, events: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.memory", str(outbox), str(events)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    result: dict[str, float] = json.loads(answer)
    return result


async def _drain(directory: Path, events: int) -> dict[str, float]:
    """In a process of its own: lease and release everything; the most memory seen on the way."""
    outbox = await Outbox.open(lambda: open_store(directory))
    running = asyncio.create_task(outbox.run())
    opened = most = resident_mib()
    leased = 0
    while part := await outbox.lease(NORMAL):
        for item in part:
            outbox.release([item], SETTLED)
        leased += len(part)
        most = max(most, resident_mib())
    running.cancel()
    await asyncio.wait([running])
    await outbox.close()
    if leased != events:
        raise AssertionError(f"{leased} events were leased, not {events}")
    return {"outbox, opened": opened, "outbox, at most while drained": most}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_drain(Path(sys.argv[1]), int(sys.argv[2])))))
