"""Takes up triggers: those with large data wait for their upload first (`agent.uploading`), all others go into flight.

It stands before `Triggers` wherever a trigger is taken up, so behind the rates and windows of rules: what waits here
has the permit of its rule already.
"""

from __future__ import annotations

from edgeagent.agent.clock import Clock, Moment
from edgeagent.agent.inflight import TriggerInFlight
from edgeagent.agent.lifetime import Lifetime
from edgeagent.agent.permits import Permits
from edgeagent.agent.successors import Successors
from edgeagent.agent.triggers import Triggers
from edgeagent.agent.uploading import Uploading
from edgeagent.outbox.records import PARKED, Leased
from edgeagent.rules.ruleset import Rule, RuleSet


class UploadedFirst:
    """Owns nothing. Promises that a trigger with large data is in flight only when its upload has ended, or if it ends.

    A parked trigger was sent before, so its data is in the store. With `coalesce`, one whose upload has begun goes,
    although a newer one may stand for it: otherwise none would go while events come faster than uploads end.
    """

    def __init__(
        self,
        triggers: Triggers,
        uploading: Uploading,
        permits: Permits,
        rules: RuleSet,
        lifetime: Lifetime,
        successors: Successors,
        clock: Clock,
    ) -> None:
        self._triggers = triggers
        self._uploading = uploading
        self._permits = permits
        self._rules = rules
        self._lifetime = lifetime
        self._successors = successors
        self._clock = clock

    @property
    def is_full(self) -> bool:
        """Whether no more should be taken up."""
        return self._uploading.is_full

    @property
    def taken(self) -> int:
        """How many were ever taken up to wait for their upload."""
        return self._uploading.taken

    @property
    def recheck_at(self) -> float | None:
        """When to call `take_uploaded` again, even if nothing happens; None while nothing waits."""
        return self._uploading.recheck_at

    def take_up(self, leased: Leased, rule: Rule | None) -> TriggerInFlight | None:
        """See `TakesUp`."""
        if not self._uploading.concerns(leased, rule):
            return self._triggers.take_up(leased, rule)
        if leased.log == PARKED or self._is_over(leased, rule, self._clock.moment()):
            self._uploading.join(leased)
        elif self._uploading.take(leased, rule):
            return None
        return self._fly(leased, rule)

    def is_lane_free(self, lane: str) -> bool:
        """See `TakesUp`."""
        return self._triggers.is_lane_free(lane) and not self._uploading.has_lane(lane)

    def seqs_of(self, log: str) -> frozenset[int]:
        """See `TakesUp`."""
        return self._triggers.seqs_of(log) | self._uploading.seqs_of(log)

    def take_uploaded(self, most: int, now: float, moment: Moment) -> None:
        """Take up, at most `most`, those whose data is in the store now, and those that end without it."""
        self._uploading.recheck(now, lambda leased: self._is_over(leased, self._rules.get(leased.rule), moment))
        for leased in self._uploading.ready(most):
            rule = self._rules.get(leased.rule)
            entry = self._fly(leased, rule)
            if entry is None:
                continue
            if rule is not None and rule.rate is not None:
                self._permits.keep_for(entry, rule.rate, moment)
            if refusal := self._uploading.refusal(leased):
                self._triggers.give_up(entry, refusal, 0)

    def _fly(self, leased: Leased, rule: Rule | None) -> TriggerInFlight | None:
        entry = self._triggers.take_up(leased, rule)
        if entry is None:  # the same trigger twice, of which this one is settled
            self._uploading.left(leased, for_good=True)
        return entry

    def _is_over(self, leased: Leased, rule: Rule | None, moment: Moment) -> bool:
        """Whether it ends without being sent: so nobody needs its data."""
        if rule is None or self._lifetime.left_s(leased, rule, moment) <= 0:
            return True
        return rule.coalesce and not self._uploading.is_under_way(leased) and bool(self._successors.of(leased))
