"""`rehearsal.rehearsal`: what rules say of recorded events, counted."""

from __future__ import annotations

import msgspec
import pytest

from edgeagent.events.event import Draft
from edgeagent.rehearsal.judge import Judge, Outcome, Seen
from edgeagent.rehearsal.rehearsal import Examples, Rehearsal, Strip
from edgeagent.rules.spec import DataFilter, Filters, RuleSpec

NOW = "2026-03-20T11:00:00Z"


def hot(threshold: int, **fields: object) -> RuleSpec:
    filters = Filters(data=[DataFilter("body.temp", "number", [str(threshold)], ">=")])
    return msgspec.structs.replace(
        RuleSpec("hot", "plant", source="boiler-*", filters=filters, template="inspect"), **fields
    )


def event(data: bytes = b'{"temp": 95}', **fields: object) -> Draft:
    return msgspec.structs.replace(Draft(source="boiler-1", data=data, is_json=True), **fields)


def seen(data: bytes = b'{"temp": 95}', **fields: object) -> Seen:
    return Seen("line 1", event(data, id="1", time=NOW, **fields))


def rehearsal(*specs: RuleSpec, against: list[RuleSpec] | None = None, **limits: int) -> Rehearsal:
    limits = {"max_event_bytes": 1000, "dedupe_events": 100, **limits}
    return Rehearsal(specs, against, agent="gw-1", now=NOW, **limits)


def test_a_rule_is_told_only_of_events_that_it_wants() -> None:
    judge = Judge([hot(90), hot(0, name="off", enabled=False)], max_event_bytes=1000)
    assert judge.names == ("hot",)
    assert judge.rulings("gw-1", seen(source="pump-1"), 0) == {}
    assert judge.rulings("gw-1", seen(), 0)["hot"].outcome is Outcome.TRIGGERED
    assert judge.rulings("gw-1", seen(b'{"temp": 1}'), 0)["hot"].outcome is Outcome.PASSED


def test_the_trigger_of_a_match_is_the_one_that_an_agent_would_send() -> None:
    judge = Judge([hot(90, arguments={"t": "body.temp"})], max_event_bytes=1000)
    message = msgspec.json.decode(judge.rulings("gw-7", seen(), 0)["hot"].message)
    assert message["agent"] == "gw-7"
    assert message["workflow"]["spec"]["arguments"]["parameters"] == [{"name": "t", "value": "95"}]


def test_a_filter_that_cannot_decide_and_a_parameter_without_a_value_are_errors_of_their_rule_alone() -> None:
    run = rehearsal(hot(90, arguments={"x": "body.missing"}), hot(0, name="all", filters=Filters()))
    run.take("line 1", "", event())
    run.take("line 2", "", event(b'{"other": 1}'))
    tally = run.tally.rules["hot"]
    assert (tally.events, tally.matched) == (2, 1), "the first matched, and has no parameter"
    assert tally.outcomes == dict.fromkeys(Outcome, 0) | {Outcome.FAILED: 2}
    assert [seen.where for seen in tally.examples[Outcome.FAILED].seen] == ["line 1", "line 2"]
    assert "missing" in tally.examples[Outcome.FAILED].seen[0].reason
    assert run.tally.rules["all"].outcomes[Outcome.TRIGGERED] == 2
    assert run.tally.unwanted == 0


def test_what_an_agent_would_not_take_is_left_out_and_told() -> None:
    run = rehearsal(hot(90))
    run.take("line 1", "", event(id="7"))
    run.take("line 2", "", event(id="7"))
    run.take("line 3", "", event(b'{"temp": 1}', id="7"))
    run.take("line 4", "", event(source="has#hash"))
    run.take("line 5", "", event(b'"' + b"x" * 1000 + b'"'))
    run.reject("line 6", "is nothing")
    assert (run.events, run.duplicates, run.unusable) == (1, 1, 4)
    assert [where for where, _ in run.faults] == ["line 3", "line 4", "line 5"]
    assert ["came before" in run.faults[0][1], "source" in run.faults[1][1], "1002 bytes" in run.faults[2][1]] == [
        True
    ] * 3


