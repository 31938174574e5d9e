"""Permits of rules with a `rate`: how many of their triggers may go now, and which were published before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgeagent.agent.clock import Moment
from edgeagent.agent.inflight import FlightPhase, TriggerInFlight
from edgeagent.common.elapsed import Instant
from edgeagent.outbox.records import PARKED, Leased
from edgeagent.rules.rate import Allowance, PublishedTriggers, Resumed, SlidingWindow, in_this_boot
from edgeagent.rules.trigger import correlation_id


class Permits:
    """Counts first publications of each limited rule, and what is in flight for one.

    Owns the windows, and which triggers have a permit that they have not used. A permit of a trigger that ends unsent
    is free again; one that waits for its upload keeps its own. Promises that whatever was published is given to `keep`
    at once, so that no release is on disk before it, and that a trigger of which that is known needs no second permit
    after a restart.
    """

    def __init__(
        self,
        known: PublishedTriggers | None,
        now: Instant,
        keep: Callable[[PublishedTriggers], None],
        uploading_of: Callable[[str], int] | None = None,
    ) -> None:
        """`known`: as kept by an earlier process. `keep`: takes all publications whenever they change.

        `uploading_of`: how many triggers of a rule have a permit, and wait for their upload; None: no data is large.
        """
        self._boot = now.boot
        self._keep = keep
        self._uploading_of = uploading_of
        by_rule = in_this_boot(known, now) if known is not None else {}
        self._windows = {rule: SlidingWindow(published) for rule, published in by_rule.items()}
        self._resumed = {rule: Resumed(published) for rule, published in by_rule.items()}
        self._again: set[int] = set()  # tokens of those in flight that had a permit from an earlier process
        self._given: dict[str, list[TriggerInFlight]] = {}

    def free(self, rule: str, allowed: Allowance, moment: Moment) -> int:
        """How many triggers of this rule may go now."""
        return self._window(rule).free(allowed, self._unused(rule), moment.uptime_ms)

    def expects(self, rule: str, allowed: Allowance, moment: Moment) -> bool:
        """Whether triggers may be pending that had a permit before the start, and were not taken up since."""
        resumed = self._resumed.get(rule)
        if resumed is None:
            return False
        if resumed.expect(allowed, moment.uptime_ms):
            return True
        del self._resumed[rule]
        return False

    def had(self, leased: Leased, allowed: Allowance, moment: Moment) -> bool:
        """Whether a trigger had a permit before the start, which still counts; so it needs no other one."""
        return self.expects(leased.rule, allowed, moment) and _id_of(leased) in self._resumed[leased.rule]

    def give(self, entry: TriggerInFlight) -> None:
        """Note that a trigger was taken up to be published."""
        self._given.setdefault(entry.item.rule, []).append(entry)

    def resume(self, entry: TriggerInFlight) -> None:
        """Note that a trigger was taken up which had a permit before the start."""
        self._again.add(entry.token)
        if (resumed := self._resumed.get(entry.item.rule)) is not None:
            resumed.went(_id_of(entry.item))

    def keep_for(self, entry: TriggerInFlight, allowed: Allowance, moment: Moment) -> None:
        """Note that a trigger was taken up which waited for its upload, with its permit."""
        if self.had(entry.item, allowed, moment):
            self.resume(entry)
        else:
            self.give(entry)

    def published(self, entry: TriggerInFlight, allowed: Allowance, moment: Moment) -> None:
        """Note that a trigger of a limited rule is being published for the first time by this process.

        A parked one was published before, and so was one that had its permit before the start.
        """
        if entry.item.log == PARKED:
            return
        if entry.token in self._again:
            self._again.remove(entry.token)
            return
        rule = entry.item.rule
        if entry in (given := self._given.get(rule, [])):
            given.remove(entry)
        self._window(rule).published(allowed, _id_of(entry.item), moment.uptime_ms)
        by_rule = {name: window.known for name, window in self._windows.items()}
        self._keep(PublishedTriggers(moment.now_ms, moment.uptime_ms, self._boot, by_rule))

    def wait_s(self, rule: str, allowed: Allowance, ahead: int, moment: Moment) -> float:
        """How long a trigger waits that has `ahead` others before it."""
        return self._window(rule).wait_ms(allowed, self._unused(rule), ahead, moment.uptime_ms) / 1000

    def _window(self, rule: str) -> SlidingWindow:
        return self._windows.setdefault(rule, SlidingWindow())

    def _unused(self, rule: str) -> int:
        """How many have a permit and may still use it."""
        uploading = self._uploading_of(rule) if self._uploading_of is not None else 0
        given = self._given.get(rule)
        if not given:
            return uploading
        given[:] = [entry for entry in given if entry.phase is not FlightPhase.ENDING]
        return len(given) + uploading


def _id_of(leased: Leased) -> bytes:
    record = leased.record
    return bytes.fromhex(correlation_id(record.agent, record.source, record.id, leased.rule))


def shown(allowed: Allowance) -> dict[str, Any]:
    """A rate as the statistics show it."""
    return {"count": allowed.triggers, "time_s": allowed.time_ms / 1000}
