"""Applies the firing limits to one event: which of the matched rules fire, and which rules it arms. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgeagent.common.elapsed import Instant
from edgeagent.errors import MessageError
from edgeagent.events.event import Draft, envelope
from edgeagent.rules.firing_limits import FiringLimits, FiringStep, FiringVerdict
from edgeagent.rules.firings import Firing
from edgeagent.rules.ruleset import Rule, RuleSet


class FiringDecision(msgspec.Struct, frozen=True):
    """The decision about the rules that matched an event: `rules` fire, `swallowed` do not.

    `high`: whether one of the rules that fire or are armed has that priority. `armed`: the rules that the event arms.
    `steps`: the steps of `FiringLimits` for the event; they are stored with it, or taken back. `because`: the undecided
    steps of other events because of which rules were swallowed. `unarmed`: the rules for which it cannot be decided
    whether the event arms them, which counts as no, and why.
    """

    rules: tuple[str, ...]
    high: bool
    armed: tuple[str, ...]
    swallowed: Sequence[tuple[str, FiringVerdict]]
    steps: Sequence[FiringStep]
    because: Sequence[FiringStep]
    unarmed: Sequence[tuple[str, MessageError]]


def decide(limits: FiringLimits, rules: RuleSet, draft: Draft, matched: Sequence[str], now: Instant) -> FiringDecision:
    """Decide for the rules that matched a complete event; from then on `limits` has its steps."""
    unarmed: list[tuple[str, MessageError]] = []
    waiting = [rule for rule in rules.rearming(draft.source) if limits.waits(rule, draft.source)]
    armed = [rule for rule in waiting if _arms(rule, draft, unarmed)] if waiting else []
    kept: list[str] = []
    steps: list[FiringStep] = []
    swallowed: list[tuple[str, FiringVerdict]] = []
    because: list[FiringStep] = []
    for name in matched:
        rule = rules.get(name)
        if rule is not None and rule.remembers:
            answer = limits.ask(rule, draft.source, now)
            if answer.verdict is not FiringVerdict.FIRES:
                swallowed.append((name, answer.verdict))
                because += [answer.because] if answer.because is not None else []
                continue
            steps.append(limits.fire(Firing(name, draft.source, draft.id, *now)))
        kept.append(name)
    for rule in armed:
        step = limits.arm(rule.name, draft.source)
        steps += [step] if step is not None else []
    high = any(rule.high for rule in (*map(rules.get, kept), *armed) if rule is not None)
    return FiringDecision(tuple(kept), high, tuple(rule.name for rule in armed), swallowed, steps, because, unarmed)


def _arms(rule: Rule, draft: Draft, unarmed: list[tuple[str, MessageError]]) -> bool:
    """Whether the event meets the filters after which a rule fires again; an undecidable rule goes to `unarmed`."""
    try:
        return rule.rearm is not None and rule.rearm(envelope(draft))
    except MessageError as exc:
        if rule.wants_type(draft.type):  # events of another type need not have what the filters use
            unarmed.append((rule.name, exc))
        return False
