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

from edgeagent.core.elapsed import Instant, elapsed
from edgeagent.core.firings import Firing, Firings
from edgeagent.core.rules import Rule


class Verdict(StrEnum):
    """What the guard says."""

    FIRES = "fires"
    THROTTLED = "throttled"
    DISARMED = "disarmed"


class Step:
    """One change of what is known of a rule and a source, from `before` to `now`. `stored`, or `void`, or neither yet.

    `before` None: nothing was known.
    """

    __slots__ = ("before", "now", "stored", "void")

    def __init__(self, before: Step | None, now: Firing) -> None:
        self.before = before
        self.now = now
        self.stored = False
        self.void = False


class Answer(NamedTuple):
    """What the guard says of one rule and one event.

    `because`: the step by which it does not fire, if that is not over.
    """

    verdict: Verdict
    because: Step | None = None


_FIRES = Answer(Verdict.FIRES)


class Guard:
    """See the module."""

    def __init__(self, known: Iterable[Firing] = ()) -> None:
        """`known`: what was stored before."""
        self._firings = Firings(known)
        self._open: dict[tuple[str, str], Step] = {}  # the last step of a rule and a source, while it is not over

    def ask(self, rule: Rule, source: str, now: Instant) -> Answer:
        """Whether a rule that matched an event of this source fires."""
        firing = self._firings.get(rule.name, source)
        if firing is None:
            return _FIRES
        verdict = _verdict(rule, firing, now)
        return _FIRES if verdict is Verdict.FIRES else Answer(verdict, self._open.get((rule.name, source)))

    def waits(self, rule: Rule, source: str) -> bool:
        """Whether the rule fires for this source only after its `rearm` filters held."""
        firing = self._firings.get(rule.name, source)
        return rule.rearm is not None and firing is not None and not firing.armed

    def newest(self, rule: str, source: str) -> Firing | None:
        """The last trigger that the rule made for this source and that is stored, None if none is known.

        A rule that did not remember its firings for a while, before a reload, may have made later ones.
        """
        firing = self._firings.get(rule, source)
        step = self._open.get((rule, source))
        while step is not None and not step.stored:
            step = step.before
            firing = step.now if step is not None else None
        return firing

    def fire(self, firing: Firing) -> Step:
        """The rule fires."""
        return self._step(firing)

    def arm(self, rule: str, source: str) -> Step | None:
        """The rule's `rearm` filters held; None if there is nothing to arm."""
        firing = self._firings.get(rule, source)
        return self._step(msgspec.structs.replace(firing, armed=True)) if firing is not None else None

    def stored(self, step: Step) -> None:
        """A step is stored."""
        if step.now.armed:
            base = _standing(step.before)
            step.void = base is None  # the firing after which it armed the rule is none
            step.now = msgspec.structs.replace(base.now, armed=True) if base is not None else step.now
        step.stored, step.before = not step.void, None
        self._look(step)

    def take_back(self, step: Step) -> None:
        """A step was not stored; again is harmless."""
        step.void = not step.stored
        self._look(step)

    def _step(self, firing: Firing) -> Step:
        key = firing.rule, firing.source
        before = self._open.get(key)
        if before is None and (known := self._firings.get(*key)) is not None:
            before = Step(None, known)
            before.stored = True
        step = self._open[key] = Step(before, firing)
        self._firings.fired(firing)
        return step

    def _look(self, step: Step) -> None:
        """See what is known now that a step is over."""
        key = step.now.rule, step.now.source
        last = _standing(self._open.get(key))
        if last is None:
            if self._open.pop(key, None) is not None:
                self._firings.forget(*key)
        elif last.stored:
            del self._open[key]
            self._firings.fired(last.now)
        else:
            self._open[key] = last
            self._firings.fired(last.now)


def _standing(step: Step | None) -> Step | None:
    """The last step up to this one that was not taken back."""
    while step is not None and step.void:
        step = step.before
    return step


def _verdict(rule: Rule, firing: Firing, now: Instant) -> Verdict:
    if rule.throttle_s:
        since = elapsed(firing.at, now)
        if since.certain and since.s < rule.throttle_s:
            return Verdict.THROTTLED
    if rule.rearm is not None and not firing.armed:
        return Verdict.DISARMED
    return Verdict.FIRES
