"""Permits of rules with a `rate`: how many of their triggers may go now, and when they were published before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgeagent.agent.clock import Moment
from edgeagent.agent.inflight import FlightPhase, TriggerInFlight
from edgeagent.common.elapsed import Instant
from edgeagent.outbox.records import PARKED
from edgeagent.rules.rate import Allowance, PublishedTimes, SlidingWindow, in_this_boot


class Permits:
    """Counts first publications of each limited rule, and what is in flight for one.

    Owns the windows, and which triggers have a permit that they have not used. A permit of a trigger that ends unsent
    is free again. Promises that whatever was published is given to `keep` at once, so that no release is on disk before
    it.
    """

    def __init__(self, known: PublishedTimes | None, now: Instant, keep: Callable[[PublishedTimes], None]) -> None:
        """`known`: as kept by an earlier process. `keep`: takes all times whenever they change."""
        self._boot = now.boot
        self._keep = keep
        times = in_this_boot(known, now) if known is not None else {}
        self._windows = {rule: SlidingWindow(published) for rule, published in times.items()}
        self._given: dict[str, list[TriggerInFlight]] = {}

    def free(self, rule: str, allowed: Allowance, moment: Moment) -> int:
        """How many triggers of this rule may go now."""
        return self._window(rule).free(allowed, self._unused(rule), moment.uptime_ms)

    def give(self, entry: TriggerInFlight) -> None:
        """Note that a trigger was taken up to be published."""
        self._given.setdefault(entry.item.rule, []).append(entry)

    def published(self, entry: TriggerInFlight, allowed: Allowance, moment: Moment) -> None:
        """Note that a trigger of a limited rule is being published for the first time. A parked one was before."""
        if entry.item.log == PARKED:
            return
        rule = entry.item.rule
        if entry in (given := self._given.get(rule, [])):
            given.remove(entry)
        self._window(rule).published(allowed, moment.uptime_ms)
        times = {name: window.times_ms for name, window in self._windows.items()}
        self._keep(PublishedTimes(moment.now_ms, moment.uptime_ms, self._boot, times))

    def wait_s(self, rule: str, allowed: Allowance, ahead: int, moment: Moment) -> float:
        """How long a trigger waits that has `ahead` others before it."""
        return self._window(rule).wait_ms(allowed, self._unused(rule), ahead, moment.uptime_ms) / 1000

    def _window(self, rule: str) -> SlidingWindow:
        return self._windows.setdefault(rule, SlidingWindow())

    def _unused(self, rule: str) -> int:
        """How many have a permit and may still use it."""
        given = self._given.get(rule)
        if not given:
            return 0
        given[:] = [entry for entry in given if entry.phase is not FlightPhase.ENDING]
        return len(given)


def shown(allowed: Allowance) -> dict[str, Any]:
    """A rate as the statistics show it."""
    return {"count": allowed.triggers, "time_s": allowed.time_ms / 1000}
