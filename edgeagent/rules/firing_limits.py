"""The guard says whether a rule that matched fires for this source now (contract section 11: `throttle`, `rearm`).

It decides when an event is accepted, which is before its trigger is stored, and events go on coming until it is. So a
firing is a step that may be taken back: then the rule stands for that source as it did before. A step is over when it
is stored or taken back; who was refused because of a step that is taken back must not stay refused (`Answer.because`).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

import msgspec

from edgeagent.common.elapsed import Instant, elapsed
from edgeagent.rules.firings import Firing, Firings
from edgeagent.rules.ruleset import Rule


class Verdict(StrEnum):
    """What the guard says."""

    FIRES = "fires"
    THROTTLED = "throttled"
    DISARMED = "disarmed"


class Step:
    """What a rule does for a source: it fires (`firing`), or is armed (None). `stored`, or `void`, or neither yet."""

    __slots__ = ("firing", "rule", "source", "stored", "void")

    def __init__(self, rule: str, source: str, firing: Firing | None) -> None:
        self.rule = rule
        self.source = source
        self.firing = firing
        self.stored = False
        self.void = False


class Answer(NamedTuple):
    """What the guard says of one rule and one event.

    `because`: the step after which it does not fire, if that is not over.
    """

    verdict: Verdict
    because: Step | None = None


class _Standing(NamedTuple):
    """Where a rule stands for a source: its last firing, and the step that it was, if that is not over."""

    firing: Firing | None
    step: Step | None


class Guard:
    """See the module. What is stored counts in the order in which it was stored; on top of it what is not over yet."""

    def __init__(self, known: Iterable[Firing] = ()) -> None:
        """`known`: what was stored before."""
        self._stored = Firings(known)
        self._open: dict[tuple[str, str], dict[Step, None]] = {}  # in the order in which they were taken

    def ask(self, rule: Rule, source: str, now: Instant) -> Answer:
        """Whether a rule that matched an event of this source fires."""
        firing, step = self._standing(rule.name, source)
        verdict = _verdict(rule, firing, now) if firing is not None else Verdict.FIRES
        return Answer(verdict, step if verdict is not Verdict.FIRES else None)

    def waits(self, rule: Rule, source: str) -> bool:
        """Whether the rule fires for this source only after its `rearm` filters held."""
        firing, _ = self._standing(rule.name, source)
        return rule.rearm is not None and firing is not None and not firing.armed

    def newest(self, rule: str, source: str) -> Firing | None:
        """The last trigger that the rule made for this source and that is stored, None if none is known.

        A rule that did not remember its firings for a while, before a reload, may have made later ones.
        """
        return self._stored.get(rule, source)

    def fire(self, firing: Firing) -> Step:
        """The rule fires."""
        return self._begin(Step(firing.rule, firing.source, firing))

    def arm(self, rule: str, source: str) -> Step | None:
        """The rule's `rearm` filters held; None if there is nothing to arm."""
        firing, _ = self._standing(rule, source)
        return self._begin(Step(rule, source, None)) if firing is not None and not firing.armed else None

    def stored(self, step: Step) -> None:
        """A step is stored."""
        self._end(step)
        step.stored = True
        if step.firing is not None:
            self._stored.fired(step.firing)
        else:
            self._stored.armed(step.rule, step.source)

    def take_back(self, step: Step) -> None:
        """A step was not stored; again is harmless, also after it was stored."""
        if not step.stored and not step.void:
            self._end(step)
            step.void = True

    def _begin(self, step: Step) -> Step:
        self._open.setdefault((step.rule, step.source), {})[step] = None
        return step

    def _end(self, step: Step) -> None:
        key = step.rule, step.source
        steps = self._open[key]
        del steps[step]
        if not steps:
            del self._open[key]

    def _standing(self, rule: str, source: str) -> _Standing:
        """A few steps at most are looked at: only a rule that is not armed is armed."""
        armed = False
        for step in reversed(self._open.get((rule, source), {})):
            if step.firing is not None:
                return _Standing(_as(step.firing, armed), step)
            armed = True
        firing = self._stored.get(rule, source)
        return _Standing(_as(firing, armed) if firing is not None else None, None)


def _as(firing: Firing, armed: bool) -> Firing:
    return msgspec.structs.replace(firing, armed=True) if armed else firing


def _verdict(rule: Rule, firing: Firing, now: Instant) -> Verdict:
    if rule.throttle_s:
        since = elapsed(firing.at, now)
        if since.certain and since.s < rule.throttle_s:
            return Verdict.THROTTLED
    if rule.rearm is not None and not firing.armed:
        return Verdict.DISARMED
    return Verdict.FIRES
