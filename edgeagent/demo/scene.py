"""The state of the demo at a moment, and what has happened so far: filled by the play, shown by a display."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from edgeagent.demo.device import DeviceStats
from edgeagent.demo.series import Reading
from edgeagent.demo.tally import DemoTally
from edgeagent.ports.account import Account, EventCounts
from edgeagent.wire.messages import Report

SAMPLE_S = 0.1


class Sample(NamedTuple):
    """One moment of the picture, `SAMPLE_S` long. `flow_l_s`: the lowest reading, None while none is taken.

    `waiting`: promised triggers without a workflow yet.
    """

    flow_l_s: float | None
    is_loss: bool
    waiting: int
    uplink_works: bool
    agent_runs: bool


class News(NamedTuple):
    """Something that happened, seconds after the start."""

    at_s: float
    text: str


class Scene:
    """Owns what is shown: readings, samples and news. `stats`: the agent's own, as of its last answer."""

    def __init__(self, readings: Sequence[Reading], planned_s: float, tally: DemoTally) -> None:
        self.readings = readings
        self.planned_s = planned_s
        self.tally = tally
        self.elapsed_s = 0.0
        self.current: Reading | None = None
        self.line_works = True
        self.agent_runs = True
        self.stats: DeviceStats | None = None
        self.reports: Sequence[Report] = ()
        self.samples: list[Sample] = []
        self.news: list[News] = []
        self._sampled = 0

    @property
    def uplink(self) -> str:
        """The uplink's state in a word; the line may work again before the agent has tried it."""
        if not self.line_works:
            return "CUT"
        if self.stats is None:
            return "STARTING"
        return "CONNECTED" if self.agent_runs and self.stats.uplink.connected else "RECONNECTING"

    @property
    def agent(self) -> str:
        """The agent's state in a word."""
        return "RUNNING" if self.agent_runs else "KILLED"

    def sample(self) -> None:
        """Record what has come since the last sample as one more moment."""
        played = self.readings[self._sampled : self.tally.events]
        self._sampled = self.tally.events
        if not played and self.agent_runs:  # between two readings the last one holds
            played = self.readings[max(0, self._sampled - 1) : self._sampled]
        self.samples.append(
            Sample(
                min((reading.flow_l_s for reading in played), default=None),
                any(reading.is_loss for reading in played),
                self.tally.waiting,
                self.uplink == "CONNECTED",
                self.agent_runs,
            )
        )


class Display(Protocol):
    """Shows a scene to a person. Its methods must not block."""

    def tell(self, scene: Scene, news: News) -> None:
        """Show something that happened."""

    def refresh(self, scene: Scene) -> None:
        """Show the present state; called every `SAMPLE_S`."""

    def close(self, scene: Scene) -> None:
        """Stop: the play is over, or was broken off."""


def account_lines(events: EventCounts, account: Account) -> tuple[str, str]:
    """The account of promise P2 as two sums, in events and in triggers; rare terms are left out if they are 0."""
    rare_events = ("duplicate", "throttled", "refused", "conflict")
    rare_ends = ("dead", "discarded", "expired", "merged", "damaged")
    return (
        f"{events.received:,} events = {events.filtered:,} filtered + {events.stored:,} stored"
        + _rare({name: getattr(events, name) for name in rare_events}),
        f"{account.accepted:,} triggers = {account.settled:,} settled + {account.pending:,} pending"
        + _rare({name: getattr(account, name) for name in rare_ends}),
    )


def _rare(counts: dict[str, int]) -> str:
    return "".join(f" + {count:,} {name}" for name, count in counts.items() if count)


def summary(scene: Scene, problems: Sequence[str]) -> list[str]:
    """The summary at the end, line by line."""
    tally, stats = scene.tally, scene.stats
    rows = [
        ("events in", tally.events, "readings of the sensor by MQTT, each acknowledged"),
        ("filtered", tally.filtered, "no loss: no rule wants them"),
        ("workflows triggered", len(tally.promised), "one for each hour of loss"),
        ("workflows succeeded", len(tally.succeeded & tally.promised), "seen on the broker, and reported by the agent"),
        ("sent again", tally.sent_again, "triggers whose answer was lost in the cut"),
        ("lost", tally.lost, "acknowledged, and not succeeded"),
        ("doubled", tally.doubled, "started twice"),
    ]
    lines = [f"{name:<20} {count:>6,}   {meaning}" for name, count, meaning in rows]
    if stats is not None:
        events, triggers = account_lines(stats.account.events, stats.account.triggers)
        lines.append(f"{'account':<20} {events};")
        lines.append(f"{'':<20} {triggers}: {'balanced' if stats.account.balanced else 'NOT BALANCED'}")
    lines += [f"FAILED: {problem}" for problem in problems]
    if not problems:
        lines.append("Nothing was lost, and nothing was done twice.")
    return lines
