"""`rules.firing_limits`: whether a rule with `throttle` or `rearm` fires for a source now."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeagent.common.elapsed import Instant
from edgeagent.common.units import Duration
from edgeagent.rules.firing_limits import Answer, Guard, Step, Verdict
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


def known(guard: Guard, asked: Rule = REARMED) -> tuple[str, bool] | None:
    """The last stored firing's event, and whether the rule is armed."""
    newest = guard.newest(asked.name, "door-1")
    return (newest.event_id, newest.armed) if newest is not None else None


@pytest.mark.parametrize("asked", [THROTTLED, REARMED, BOTH])
def test_a_rule_that_never_fired_for_a_source_fires(asked: Rule) -> None:
    guard = Guard([firing(source="door-2")])
    assert guard.ask(asked, "door-1", at(1)) == Answer(Verdict.FIRES)
    assert not guard.waits(asked, "door-1")


@pytest.mark.parametrize(
    ("asked", "armed", "second", "verdict"),
    [
        (THROTTLED, False, 59.999, Verdict.THROTTLED),
        (THROTTLED, False, 60, Verdict.FIRES),
        (REARMED, False, 10_000, Verdict.DISARMED),
        (REARMED, True, 0, Verdict.FIRES),
        (BOTH, False, 59, Verdict.THROTTLED),
        (BOTH, False, 61, Verdict.DISARMED),
        (BOTH, True, 59, Verdict.THROTTLED),
        (BOTH, True, 61, Verdict.FIRES),
        (rule(), False, 0, Verdict.FIRES),
        (rule(coalesce="latest"), False, 0, Verdict.FIRES),
    ],
)
def test_what_is_said_after_a_firing(asked: Rule, armed: bool, second: float, verdict: Verdict) -> None:
    guard = Guard([msgspec.structs.replace(firing(), armed=armed)])
    assert guard.ask(asked, "door-1", at(second)) == Answer(verdict)


@pytest.mark.parametrize(
    ("fired", "now", "verdict"),
    [
        # Off for half a minute, for a whole one; with a clock that was wrong before, or is wrong now.
        (at(100), at(5, boot=LATER_BOOT, wall_ms=RIGHT_MS + 125_000), Verdict.THROTTLED),
        (at(100), at(5, boot=LATER_BOOT, wall_ms=RIGHT_MS + 155_000), Verdict.FIRES),
        (at(100, wall_ms=0), at(5, boot=LATER_BOOT), Verdict.FIRES),
        (at(100), at(5, boot=LATER_BOOT, wall_ms=0), Verdict.FIRES),
        (at(100, wall_ms=0), at(101), Verdict.THROTTLED),
    ],
)
def test_after_a_restart_throttle_counts_the_time_off_and_lets_through_when_the_clock_was_wrong(
    fired: Instant, now: Instant, verdict: Verdict
) -> None:
    guard = Guard([Firing("alarm", "door-1", "1", *fired)])
    assert guard.ask(THROTTLED, "door-1", now).verdict is verdict


def test_throttle_counts_from_the_last_firing_not_from_what_was_swallowed() -> None:
    guard = Guard()
    fired = []
    for second in range(0, 200, 20):
        if guard.ask(THROTTLED, "door-1", at(second)).verdict is Verdict.FIRES:
            guard.stored(guard.fire(firing(second)))
            fired.append(second)
    assert fired == [0, 60, 120, 180]


def test_a_rule_fires_once_until_it_is_armed_again() -> None:
    guard = Guard()
    guard.stored(guard.fire(firing()))
    assert guard.waits(REARMED, "door-1")
    assert not guard.waits(REARMED, "door-2"), "another source is another matter"
    assert not guard.waits(THROTTLED, "door-1"), "it has no rearm"
    step = guard.arm("alarm", "door-1")
    assert step is not None
    guard.stored(step)
    assert not guard.waits(REARMED, "door-1")
    assert guard.arm("alarm", "door-1") is None, "it is armed already"
    assert guard.ask(REARMED, "door-1", at(1)).verdict is Verdict.FIRES
    guard.stored(guard.fire(firing(event_id="2")))
    assert guard.ask(REARMED, "door-1", at(1)).verdict is Verdict.DISARMED


def test_nothing_is_armed_that_never_fired() -> None:
    assert Guard().arm("alarm", "door-1") is None


def test_who_is_refused_because_of_a_step_that_is_not_over_is_told_of_it() -> None:
    guard = Guard()
    step = guard.fire(firing())
    assert guard.ask(THROTTLED, "door-1", at(1)) == Answer(Verdict.THROTTLED, step)
    assert guard.ask(REARMED, "door-1", at(1)) == Answer(Verdict.DISARMED, step)
    assert guard.newest("alarm", "door-1") is None, "it is not stored"
    guard.take_back(step)
    guard.take_back(step)
    assert (step.void, step.stored) == (True, False)
    assert guard.ask(THROTTLED, "door-1", at(1)) == Answer(Verdict.FIRES)


def test_a_stored_step_stays_stored_when_it_is_taken_back_late() -> None:
    guard = Guard()
    step = guard.fire(firing())
    guard.stored(step)
    guard.take_back(step)
    assert (step.void, step.stored) == (False, True)
    assert guard.ask(THROTTLED, "door-1", at(1)) == Answer(Verdict.THROTTLED)


def test_who_is_throttled_by_a_firing_is_told_of_that_not_of_what_armed_the_rule_since() -> None:
    guard = Guard()
    fired = guard.fire(firing())
    armed = guard.arm("alarm", "door-1")
    assert armed is not None
    answer = guard.ask(BOTH, "door-1", at(1))
    assert answer == Answer(Verdict.THROTTLED, fired)
    guard.take_back(fired)
    guard.stored(armed)
    assert fired.void
    assert guard.ask(BOTH, "door-1", at(1)).verdict is Verdict.FIRES


def walk(guard: Guard, steps: str, over: str) -> None:
    """Take the steps (f fires, a is armed), then end them: `0+1-` stores the first and takes the second back."""
    taken: list[Step | None] = []
    for number, kind in enumerate(steps):
        step = guard.fire(firing(event_id=f"{number}")) if kind == "f" else guard.arm("alarm", "door-1")
        taken.append(step)
    for place, end in zip(over[::2], over[1::2], strict=True):
        step = taken[int(place)]
        assert step is not None
        (guard.stored if end == "+" else guard.take_back)(step)


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
    guard = Guard([firing(event_id="old")])
    walk(guard, steps, over)
    assert known(guard) == left
    assert guard.ask(REARMED, "door-1", at(1)) == Answer(Verdict.FIRES if left[1] else Verdict.DISARMED)


def test_what_arms_a_rule_after_a_firing_that_was_never_stored_leaves_nothing() -> None:
    guard = Guard()
    walk(guard, "fa", "0-1+")
    assert known(guard) is None
    assert guard.ask(REARMED, "door-1", at(1)) == Answer(Verdict.FIRES)


def test_ever_new_sources_are_forgotten_the_oldest_first() -> None:
    guard = Guard()
    for number in range(MAX_FIRINGS):
        guard.stored(guard.fire(firing(source=f"door-{number}")))
    armed = guard.arm("alarm", "door-0")
    assert armed is not None
    guard.stored(armed)  # door-0 has changed, so that door-1 is the oldest
    guard.stored(guard.fire(firing(source="door-new")))
    assert guard.newest("alarm", "door-1") is None
    assert guard.newest("alarm", "door-0") is not None
    assert guard.ask(THROTTLED, "door-1", at(1)).verdict is Verdict.FIRES


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
