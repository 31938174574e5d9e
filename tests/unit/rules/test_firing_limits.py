"""`rules.firing_limits`: whether a rule with `throttle` or `rearm` fires for a source now."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeagent.common.elapsed import Instant
from edgeagent.common.units import Duration
from edgeagent.rules.firing_limits import FiringAnswer, FiringLimits, FiringStep, FiringVerdict
from edgeagent.rules.firings import MAX_FIRINGS, Firing, Firings
from edgeagent.rules.ruleset import Rule
from edgeagent.rules.spec import RuleSpec

RIGHT_MS = 1_800_000_000_000
BOOT, LATER_BOOT = b"boot-1", b"boot-2"
CLOSED = {"data": [{"path": "body.door", "type": "string", "value": ["closed"]}]}


def rule(**fields: Any) -> Rule:
    written = {"name": "alarm", "namespace": "plant", "template": "inspect", **fields}
    return Rule(msgspec.convert(written, RuleSpec))


def at(second: float, *, boot: bytes = BOOT, wall_ms: int = RIGHT_MS) -> Instant:
    return Instant(int(wall_ms + second * 1000), int(second * 1000), boot)


def firing(second: float = 0, *, event_id: str = "1", source: str = "door-1", **clock: Any) -> Firing:
    return Firing("alarm", source, event_id, *at(second, **clock))


THROTTLED = rule(throttle=Duration(60))
REARMED = rule(rearm=CLOSED)
BOTH = rule(throttle=Duration(60), rearm=CLOSED)


def known(limits: FiringLimits, asked: Rule = REARMED) -> tuple[str, bool] | None:
    """The last stored firing's event, and whether the rule is armed."""
    newest = limits.newest(asked.name, "door-1")
    return (newest.event_id, newest.armed) if newest is not None else None


@pytest.mark.parametrize("asked", [THROTTLED, REARMED, BOTH])
def test_a_rule_that_never_fired_for_a_source_fires(asked: Rule) -> None:
    limits = FiringLimits([firing(source="door-2")])
    assert limits.ask(asked, "door-1", at(1)) == FiringAnswer(FiringVerdict.FIRES)
    assert not limits.waits(asked, "door-1")


@pytest.mark.parametrize(
    ("asked", "armed", "second", "verdict"),
    [
        (THROTTLED, False, 59.999, FiringVerdict.THROTTLED),
        (THROTTLED, False, 60, FiringVerdict.FIRES),
        (REARMED, False, 10_000, FiringVerdict.DISARMED),
        (REARMED, True, 0, FiringVerdict.FIRES),
        (BOTH, False, 59, FiringVerdict.THROTTLED),
        (BOTH, False, 61, FiringVerdict.DISARMED),
        (BOTH, True, 59, FiringVerdict.THROTTLED),
        (BOTH, True, 61, FiringVerdict.FIRES),
        (rule(), False, 0, FiringVerdict.FIRES),
        (rule(coalesce="latest"), False, 0, FiringVerdict.FIRES),
    ],
)
def test_what_is_said_after_a_firing(asked: Rule, armed: bool, second: float, verdict: FiringVerdict) -> None:
    limits = FiringLimits([msgspec.structs.replace(firing(), armed=armed)])
    assert limits.ask(asked, "door-1", at(second)) == FiringAnswer(verdict)


@pytest.mark.parametrize(
    ("fired", "now", "verdict"),
    [
        # Off for half a minute, for a whole one; with a clock that was wrong before, or is wrong now.
        (at(100), at(5, boot=LATER_BOOT, wall_ms=RIGHT_MS + 125_000), FiringVerdict.THROTTLED),
        (at(100), at(5, boot=LATER_BOOT, wall_ms=RIGHT_MS + 155_000), FiringVerdict.FIRES),
        (at(100, wall_ms=0), at(5, boot=LATER_BOOT), FiringVerdict.FIRES),
        (at(100), at(5, boot=LATER_BOOT, wall_ms=0), FiringVerdict.FIRES),
        (at(100, wall_ms=0), at(101), FiringVerdict.THROTTLED),
    ],
)
def test_after_a_restart_throttle_counts_the_time_off_and_lets_through_when_the_clock_was_wrong(
    fired: Instant, now: Instant, verdict: FiringVerdict
) -> None:
    limits = FiringLimits([Firing("alarm", "door-1", "1", *fired)])
    assert limits.ask(THROTTLED, "door-1", now).verdict is verdict


def test_throttle_counts_from_the_last_firing_not_from_what_was_swallowed() -> None:
    limits = FiringLimits()
    fired = []
    for second in range(0, 200, 20):
        if limits.ask(THROTTLED, "door-1", at(second)).verdict is FiringVerdict.FIRES:
            limits.stored(limits.fire(firing(second)))
            fired.append(second)
    assert fired == [0, 60, 120, 180]


def test_a_rule_fires_once_until_it_is_armed_again() -> None:
    limits = FiringLimits()
    limits.stored(limits.fire(firing()))
    assert limits.waits(REARMED, "door-1")
    assert not limits.waits(REARMED, "door-2"), "another source is another matter"
    assert not limits.waits(THROTTLED, "door-1"), "it has no rearm"
    step = limits.arm("alarm", "door-1")
    assert step is not None
    limits.stored(step)
    assert not limits.waits(REARMED, "door-1")
    assert limits.arm("alarm", "door-1") is None, "it is armed already"
    assert limits.ask(REARMED, "door-1", at(1)).verdict is FiringVerdict.FIRES
    limits.stored(limits.fire(firing(event_id="2")))
    assert limits.ask(REARMED, "door-1", at(1)).verdict is FiringVerdict.DISARMED


