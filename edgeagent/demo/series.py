"""The readings of a real flow sensor, and at which of them something happens. Pure, except for reading the file.

The readings are hourly; an ordinary hour passes in a few milliseconds, an hour of loss slowly enough to watch.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

# The topic on which the sensor publishes; the agent takes the whole of it for the source of the events.
SOURCE = "water-main/branch-1"
# The usual flow is about 102 l/s. A fifth less is not ordinary fluctuation: water is lost, or the main is repaired.
LOSS_BELOW_L_S = 80.0

PACE_S = 0.0085
PACE_OF_LOSS_S = 0.3

# Counted from the first reading of the second loss: two are forwarded as usual, and the third one's answer is lost.
_LINE_FAILS_AFTER = 2
_KILL_AFTER = 6
# Counted from the end of that loss: how many hours pass before the line is restored.
_HEAL_AFTER = 100
_THE_LOSS_TO_CUT_IN = 1


class Reading(NamedTuple):
    """One hour: its time, with an offset (RFC 3339), and the flow."""

    time: str
    flow_l_s: float

    @property
    def is_loss(self) -> bool:
        """Whether a leak inspection should start."""
        return self.flow_l_s < LOSS_BELOW_L_S

    @property
    def pace_s(self) -> float:
        """How long this hour takes in the demo."""
        return PACE_OF_LOSS_S if self.is_loss else PACE_S

    @property
    def hour(self) -> str:
        """The time for a person: `2022-03-29 11:00`."""
        return self.time[:16].replace("T", " ")


class SeriesPlan(NamedTuple):
    """What happens at which reading (index). The line fails, or the agent is killed, right after it is acknowledged."""

    line_fails: int
    kill: int
    heal: int


def load() -> list[Reading]:
    """All readings, oldest first."""
    with (files(__package__) / "water-flow.csv").open("r", encoding="utf-8") as file:
        rows = csv.reader(file)
        next(rows)  # the header
        return [Reading(time, float(flow)) for time, flow in rows]


def losses(readings: Sequence[Reading]) -> list[range]:
    """The index ranges in which the flow is continuously too low."""
    found: list[range] = []
    for index, reading in enumerate(readings):
        if not reading.is_loss:
            continue
        if found and found[-1].stop == index:
            found[-1] = range(found[-1].start, index + 1)
        else:
            found.append(range(index, index + 1))
    return found


def plan(readings: Sequence[Reading]) -> SeriesPlan:
    """When the line fails, the agent is killed, and the line is restored: in and after the second loss."""
    loss = losses(readings)[_THE_LOSS_TO_CUT_IN]
    return SeriesPlan(loss.start + _LINE_FAILS_AFTER - 1, loss.start + _KILL_AFTER - 1, loss.stop + _HEAL_AFTER)


def playing_time_s(readings: Sequence[Reading]) -> float:
    """How long the readings take without delays."""
    return sum(reading.pace_s for reading in readings)
