"""Large data in windows: a closed window waits until the data of all its members is in the store. Without I/O.

An upload begins when its event joins the window. What the window's trigger carries of the member is the claim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from edgeagent.agent.inflight import lane_of
from edgeagent.agent.uploading import Uploading
from edgeagent.outbox.records import Leased
from edgeagent.rules.gathering import Closed
from edgeagent.rules.ruleset import Rule, RuleSet


class WindowUploads:
    """Owns the closed windows that wait for uploads.

    Promises that those of a rule with a strict order go on in the order in which they closed, and that all others wait
    for nobody else's data.
    """

    def __init__(self, uploading: Uploading, rules: RuleSet) -> None:
        self._uploading = uploading
        self._rules = rules
        self._closed: list[Closed[Leased]] = []

    @property
    def members(self) -> int:
        """How many triggers are in windows that wait."""
        return sum([len(closed.members) for closed in self._closed])

    def join(self, leased: Leased, rule: Rule) -> Leased:
        """Ask for the upload of an event that joins a window; returns the trigger with its claim."""
        self._uploading.take_member(leased, rule)
        return self.with_claim(leased)

    def with_claim(self, leased: Leased) -> Leased:
        """A member as its window's trigger carries it."""
        return self._uploading.member(leased)

    def wait(self, closed: Closed[Leased]) -> None:
        """A window has closed."""
        self._closed.append(closed)

    def ready(self, is_over: Callable[[Leased], bool]) -> list[Closed[Leased]]:
        """The windows that go on now, in order. `is_over`: whether a window with this first member will not be sent."""
        ready: list[Closed[Leased]] = []
        waiting: list[Closed[Leased]] = []
        lanes: set[str] = set()
        for closed in self._closed:
            rule, first = self._rules.get(closed.rule), closed.members[0]
            lane = lane_of(first, rule) if rule is not None else None
            waits = rule is not None and not is_over(first) and not all(map(self._uploading.has_ended, closed.members))
            if waits or lane in lanes:
                waiting.append(closed)
                lanes |= {lane} if lane is not None else set()
            else:
                ready.append(closed)
        self._closed = waiting
        return ready

    def refused(self, members: Sequence[Leased]) -> list[Leased]:
        """Those whose data can never be in the store; they leave the window."""
        refused = [leased for leased in members if self._uploading.refusal(leased)]
        self.left(refused, for_good=False)
        return refused

    def left(self, members: Iterable[Leased], *, for_good: bool) -> None:
        """Members have left their window. Not `for_good`: they are taken up again, each by itself or in a window."""
        for leased in members:
            self._uploading.left_member(leased, for_good=for_good)