def test_nothing_is_armed_that_never_fired() -> None:
    assert FiringLimits().arm("alarm", "door-1") is None


def test_who_is_refused_because_of_a_step_that_is_not_over_is_told_of_it() -> None:
    limits = FiringLimits()
    step = limits.fire(firing())
    assert limits.ask(THROTTLED, "door-1", at(1)) == FiringAnswer(FiringVerdict.THROTTLED, step)
    assert limits.ask(REARMED, "door-1", at(1)) == FiringAnswer(FiringVerdict.DISARMED, step)
    assert limits.newest("alarm", "door-1") is None, "it is not stored"
    limits.take_back(step)
    limits.take_back(step)
    assert (step.void, step.stored) == (True, False)
    assert limits.ask(THROTTLED, "door-1", at(1)) == FiringAnswer(FiringVerdict.FIRES)


def test_a_stored_step_stays_stored_when_it_is_taken_back_late() -> None:
    limits = FiringLimits()
    step = limits.fire(firing())
    limits.stored(step)
    limits.take_back(step)
    assert (step.void, step.stored) == (False, True)
    assert limits.ask(THROTTLED, "door-1", at(1)) == FiringAnswer(FiringVerdict.THROTTLED)


def test_who_is_throttled_by_a_firing_is_told_of_that_not_of_what_armed_the_rule_since() -> None:
    limits = FiringLimits()
    fired = limits.fire(firing())
    armed = limits.arm("alarm", "door-1")
    assert armed is not None
    answer = limits.ask(BOTH, "door-1", at(1))
    assert answer == FiringAnswer(FiringVerdict.THROTTLED, fired)
    limits.take_back(fired)
    limits.stored(armed)
    assert fired.void
    assert limits.ask(BOTH, "door-1", at(1)).verdict is FiringVerdict.FIRES


def walk(limits: FiringLimits, steps: str, over: str) -> None:
    """Take the steps (f fires, a is armed), then end them: `0+1-` stores the first and takes the second back."""
    taken: list[FiringStep | None] = []
    for number, kind in enumerate(steps):
        step = limits.fire(firing(event_id=f"{number}")) if kind == "f" else limits.arm("alarm", "door-1")
        taken.append(step)
    for place, end in zip(over[::2], over[1::2], strict=True):
        step = taken[int(place)]
        assert step is not None
        (limits.stored if end == "+" else limits.take_back)(step)


@pytest.mark.parametrize(
    ("steps", "over", "left"),
    [
        ("f", "0+", ("0", False)),
        ("f", "0-", ("old", False)),
        ("a", "0+", ("old", True)),
        ("a", "0-", ("old", False)),
        ("fa", "0+1+", ("0", True)),
        ("fa", "0-1+", ("old", True)),
        ("fa", "0+1-", ("0", False)),
        ("fa", "1+0-", ("old", True)),
        ("af", "0-1+", ("1", False)),
        ("ff", "0-1+", ("1", False)),
        ("ff", "0+1-", ("0", False)),
        ("faf", "2-1-0-", ("old", False)),
        ("faf", "0+1+2-", ("0", True)),
        ("fafa", "0+1+2-3+", ("0", True)),
    ],
)
def test_what_is_known_when_all_steps_are_over_is_what_was_stored(
    steps: str, over: str, left: tuple[str, bool]
) -> None:
    limits = FiringLimits([firing(event_id="old")])
    walk(limits, steps, over)
    assert known(limits) == left
    assert limits.ask(REARMED, "door-1", at(1)) == FiringAnswer(
        FiringVerdict.FIRES if left[1] else FiringVerdict.DISARMED
    )


def test_what_arms_a_rule_after_a_firing_that_was_never_stored_leaves_nothing() -> None:
    limits = FiringLimits()
    walk(limits, "fa", "0-1+")
    assert known(limits) is None
    assert limits.ask(REARMED, "door-1", at(1)) == FiringAnswer(FiringVerdict.FIRES)


def test_ever_new_sources_are_forgotten_the_oldest_first() -> None:
    limits = FiringLimits()
    for number in range(MAX_FIRINGS):
        limits.stored(limits.fire(firing(source=f"door-{number}")))
    armed = limits.arm("alarm", "door-0")
    assert armed is not None
    limits.stored(armed)  # door-0 has changed, so that door-1 is the oldest
    limits.stored(limits.fire(firing(source="door-new")))
    assert limits.newest("alarm", "door-1") is None
    assert limits.newest("alarm", "door-0") is not None
    assert limits.ask(THROTTLED, "door-1", at(1)).verdict is FiringVerdict.FIRES


def test_firings_are_told_in_the_order_in_which_they_changed() -> None:
    firings = Firings([firing(source="a"), firing(source="b"), firing(source="c")])
    firings.armed("alarm", "a")
    firings.armed("alarm", "nobody")
    firings.fired(firing(source="b", event_id="2"))
    assert [(each.source, each.event_id, each.armed) for each in firings] == [
        ("c", "1", False),
        ("a", "1", True),
        ("b", "2", False),
    ]
    assert firings.get("alarm", "nobody") is None
    assert firings.get("alarm", "c") == firing(source="c")
