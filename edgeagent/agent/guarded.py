"""Rules whose firing depends on the one before, asked as events are accepted (contract section 11).

`rules.firing_limits` decides; here it meets the rules, the clock and the counters. What it decides about an event is
taken back when the event is not stored.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from edgeagent.agent.clock import Moment
from edgeagent.agent.counts import RuleCounts
from edgeagent.common.elapsed import Instant
from edgeagent.errors import MessageError
from edgeagent.events.event import Draft, envelope
from edgeagent.rules.firing_limits import Guard, Step, Verdict
from edgeagent.rules.firings import Firing
from edgeagent.rules.ruleset import Rule, RuleSet

_log = logging.getLogger(__name__)


class Decision(NamedTuple):
    """What became of the rules that matched an event: `rules` fire, `swallowed` do not.

    `armed`: the rules that it arms. `high`: whether one of those that fire or are armed has that priority. `steps`: to
    be stored or taken back with the event. `because`: steps of others by which rules were swallowed.
    """

    rules: tuple[str, ...]
    high: bool
    armed: tuple[str, ...]
    swallowed: Sequence[tuple[str, Verdict]]
    steps: Sequence[Step]
    because: Sequence[Step]


class Guarded:
    """See the module."""

    def __init__(
        self, rules: RuleSet, rule_counts: dict[str, RuleCounts], boot: bytes, firings: Iterable[Firing]
    ) -> None:
        """`firings`: what the outbox knows of them at the start."""
        self.guard = Guard(firings)
        self._rules = rules
        self._rule_counts = rule_counts
        self._boot = boot

    def decide(self, draft: Draft, matched: Sequence[str], moment: Moment) -> Decision:
        """Ask for the rules that matched a complete event, and see which rules it arms."""
        at = Instant(moment.now_ms, moment.uptime_ms, self._boot)
        waiting = [rule for rule in self._rules.rearming(draft.source) if self.guard.waits(rule, draft.source)]
        armed = [rule for rule in waiting if self._arms(rule, draft)] if waiting else []
        kept: list[str] = []
        steps: list[Step] = []
        swallowed: list[tuple[str, Verdict]] = []
        because: list[Step] = []
        for name in matched:
            rule = self._rules.get(name)
            if rule is not None and rule.remembers:
                answer = self.guard.ask(rule, draft.source, at)
                if answer.verdict is not Verdict.FIRES:
                    swallowed.append((name, answer.verdict))
                    because += [answer.because] if answer.because is not None else []
                    continue
                steps.append(self.guard.fire(Firing(name, draft.source, draft.id, *at)))
            kept.append(name)
        for rule in armed:
            step = self.guard.arm(rule.name, draft.source)
            steps += [step] if step is not None else []
        high = any(rule.high for rule in (*map(self._rules.get, kept), *armed) if rule is not None)
        return Decision(tuple(kept), high, tuple(rule.name for rule in armed), swallowed, steps, because)

    def stored(self, decision: Decision) -> None:
        """The event is stored."""
        for step in decision.steps:
            self.guard.stored(step)

    def count(self, decision: Decision) -> None:
        """Count what was swallowed, once it is acknowledged."""
        for name, verdict in decision.swallowed:
            counts = self._rule_counts[name]
            if verdict is Verdict.THROTTLED:
                counts.throttled += 1
            else:
                counts.disarmed += 1

    def take_back(self, decision: Decision) -> None:
        """The event is not stored; again is harmless."""
        for step in reversed(decision.steps):
            self.guard.take_back(step)

    def _arms(self, rule: Rule, draft: Draft) -> bool:
        """Whether the event meets the filters after which a rule fires again."""
        try:
            return rule.rearm is not None and rule.rearm(envelope(draft))
        except MessageError as exc:
            if rule.wants_type(draft.type):  # of another kind of event nobody expects that it has what they look for
                self._rule_counts[rule.name].errors += 1
                _log.warning(
                    "rule %s cannot tell whether event %s of %s rearms it, taken as no: %s",
                    rule.name,
                    draft.id,
                    draft.source,
                    exc,
                    extra={
                        "event": "rule_error",
                        "foreign": True,
                        "rule": rule.name,
                        "source": draft.source,
                        "event_id": draft.id,
                    },
                )
            return False
