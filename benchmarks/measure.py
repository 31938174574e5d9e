"""What every benchmark needs: contestants that take turns, medians, bytes written, and tables."""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
import timeit
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).parent / "results"
_ROUNDS = 50


class Figure(NamedTuple):
    """One contestant: medians over the rounds. `ratio` is to the first contestant, in the same round."""

    name: str
    events_per_s: float
    ratio: float
    cpu_us_per_event: float
    bytes_per_event: float


class Checked(NamedTuple):
    """A figure held against a goal: at most `limit`, at least `least`; with neither it is only told."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    least: float | None = None

    @property
    def reached(self) -> bool:
        """Whether the value is as the goal wants it."""
        return (self.limit is None or self.value <= self.limit) and (self.least is None or self.value >= self.least)

    @property
    def goal(self) -> str:
        """What the goal wants, and whether it is so; "" without a goal."""
        wanted = [
            f"{sign} {bound:,.2f}" for sign, bound in (("<=", self.limit), (">=", self.least)) if bound is not None
        ]
        return " ".join([*wanted, " reached" if self.reached else " NOT REACHED"]) if wanted else ""


class _Round(NamedTuple):
    events_per_s: float
    cpu_us: float
    bytes: float


# Entered, it is ready (files open, space reserved) and gives the work that is measured, which handles all events.
Contestant = Callable[[], AbstractContextManager[Callable[[], None]]]


def compared(events: int, rounds: int, contestants: Mapping[str, Contestant]) -> list[Figure]:
    """Let contestants, each of which handles so many events, take turns; the first one is the reference.

    They take turns because a disk's speed drifts: a ratio is made within one round.
    """
    found: dict[str, list[_Round]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, prepared in contestants.items():
            with prepared() as work:
                found[name].append(_measured(events, work))
    reference = next(iter(found.values()))
    return [
        Figure(
            name,
            statistics.median(one.events_per_s for one in turns),
            statistics.median(one.events_per_s / base.events_per_s for one, base in zip(turns, reference, strict=True)),
            statistics.median(one.cpu_us for one in turns),
            statistics.median(one.bytes for one in turns),
        )
        for name, turns in found.items()
    ]


def show(title: str, figures: Sequence[Figure]) -> None:
    """Print a table of contestants, and keep it as JSON."""
    print(f"\n{title}")
    print(f"  {'':40} {'events/s':>12} {'ratio':>7} {'CPU us/event':>13} {'bytes/event':>12}")
    for figure in figures:
        print(
            f"  {figure.name:40} {figure.events_per_s:12,.0f} {figure.ratio:7.2f} {figure.cpu_us_per_event:13.1f} "
            f"{figure.bytes_per_event:12,.0f}"
        )
    keep(title, [figure._asdict() for figure in figures])


def show_checked(title: str, rows: Sequence[Checked]) -> None:
    """Print figures beside their limits, and keep them as JSON."""
    print(f"\n{title}")
    for row in rows:
        print(f"  {row.name:56} {row.value:12,.2f} {row.unit:8} {row.goal}")
    keep(title, [{**row._asdict(), "reached": row.reached} for row in rows])


def keep(title: str, figures: Any) -> None:
    """Write figures to `results/`, one file a title."""
    RESULTS.mkdir(exist_ok=True)
    name = "".join(sign if sign.isalnum() else "-" for sign in title.lower()).strip("-")
    machine = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.release()}
    document = {"title": title, "machine": machine, "figures": figures}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def written_bytes() -> int:
    """What this process has sent to the disk; 0 where the system does not tell. The file system's journal is not in."""
    if sys.platform != "linux":
        return 0
    lines = Path("/proc/self/io").read_text("ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("write_bytes")))


def resident_mib(process: int | str = "self") -> float:
    """The resident memory of a process."""
    lines = Path(f"/proc/{process}/status").read_text("ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024


def memory_mib(process: int) -> dict[str, float]:
    """What the kernel counts of a process's memory, such as `Rss`, `Pss` and `Anonymous`."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text("ascii").splitlines()[1:]
    return {name: int(value.split()[0]) / 1024 for name, value in (line.split(":") for line in lines)}


def _measured(events: int, work: Callable[[], None]) -> _Round:
    bytes_before, cpu_before, start = written_bytes(), time.process_time(), time.perf_counter()
    work()
    elapsed = time.perf_counter() - start
    cpu = time.process_time() - cpu_before
    return _Round(events / elapsed, cpu / events * 1e6, (written_bytes() - bytes_before) / events)


def least_us(work: Callable[[], object], times: int) -> float:
    """Processor time of one call, the least of several rounds: what else runs here only ever makes it more."""
    number = max(times // _ROUNDS, 1)
    return min(timeit.repeat(work, number=number, repeat=_ROUNDS, timer=time.process_time)) / number * 1e6