def test_events_without_id_are_never_duplicates_and_those_without_time_are_of_now() -> None:
    run = rehearsal(hot(90))
    for number in range(3):
        run.take(f"line {number}", "", event())
    assert (run.events, run.duplicates, run.span) == (3, 0, ("", ""))
    assert run.tally.rules["hot"].examples[Outcome.TRIGGERED].seen[0].event.time == NOW


def test_the_span_is_that_of_the_times_that_were_recorded() -> None:
    run = rehearsal(hot(90))
    for time in ("", "2022-01-01T00:00:00Z", "", "2022-01-02T00:00:00Z", ""):
        run.take("line", "", event(time=time))
    assert run.span == ("2022-01-01T00:00:00Z", "2022-01-02T00:00:00Z")


def test_the_span_of_a_recording_that_is_not_in_order_is_from_the_first_to_the_latest_time() -> None:
    run = rehearsal(hot(90))
    for time in ("2022-01-02T00:00:00Z", "2022-01-03T01:00:00+02:00", "2022-01-01T00:00:00Z", "2022-01-02T12:00:00Z"):
        run.take("line", "", event(time=time))
    assert run.span == ("2022-01-01T00:00:00Z", "2022-01-03T01:00:00+02:00")


def test_a_comparison_tells_only_where_the_rules_differ() -> None:
    old = [hot(90), hot(50, name="same"), hot(90, name="gone"), hot(90, name="text", arguments={"a": "body.temp"})]
    new = [hot(95), hot(50, name="same"), hot(90, name="added"), hot(90, name="text", arguments={"a": "source"})]
    run = rehearsal(*new, against=old)
    for number, temp in enumerate([80, 92, 97, 93]):
        run.take(f"line {number}", "", event(b'{"temp": %d}' % temp))
    assert run.comparison is not None
    rules = run.comparison.rules
    assert list(rules) == ["hot", "same", "added", "text", "gone"]
    assert (rules["hot"].before, rules["hot"].now) == (3, 1)
    assert rules["hot"].counts == {"trigger -> no trigger": 2}
    assert [seen.where for seen in rules["hot"].examples["trigger -> no trigger"].seen] == ["line 1", "line 3"]
    assert rules["same"].changed == 0
    assert (rules["added"].counts, rules["gone"].counts) == (
        {"no trigger -> trigger": 3},
        {"trigger -> no trigger": 3},
    )
    assert rules["text"].counts == {"trigger -> other content": 3}


def test_a_rule_that_can_decide_now_is_a_change_with_the_old_reason() -> None:
    run = rehearsal(hot(90), against=[hot(90, filters=Filters(data=[DataFilter("body.x", "number", ["1"])]))])
    run.take("line 1", "", event())
    assert run.comparison is not None
    (seen,) = run.comparison.rules["hot"].examples["error -> trigger"].seen
    assert "body.x" in seen.reason


def test_examples_are_the_first_and_the_latest() -> None:
    examples = Examples()
    for number in range(5):
        examples.add(Seen(str(number), event()))
    assert [seen.where for seen in examples.seen] == ["0", "4"]


@pytest.mark.parametrize("count", [1, 39, 40, 41, 80, 81, 100_000])
def test_a_strip_has_its_columns_however_long_the_recording_is(count: int) -> None:
    strip = Strip()
    for number in range(count):
        strip.add(number >= count // 2)
    text = str(strip)
    assert min(count, 20) <= len(text) <= 40
    assert text[0] == ("█" if count == 1 else "·")
    assert text[-1] == "█"
    assert abs(text.count("·") - len(text) / 2) <= 1


def test_a_single_hit_among_many_is_seen() -> None:
    strip = Strip()
    for number in range(100_000):
        strip.add(number == 70_000)
    assert str(strip).strip("·") == "▁"
