"""What it costs to keep what becomes of each trigger (`track = true`): the ledger, its daily sums, and the stream.

The same way as in `path`, from a device through the agent's own listener to a subscriber upstream, with the rule's
triggers tracked and not, in turns. With `settle = "broker"`: a trigger has two states, and none of an engine's answers
and statuses, each of which is another change.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.load_path import through_listener
from benchmarks.measure import Checked, show_checked
from benchmarks.path import Turn, median, numbered, turn

_EVENTS = 20_000
_LONG_EVENTS = 200_000
_ROUNDS = 3
_LONG_ROUNDS = 7


def run(*, long: bool) -> None:
    """Print the figures of both, and their ratios. `long`: more and longer rounds."""
    events = _LONG_EVENTS if long else _EVENTS
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        fresh = numbered(Path(directory))
        found = [
            (turn(through_listener(next(fresh)), events), turn(through_listener(next(fresh), track=True), events))
            for _ in range(_LONG_ROUNDS if long else _ROUNDS)
        ]
    plain, tracked = (median(turns) for turns in zip(*found, strict=True))

    def ratio(figure: Callable[[Turn], float]) -> float:
        return statistics.median(figure(one) / figure(base) for base, one in found)

    show_checked(
        "tracking, device to upstream",
        [
            Checked("track = false", plain.events_per_s, "1/s"),
            Checked("track = true", tracked.events_per_s, "1/s"),
            Checked("ratio in the same round", ratio(lambda each: each.events_per_s), "x"),
            Checked("track = false: CPU an event", plain.cpu_us, "us"),
            Checked("track = true: CPU an event", tracked.cpu_us, "us"),
            Checked("ratio of CPU in the same round", ratio(lambda each: each.cpu_us), "x"),
            Checked("track = false: written an event", plain.written, "B"),
            Checked("track = true: written an event", tracked.written, "B"),
            Checked("track = true: peak memory", tracked.peak_mib, "MiB"),
        ],
    )
