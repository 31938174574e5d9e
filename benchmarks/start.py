"""How long it takes to open the outbox, and to start the agent, with a backlog (goal G5)."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.agent_process import agent
from benchmarks.events import make_backlog, open_store
from benchmarks.measure import Checked, show_checked

_BACKLOGS = (0, 1_000_000)
_LONG_BACKLOG = 10_000_000
_ROUNDS = 3
_EMPTY_LIMIT_S = 0.5
_FULL_LIMIT_S = 2.0


def run(*, long: bool) -> None:
    """Print the times for each backlog. `long`: 10,000,000 too."""
    rows: list[Checked] = []
    for events in (*_BACKLOGS, _LONG_BACKLOG) if long else _BACKLOGS:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
            state = Path(directory) / "state"
            make_backlog(state / "outbox", events)
            limit = _FULL_LIMIT_S if events else _EMPTY_LIMIT_S
            name = f"{events:,} pending"
            opened = statistics.median(_open_s(state / "outbox", events) for _ in range(_ROUNDS))
            ready = statistics.median(_ready_s(state) for _ in range(_ROUNDS))
            rows += [
                Checked(f"opening the store, {name}", opened * 1000, "ms"),
                Checked(f"edgeagent run to ready, {name}", ready, "s", limit),
            ]
    show_checked("start", rows)


def _open_s(outbox: Path, events: int) -> float:
    start = time.perf_counter()
    store = open_store(outbox)
    elapsed = time.perf_counter() - start
    pending = store.account().pending
    store.close()
    if pending != events:
        raise AssertionError(f"{pending} events are pending, not {events}")
    return elapsed


def _ready_s(state: Path) -> float:
    with agent(state) as (_, ready_s):
        return ready_s
