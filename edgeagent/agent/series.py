"""How much came and went, over the last hour and the last day: sums and levels by time, in memory only."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import msgspec

HOUR: Final = ("hour", 30, 120)  # name, seconds of a step, number of steps
DAY: Final = ("day", 900, 96)


class FlowSample(msgspec.Struct, frozen=True):
    """Figures at one time. `events`, `triggers`: received and published since the start. `pending`: waiting now."""

    events: int
    triggers: int
    pending: int


class Step(msgspec.Struct, frozen=True):
    """What a step saw: how many events came in it, how many triggers went out, how many waited at its end."""

    slot: int
    events: int
    triggers: int
    pending: int


class Span:
    """Owns the steps of one span of time, each of `step_s`, the latest `count` of them."""

    def __init__(self, step_s: int, count: int) -> None:
        self.step_s = step_s
        self.count = count
        self._steps: deque[Step] = deque(maxlen=count)

    def add(self, at_s: float, events: int, triggers: int, pending: int) -> None:
        """Count what came and went until now, in the step of this time."""
        slot = int(at_s // self.step_s)
        if self._steps and self._steps[-1].slot >= slot:
            last = self._steps.pop()
            self._steps.append(Step(last.slot, last.events + events, last.triggers + triggers, pending))
        else:
            self._steps.append(Step(slot, events, triggers, pending))

    def shown(self, at_s: float) -> dict[str, Any]:
        """The steps up to this time, oldest first, None where nothing was seen; ready for JSON."""
        last = int(at_s // self.step_s)
        seen = {step.slot: step for step in self._steps}
        steps = [seen.get(slot) for slot in range(last - self.count + 1, last + 1)]
        return {
            "step_s": self.step_s,
            "events": [step and step.events for step in steps],
            "triggers": [step and step.triggers for step in steps],
            "pending": [step and step.pending for step in steps],
        }


class Series:
    """Owns the spans. Times are seconds of one clock that does not stand still while the machine sleeps.

    Bounded by the number of steps. Counters that went back are taken for new ones, as after a start.
    """

    def __init__(self) -> None:
        self._spans = {name: Span(step_s, count) for name, step_s, count in (HOUR, DAY)}
        self._last: FlowSample | None = None

    def sample(self, at_s: float, sample: FlowSample) -> None:
        """Note the present figures. The first sample only says from where to count."""
        last, self._last = self._last, sample
        if last is None:
            last = sample
        events, triggers = max(0, sample.events - last.events), max(0, sample.triggers - last.triggers)
        for span in self._spans.values():
            span.add(at_s, events, triggers, sample.pending)

    def shown(self, at_s: float) -> dict[str, Any]:
        """All spans by name, ready for JSON: their last step holds this time."""
        return {name: span.shown(at_s) for name, span in self._spans.items()}
