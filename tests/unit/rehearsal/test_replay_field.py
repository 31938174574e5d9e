"""Rehearsals of rules with `throttle`, `rearm` and `window`: decided as in the agent, by the events' own time."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeagent.cli.replay_table import document, lines
from edgeagent.common.times import rfc3339
from edgeagent.common.units import Duration
from edgeagent.events.event import Draft
from edgeagent.rehearsal.judge import Judge, Outcome, Seen
from edgeagent.rehearsal.rehearsal import Rehearsal
from edgeagent.rules.spec import RuleSpec

NOW = "2026-03-20T11:00:00Z"
RIGHT_MS = 1_800_000_000_000
MINUTE = Duration(60)


def above(least: int) -> dict[str, Any]:
    return {"data": [{"path": "body.temp", "type": "number", "comparator": ">=", "value": [str(least)]}]}


def below(most: int) -> dict[str, Any]:
    return {"data": [{"path": "body.temp", "type": "number", "comparator": "<", "value": [str(most)]}]}


def spec(**fields: Any) -> RuleSpec:
    return msgspec.convert({"name": "hot", "namespace": "plant", "template": "inspect", **fields}, RuleSpec)


def rehearsal(*specs: RuleSpec, against: list[RuleSpec] | None = None, max_event_bytes: int = 1000) -> Rehearsal:
    return Rehearsal(specs, against, agent="gw-1", now=NOW, max_event_bytes=max_event_bytes, dedupe_events=100)


def run(specs: list[RuleSpec], *events: tuple[float | None, int] | Draft, **more: Any) -> Rehearsal:
    """Rehearse over events as (second, temperature), or as they are, and end."""
    rehearsed = rehearsal(*specs, **more)
    for number, each in enumerate(events):
        event = each if isinstance(each, Draft) else reading(*each)
        rehearsed.take(f"line {number}", "", event)
    rehearsed.end()
    return rehearsed


def reading(second: float | None, temp: int, source: str = "boiler-1", kind: str = "event") -> Draft:
    time = rfc3339(RIGHT_MS + int(second * 1000)) if second is not None else ""
    return Draft(source=source, data=b'{"temp": %d}' % temp, is_json=True, time=time, type=kind)


def counted(rehearsed: Rehearsal, rule: str = "hot") -> dict[str, int]:
    return {str(outcome): count for outcome, count in rehearsed.tally.rules[rule].outcomes.items() if count}


def shown(rehearsed: Rehearsal, outcome: Outcome, rule: str = "hot") -> list[tuple[str, str]]:
    return [(seen.where, seen.reason) for seen in rehearsed.tally.rules[rule].examples[outcome].seen]


def test_throttle_counts_from_the_last_trigger_by_the_events_own_time() -> None:
    rehearsed = run([spec(throttle=MINUTE)], (0, 95), (30, 95), (59.9, 95), (60, 95), (90, 95), (180, 95))
    assert counted(rehearsed) == {"trigger": 3, "throttled": 3}
    assert rehearsed.tally.rules["hot"].matched == 6
    assert rehearsed.tally.unwanted == 0
    assert str(rehearsed.tally.rules["hot"].strip) == "█··█·█"
    assert shown(rehearsed, Outcome.THROTTLED) == [("line 1", ""), ("line 4", "")]


def test_each_source_is_throttled_for_itself_wherever_its_events_stand() -> None:
    """As when the recordings of two sources were put together one after the other."""
    events = [reading(second, 95, source) for source in ("a", "b") for second in (0, 30, 60)]
    assert counted(run([spec(throttle=MINUTE)], *events)) == {"trigger": 4, "throttled": 2}


def test_a_rule_is_armed_again_by_what_its_rearm_says_also_of_another_type() -> None:
    rule = spec(type="alarm", rearm={"context": {"type": "closed"}})
    events = [reading(n, 95, kind=kind) for n, kind in enumerate(["alarm", "alarm", "closed", "alarm", "alarm"])]
    rehearsed = run([rule], *events)
    assert counted(rehearsed) == {"trigger": 2, "disarmed": 2}
    assert rehearsed.tally.rules["hot"].events == 4


def test_an_event_that_arms_a_rule_and_matches_it_does_not_fire_itself() -> None:
    rehearsed = run([spec(rearm=above(90))], (0, 95), (1, 95), (2, 20), (3, 95), (4, 20))
    assert counted(rehearsed) == {"trigger": 3, "disarmed": 2}
    assert [where for where, _ in shown(rehearsed, Outcome.DISARMED)] == ["line 1", "line 3"]


def test_a_threshold_with_hysteresis_fires_once_a_crossing() -> None:
    rule = spec(filters=above(90), rearm=below(80))
    temps = [70, 91, 89, 92, 85, 90, 79, 85, 95, 95]
    rehearsed = run([rule], *enumerate(temps))
    assert counted(rehearsed) == {"no trigger": 5, "trigger": 2, "disarmed": 3}
    assert [where for where, _ in shown(rehearsed, Outcome.TRIGGERED)] == ["line 1", "line 8"]


def test_a_rearm_that_cannot_be_decided_is_an_error_beside_what_else_the_event_is() -> None:
    rule = spec(type="event", rearm={"data": [{"path": "body.door", "type": "string", "value": ["shut"]}]})
    rehearsed = run([rule], (0, 95), (1, 95), reading(2, 95, kind="other"))
    assert counted(rehearsed) == {"trigger": 1, "disarmed": 1, "error": 1}
    ((where, reason),) = shown(rehearsed, Outcome.FAILED)
    assert where == "line 1"
    assert reason.startswith("rearm: ")
    assert "body.door" in reason


def test_a_window_is_one_trigger_and_the_last_ones_close_with_the_recording() -> None:
    rule = spec(window={"time": MINUTE, "count": 3}, arguments={"temps": "body.#.temp", "ids": "events"})
    rehearsed = run([rule], (0, 1), (10, 2), (20, 3), (30, 4), (89.9, 5), (90, 6))
    assert counted(rehearsed) == {"gathered": 6, "trigger": 3}
    assert shown(rehearsed, Outcome.TRIGGERED) == [("line 0", "3 events, to line 2"), ("line 5", "1 event")]
    assert str(rehearsed.tally.rules["hot"].strip) == "██████"


def test_a_window_that_cannot_be_rendered_is_an_error_that_names_it() -> None:
    rehearsed = run([spec(window={"time": MINUTE}, arguments={"temp": "body.temp"})], (0, 1), (1, 2))
    assert counted(rehearsed) == {"gathered": 2, "error": 1}
    ((where, reason),) = shown(rehearsed, Outcome.FAILED)
    assert where == "line 0"
    assert reason.startswith("2 events, to line 1: parameter: temp: ")


def test_a_window_keeps_the_limit_of_one_event() -> None:
    rehearsed = run([spec(window={"time": MINUTE})], *[(n, 10) for n in range(10)], max_event_bytes=150)
    assert counted(rehearsed)["trigger"] == 4, "an event takes 42 bytes with its id, and three go into 150"


def test_what_throttle_swallows_does_not_go_into_the_window() -> None:
    rule = spec(throttle=MINUTE, window={"time": Duration(600), "by": "rule"})
    events = [reading(second, 95, source) for second in (0, 30, 60) for source in ("a", "b")]
    assert counted(run([rule], *events)) == {"throttled": 2, "gathered": 4, "trigger": 1}


def test_coalesce_changes_nothing_in_a_rehearsal() -> None:
    assert counted(run([spec(coalesce="latest")], (0, 1), (1, 2))) == {"trigger": 2}


def test_events_without_a_time_that_can_be_read_are_of_the_moment_of_the_one_before() -> None:
    odd = reading(None, 95)
    odd.time = "this morning"
    rehearsed = run([spec(throttle=MINUTE)], (None, 95), (None, 95), (0, 95), odd, (60, 95), (None, 95))
    assert counted(rehearsed) == {"trigger": 3, "throttled": 3}
    assert [where for where, _ in shown(rehearsed, Outcome.TRIGGERED)] == ["line 0", "line 4"]


@pytest.mark.parametrize(("accepted_ms", "outcome"), [(RIGHT_MS + 60_000, "trigger"), (5, "throttled")])
def test_when_an_event_was_accepted_counts_more_than_its_time_if_the_clock_was_set(
    accepted_ms: int, outcome: str
) -> None:
    rehearsed = rehearsal(spec(throttle=MINUTE))
    rehearsed.take("line 1", "", reading(0, 95), RIGHT_MS)
    rehearsed.take("line 2", "", reading(1, 95), accepted_ms)
    rehearsed.end()
    assert counted(rehearsed) == ({"trigger": 2} if outcome == "trigger" else {"trigger": 1, "throttled": 1})


def test_a_comparison_tells_what_a_throttle_changes() -> None:
    events = [(second, 95) for second in (0, 30, 60, 90)]
    rehearsed = run([spec(throttle=MINUTE)], *events, against=[spec()])
    assert rehearsed.comparison is not None
    changes = rehearsed.comparison.rules["hot"]
    assert (changes.before, changes.now) == (4, 2)
    assert changes.counts == {"trigger -> throttled": 2}
    assert [seen.where for seen in changes.examples["trigger -> throttled"].seen] == ["line 1", "line 3"]


def test_a_comparison_counts_windows_as_triggers() -> None:
    rehearsed = run([spec(window={"time": MINUTE})], *[(n * 25, 95) for n in range(6)], against=[spec()])
    assert rehearsed.comparison is not None
    changes = rehearsed.comparison.rules["hot"]
    assert (changes.before, changes.now, changes.counts) == (6, 2, {"trigger -> gathered": 6})


@pytest.mark.parametrize(
    ("before", "now", "changed"),
    [
        ({"count": 2}, {"count": 2}, 0),
        ({"count": 2}, {"count": 4}, 2),  # the third and the fourth event go into the first window
        ({"count": 4}, {"by": "rule", "count": 4}, 0),
        ({"time": Duration(2)}, {"count": 2}, 0),
    ],
)
def test_windows_are_compared_by_what_goes_together(before: dict[str, Any], now: dict[str, Any], changed: int) -> None:
    specs = [spec(window={"time": MINUTE, **fields}) for fields in (before, now)]
    rehearsed = run([specs[1]], *[(n, 95) for n in range(4)], against=[specs[0]])
    assert rehearsed.comparison is not None
    assert rehearsed.comparison.rules["hot"].changed == changed


def test_a_window_with_other_content_is_a_change() -> None:
    specs = [spec(window={"time": MINUTE}, arguments={"t": path}) for path in ("body.0.temp", "body.#.temp")]
    rehearsed = run([specs[1]], (0, 95), (1, 95), against=[specs[0]])
    assert rehearsed.comparison is not None
    assert rehearsed.comparison.rules["hot"].counts == {"gathered -> in another window": 1}


def test_a_judge_makes_the_very_message_of_a_window_that_an_agent_would_send() -> None:
    judge = Judge([spec(window={"time": MINUTE, "count": 2}, arguments={"ids": "events"})], max_event_bytes=1000)
    for number in ("1", "2"):
        event = Draft(source="a", data=number.encode(), is_json=True, id=number, time=NOW)
        assert judge.rulings("gw-1", Seen(number, event), 0)["hot"].outcome is Outcome.GATHERED
    (ended,) = judge.ended
    assert (ended.rule, ended.outcome, ended.seen.event.id) == ("hot", Outcome.TRIGGERED, "1")
    judge.end()
    assert judge.ended == [ended]


def test_a_rate_lets_triggers_wait_and_the_rehearsal_says_for_how_long() -> None:
    slow = spec(rate={"count": 2, "time": MINUTE}, ttl=Duration(100))
    rehearsed = run([slow, spec(name="cold")], *((second, 95) for second in (0, 1, 2, 3, 4, 70, 300)))
    waits = rehearsed.waits["hot"]
    assert list(rehearsed.waits) == ["hot"]
    assert (waits.triggers, waits.waited, waits.expired) == (7, 3, 1)  # at 0 1 60 61 - 120 300
    assert waits.longest_ms == 58_000
    assert "hot: 3 of 7 triggers would wait for its rate, the longest about 58 s, 1 would expire" in [
        *lines("recent", rehearsed)
    ]
    assert document("recent", rehearsed)["waits"]["hot"]["longest_s"] == 58.0
