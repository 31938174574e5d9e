"""The limits under any interleaving of what may be asked of it and of what becomes of it, beside a naive one."""

from __future__ import annotations

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edgeagent.common.elapsed import Instant
from edgeagent.common.units import Duration
from edgeagent.rules.firing_limits import FiringLimits, FiringStep, FiringVerdict
from edgeagent.rules.firings import Firing
from edgeagent.rules.ruleset import Rule
from edgeagent.rules.spec import Filters, RuleSpec, TimeFilter

THROTTLE_MS = 10
BOOT = b"boot"
REARM = Filters(time=TimeFilter("00:00:00", "12:00:00"))
SPECS = [
    RuleSpec("throttled", "plant", template="t", throttle=Duration(THROTTLE_MS / 1000)),
    RuleSpec("rearmed", "plant", template="t", rearm=REARM),
    RuleSpec("both", "plant", template="t", throttle=Duration(THROTTLE_MS / 1000), rearm=REARM),
]
RULES = [Rule(spec) for spec in SPECS]
SOURCES = ["a", "b"]


class Naive:
    """Keeps every step that was stored, in order, and looks through all of them."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, str, Firing | None]] = []

    def last(self, asked: str, source: str) -> Firing | None:
        """The last firing, armed or not."""
        last: Firing | None = None
        for rule_name, source_name, firing in self.steps:
            if (rule_name, source_name) == (asked, source):
                if firing is not None:
                    last = firing
                elif last is not None:
                    last = msgspec.structs.replace(last, armed=True)
        return last

    def fires(self, asked: Rule, source: str, now_ms: int) -> bool:
        """Whether the rule fires, going by what is stored alone."""
        last = self.last(asked.name, source)
        if last is None:
            return True
        cooled = not asked.throttle_s or now_ms - last.uptime_ms >= THROTTLE_MS
        return cooled and (asked.rearm is None or last.armed)


class GuardLife(RuleBasedStateMachine):
    """Events fire and arm rules; what they did is stored or taken back at any time after, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 0
        self.fired = 0
        self.limits = FiringLimits()
        self.naive = Naive()
        self.open: list[FiringStep] = []
        self.refused_for_now: list[FiringStep] = []

    @rule(ms=st.integers(0, THROTTLE_MS))
    def pass_time(self, ms: int) -> None:
        """Time goes on."""
        self.now_ms += ms

    @rule(asked=st.sampled_from(RULES), source=st.sampled_from(SOURCES))
    def event(self, asked: Rule, source: str) -> None:
        """An event matched the rule."""
        now = Instant(self.now_ms, self.now_ms, BOOT)
        open_before = [step for step in self.open if (step.rule, step.source) == (asked.name, source)]
        verdict, because = self.limits.ask(asked, source, now)
        if verdict is FiringVerdict.FIRES:
            assert because is None
            self.fired += 1
            self.open.append(self.limits.fire(Firing(asked.name, source, f"{self.fired}", *now)))
        elif because is None:
            assert not self.naive.fires(asked, source, self.now_ms), "refused by nothing that is stored"
        else:
            assert because in open_before
            assert because.firing is not None
            self.refused_for_now.append(because)
        if not open_before:
            assert (verdict is FiringVerdict.FIRES) == self.naive.fires(asked, source, self.now_ms)

    @rule(asked=st.sampled_from(RULES), source=st.sampled_from(SOURCES))
    def arming_event(self, asked: Rule, source: str) -> None:
        """An event met the filters after which the rule fires again."""
        if self.limits.waits(asked, source):
            step = self.limits.arm(asked.name, source)
            assert step is not None
            self.open.append(step)
            assert not self.limits.waits(asked, source)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), stored=st.booleans())
    def end(self, data: st.DataObject, stored: bool) -> None:
        """A step is over."""
        step = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        if stored:
            self.limits.stored(step)
            self.naive.steps.append((step.rule, step.source, step.firing))
            self.limits.take_back(step)  # comes too late
            assert (step.stored, step.void) == (True, False)
        else:
            self.limits.take_back(step)
            assert (step.stored, step.void) == (False, True)

    @invariant()
    def the_newest_is_what_is_stored(self) -> None:
        """Steps that are not over are no triggers yet."""
        for asked in RULES:
            for source in SOURCES:
                assert self.limits.newest(asked.name, source) == self.naive.last(asked.name, source)

    def teardown(self) -> None:
        """With everything over it answers as one does that begins with what was stored, and holds nothing more."""
        while self.open:
            self.limits.take_back(self.open.pop())
        assert all(step.stored != step.void for step in self.refused_for_now)
        stored = [self.naive.last(asked.name, source) for asked in RULES for source in SOURCES]
        fresh = FiringLimits(firing for firing in stored if firing is not None)
        for asked in RULES:
            for source in SOURCES:
                for later_ms in (0, THROTTLE_MS):
                    now = Instant(0, self.now_ms + later_ms, BOOT)
                    answer = self.limits.ask(asked, source, now)
                    assert answer == fresh.ask(asked, source, now)
                    assert answer.because is None
                assert self.limits.waits(asked, source) == fresh.waits(asked, source)


TestGuardLife = GuardLife.TestCase
TestGuardLife.settings = settings(stateful_step_count=50)
