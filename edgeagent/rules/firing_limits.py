"""Firing limits: whether a rule that matched fires for this source now (contract section 11: `throttle`, `rearm`).

This is decided when an event is accepted, before its trigger is stored, and more events arrive until it is stored. So a
firing is a step that may be taken back; then the rule's state for that source is as it was before. A step is over when
it is stored or taken back. An event that did not fire because of a step that was taken back must be decided again
(`FiringAnswer.because`).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

import msgspec

from edgeagent.common.elapsed import Instant, elapsed
from edgeagent.rules.firings import Firing, Firings
from edgeagent.rules.ruleset import Rule


class FiringVerdict(StrEnum):
    """Whether a rule fires, and if not, which of its keys prevents it."""

    FIRES = "fires"
    THROTTLED = "throttled"
    DISARMED = "disarmed"


class FiringStep:
    """What a rule does for a source: it fires (`firing`), or is armed (None). It becomes `stored` or `void` later."""

    __slots__ = ("firing", "rule", "source", "stored", "void")

    def __init__(self, rule: str, source: str, firing: Firing | None) -> None:
        self.rule = rule
        self.source = source
        self.firing = firing
        self.stored = False
        self.void = False


class FiringAnswer(NamedTuple):
    """Whether one rule fires for one event.

    `because`: the step because of which it does not fire, if that is not over.
    """

    verdict: FiringVerdict
    because: FiringStep | None = None


class _Standing(NamedTuple):
    """A rule's state for a source: its last firing, and the step that made it, if that is not over."""

    firing: Firing | None
    step: FiringStep | None


class FiringLimits:
    """The state of each rule for each source, by its last firing: `throttle`, `rearm` and `coalesce` depend on it.

    It owns the stored firings, in the order in which they were stored, and the steps that are not over yet. It must
    never count a step as stored before `stored` is called, and a step that is taken back leaves no trace.
    """

    def __init__(self, known: Iterable[Firing] = ()) -> None:
        """`known`: the firings that were stored before."""
        self._stored = Firings(known)
        self._open: dict[tuple[str, str], dict[FiringStep, None]] = {}  # in the order in which they began

    def ask(self, rule: Rule, source: str, now: Instant) -> FiringAnswer:
        """Whether a rule that matched an event of this source fires now."""
        firing, step = self._standing(rule.name, source)
        verdict = _verdict(rule, firing, now) if firing is not None else FiringVerdict.FIRES
        return FiringAnswer(verdict, step if verdict is not FiringVerdict.FIRES else None)

    def waits(self, rule: Rule, source: str) -> bool:
        """Whether the rule fires for this source only after its `rearm` filters have held."""
        firing, _ = self._standing(rule.name, source)
        return rule.rearm is not None and firing is not None and not firing.armed

    def newest(self, rule: str, source: str) -> Firing | None:
        """The last stored trigger of the rule for this source, None if none is known.

        A rule that did not record its firings for a while, before a reload, may have made later ones.
        """
        return self._stored.get(rule, source)

    def fire(self, firing: Firing) -> FiringStep:
        """Begin a step: the rule fires."""
        return self._begin(FiringStep(firing.rule, firing.source, firing))

    def arm(self, rule: str, source: str) -> FiringStep | None:
        """Begin a step: the rule's `rearm` filters held. None if there is nothing to arm."""
        firing, _ = self._standing(rule, source)
        return self._begin(FiringStep(rule, source, None)) if firing is not None and not firing.armed else None

    def stored(self, step: FiringStep) -> None:
        """Note that a step is stored."""
        self._end(step)
        step.stored = True
        if step.firing is not None:
            self._stored.fired(step.firing)
        else:
            self._stored.armed(step.rule, step.source)

    def take_back(self, step: FiringStep) -> None:
        """Undo a step that was not stored; harmless if repeated, or if the step was stored."""
        if not step.stored and not step.void:
            self._end(step)
            step.void = True

    def _begin(self, step: FiringStep) -> FiringStep:
        self._open.setdefault((step.rule, step.source), {})[step] = None
        return step

    def _end(self, step: FiringStep) -> None:
        key = step.rule, step.source
        steps = self._open[key]
        del steps[step]
        if not steps:
            del self._open[key]

    def _standing(self, rule: str, source: str) -> _Standing:
        """The state after all open steps, of which there are few: only a rule that is not armed is armed."""
        armed = False
        for step in reversed(self._open.get((rule, source), {})):
            if step.firing is not None:
                return _Standing(_as(step.firing, armed), step)
            armed = True
        firing = self._stored.get(rule, source)
        return _Standing(_as(firing, armed) if firing is not None else None, None)


def _as(firing: Firing, armed: bool) -> Firing:
    return msgspec.structs.replace(firing, armed=True) if armed else firing


def _verdict(rule: Rule, firing: Firing, now: Instant) -> FiringVerdict:
    if rule.throttle_s:
        since = elapsed(firing.at, now)
        if since.certain and since.s < rule.throttle_s:
            return FiringVerdict.THROTTLED
    if rule.rearm is not None and not firing.armed:
        return FiringVerdict.DISARMED
    return FiringVerdict.FIRES
