"""What every benchmark needs: medians, bytes written, and a table."""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).parent / "results"


class Figure(NamedTuple):
    """One measurement: medians over the rounds."""

    name: str
    events_per_s: float
    cpu_us_per_event: float
    bytes_per_event: float


def measured(name: str, events: int, rounds: int, work: Callable[[], None]) -> Figure:
    """Run `work`, which handles so many events, several times; take the medians. Bytes are those sent to the disk."""
    rates: list[float] = []
    cpu: list[float] = []
    written: list[float] = []
    for _ in range(rounds):
        bytes_before, cpu_before, start = _written(), time.process_time(), time.perf_counter()
        work()
        elapsed = time.perf_counter() - start
        rates.append(events / elapsed)
        cpu.append((time.process_time() - cpu_before) / events * 1e6)
        written.append((_written() - bytes_before) / events)
    return Figure(name, statistics.median(rates), statistics.median(cpu), statistics.median(written))


def show(title: str, reference: Figure, others: list[Figure]) -> None:
    """Print a table of figures with ratios to the reference, and keep it as JSON."""
    print(f"\n{title}")
    print(f"  {'':34} {'events/s':>12} {'ratio':>7} {'CPU us/event':>13} {'bytes/event':>12}")
    for figure in (reference, *others):
        ratio = figure.events_per_s / reference.events_per_s
        print(
            f"  {figure.name:34} {figure.events_per_s:12,.0f} {ratio:7.2f} {figure.cpu_us_per_event:13.1f} "
            f"{figure.bytes_per_event:12,.0f}"
        )
    keep(title, [figure._asdict() for figure in (reference, *others)])


def keep(title: str, figures: Any) -> None:
    """Write figures to `results/`, one file a title."""
    RESULTS.mkdir(exist_ok=True)
    name = "".join(sign if sign.isalnum() else "-" for sign in title.lower()).strip("-")
    machine = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.release()}
    document = {"title": title, "machine": machine, "figures": figures}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def _written() -> int:
    if sys.platform != "linux":
        return 0
    lines = Path("/proc/self/io").read_text("ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("write_bytes")))
