from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeagent.common.units import Duration
from edgeagent.errors import MessageError
from edgeagent.events.event import Draft
from edgeagent.rules.problems import rule_problems
from edgeagent.rules.ruleset import Rule, RuleSet
from edgeagent.rules.spec import RuleSpec


def spec(**members: Any) -> RuleSpec:
    members = {"name": "overheat", "namespace": "plant", "template": "inspect"} | members
    return msgspec.convert({key: value for key, value in members.items() if value is not None}, RuleSpec)


def hot(value: str = "90") -> dict[str, Any]:
    return {"data": [{"path": "body.temp", "type": "number", "comparator": ">=", "value": [value]}]}


def event(source: str = "boiler-1", data: bytes = b'{"temp": 97.1}', *, kind: str = "event") -> Draft:
    return Draft(source=source, data=data, is_json=True, type=kind)


def problems(**members: Any) -> dict[str, str]:
    return dict(rule_problems(spec(**members)))


def test_all_rules_that_match_fire_in_the_order_of_the_configuration() -> None:
    rules = RuleSet(
        [
            spec(name="every"),
            spec(name="other", source="pump-*"),
            spec(name="alarms", type="alarm"),
            spec(name="hot", filters=hot()),
            spec(name="hotter", filters=hot("99")),
            spec(name="off", enabled=False),
        ]
    )
    match = rules.match(event())
    assert match.rules == ("every", "hot")
    assert match.errors == ()
    assert not match.high


def test_an_event_that_no_rule_wants_matches_none() -> None:
    assert RuleSet([spec(source="pump-*")]).match(event()).rules == ()
    assert RuleSet([]).match(event()).rules == ()


def test_a_rule_that_cannot_decide_is_told_and_does_not_hold_the_others_back() -> None:
    rules = RuleSet([spec(name="hot", filters=hot()), spec(name="every")])
    match = rules.match(event(data=b'{"pressure": 3}'))
    assert match.rules == ("every",)
    [(name, error)] = match.errors
    assert name == "hot"
    assert isinstance(error, MessageError)


def test_an_event_is_high_when_one_of_the_rules_that_matched_is() -> None:
    rules = RuleSet([spec(name="a"), spec(name="b", priority="high", filters=hot("95"))])
    assert rules.match(event()).high
    assert not rules.match(event(data=b'{"temp": 20}')).high


def test_data_is_not_decoded_for_rules_that_look_at_source_and_type_only() -> None:
    broken = event(data=b"{")
    assert RuleSet([spec()]).match(broken).rules == ("overheat",)
    assert RuleSet([spec(source="pump", filters=hot())]).match(broken).rules == ()


def test_a_rule_is_found_by_its_name_unless_it_is_gone_or_disabled() -> None:
    rules = RuleSet([spec(name="a"), spec(name="b", enabled=False)])
    assert rules.get("a") is not None
    assert rules.get("b") is None
    assert rules.get("c") is None
    assert [rule.name for rule in rules] == ["a"]


def test_a_rule_takes_its_defaults_from_the_contract() -> None:
    rule = Rule(spec())
    assert (rule.name_prefix, rule.high, rule.strict, rule.ttl_s, rule.track) == (
        "overheat",
        False,
        False,
        7 * 86400,
        True,
    )
    assert Rule(spec(name_prefix="hot", order="strict", ttl=Duration(60))).name_prefix == "hot"


def test_parameters_of_the_event_replace_those_of_the_same_name_in_the_rules_workflow() -> None:
    written = {
        "entrypoint": "main",
        "arguments": {
            "parameters": [{"name": "temp", "value": "0"}, {"name": "unit", "value": "C"}],
            "artifacts": [{"name": "log"}],
        },
    }
    rule = Rule(spec(template=None, workflow={"spec": written}))
    assert rule.spec_with([{"name": "temp", "value": "97.1"}]) == {
        "entrypoint": "main",
        "arguments": {
            "parameters": [{"name": "unit", "value": "C"}, {"name": "temp", "value": "97.1"}],
            "artifacts": [{"name": "log"}],
        },
    }
    assert written["arguments"]["parameters"][0]["value"] == "0", "the rule's own text must stay as it is"  # type: ignore[index]


def test_a_good_rule_has_no_problems() -> None:
    assert problems() == {}
    assert problems(filters=hot(), arguments={"temp": "body.temp"}, name_prefix="over.heat-", cluster_scope=True) == {}
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": "x-", "labels": {"a": "b"}},
        "spec": {"entrypoint": "main", "arguments": {"parameters": [{"name": "a"}]}},
    }
    assert problems(template=None, workflow=workflow) == {}


def test_a_good_rule_for_the_field_has_no_problems() -> None:
    assert problems(window={"time": Duration(10)}, throttle=Duration(60), rearm=hot("20")) == {}
    assert problems(window={"time": Duration(0.5), "count": 1, "by": "rule"}) == {}
    assert problems(window={"time": Duration(9), "count": 1000}, ttl=Duration(10)) == {}
    assert problems(coalesce="latest", throttle=Duration(60), rearm={"context": {"type": "closed"}}) == {}
    assert problems(rearm={"context": {"source": "boiler-1"}}, source="boiler-*", type="alarm") == {}


def test_a_rule_without_keys_for_the_field_has_none_of_their_effects() -> None:
    rule = Rule(spec())
    assert (rule.window, rule.throttle_s, rule.rearm, rule.coalesce, rule.remembers) == (None, 0, None, False, False)
    window = Rule(spec(window={"time": Duration(10)})).window
    assert window is not None
    assert (float(window.time or 0), window.count, window.by) == (10, 1000, "source")


@pytest.mark.parametrize(
    ("members", "remembers"),
    [
        ({"throttle": Duration(60)}, True),
        ({"rearm": hot()}, True),
        ({"coalesce": "latest"}, True),
        ({"window": {"time": Duration(10)}}, False),
    ],
)
def test_firings_are_kept_of_the_rules_that_go_by_them(members: dict[str, Any], remembers: bool) -> None:
    rules = RuleSet([spec(**members), spec(name="other"), spec(name="off", throttle=Duration(1), enabled=False)])
    assert rules.remembered == ({"overheat"} if remembers else set())


def test_rearm_sees_events_of_every_type_from_the_sources_of_its_rule() -> None:
    closed = {"context": {"type": "closed"}}
    rules = RuleSet(
        [
            spec(name="doors", source="door-*", type="opened", rearm=closed),
            spec(name="gates", source="gate-*", rearm=closed),
            spec(name="plain", source="door-*"),
            spec(name="off", rearm=closed, enabled=False),
            spec(name="all", rearm=closed, throttle=Duration(1)),
        ]
    )
    assert [rule.name for rule in rules.rearming("door-1")] == ["doors", "all"]
    doors = rules.rearming("door-1")[0]
    assert doors.rearm is not None
    assert doors.rearm({"type": "closed"})
    assert not doors.rearm({"type": "opened"})


def test_the_filters_of_rearm_are_joined_by_and_also_where_the_rules_own_are_by_or() -> None:
    both = {**hot(), "context": {"type": "closed"}}
    rearm = Rule(spec(rearm=both, filters=both, filtersLogicalOperator="or")).rearm
    assert rearm is not None
    assert rearm({"type": "closed", "body": {"temp": 95}})
    assert not rearm({"type": "closed", "body": {"temp": 20}})
    assert not rearm({"type": "opened", "body": {"temp": 95}})


def test_a_rule_set_that_takes_another_over_forgets_what_the_old_rules_did() -> None:
    rules = RuleSet([spec(name="old", throttle=Duration(1), rearm=hot())])
    assert rules.match(event()).rules == ("old",)
    rules.take_over(RuleSet([spec(name="new", rearm=hot()), spec(name="late", coalesce="latest")]))
    assert rules.match(event()).rules == ("new", "late")
    assert rules.remembered == {"new", "late"}
    assert [rule.name for rule in rules.rearming("boiler-1")] == ["new"]
    assert rules.get("old") is None


@pytest.mark.parametrize(
    ("members", "key", "reason"),
    [
        ({"name": "Over_heat"}, "name", "lower-case"),
        ({"name": "x" * 64}, "name", "at most 63"),
        ({"name_prefix": "a..b"}, "name_prefix", "lower-case"),
        ({"name_prefix": "-a"}, "name_prefix", "lower-case"),
        ({"namespace": "Plant"}, "namespace", "Kubernetes namespace"),
        ({"ttl": Duration(0)}, "ttl", "more than 0"),
        ({"template": None}, "template", "given: none"),
        ({"workflow_file": "w.yaml"}, "template", "given: template, workflow_file"),
        ({"template": "In_spect"}, "template", "name of a WorkflowTemplate"),
        ({"template": None, "workflow_file": "w", "cluster_scope": True}, "cluster_scope", "belongs to template"),
        ({"filters": hot("warm")}, "filters.data[0]", "is not a number"),
        ({"window": {}}, "window.time", "is missing"),
        ({"window": {"time": Duration(0)}}, "window.time", "more than 0"),
        ({"window": {"time": Duration(60)}, "ttl": Duration(60)}, "window.time", "less than the rule's ttl"),
        ({"window": {"time": Duration(1), "count": 0}}, "window.count", "must be 1 to 1000"),
        ({"window": {"time": Duration(1), "count": 1001}}, "window.count", "must be 1 to 1000"),
        ({"window": {"time": Duration(1)}, "coalesce": "latest"}, "coalesce", "exclude each other"),
        ({"throttle": Duration(0)}, "throttle", "more than 0"),
        ({"rearm": {}}, "rearm", "needs filters"),
        ({"rearm": {"dataLogicalOperator": "or"}}, "rearm", "needs filters"),
        ({"rearm": hot("cold")}, "rearm.data[0]", "is not a number"),
        (
            {"rearm": {"context": {"source": "pump-1"}}, "source": "boiler-*"},
            "rearm.context.source",
            "never fire again",
        ),
        ({"arguments": {"temp": "body..x"}}, "arguments.temp", "empty part"),
    ],
)
def test_what_is_wrong_with_a_rule_is_told_by_its_key(members: dict[str, Any], key: str, reason: str) -> None:
    found = problems(**members)
    assert list(found) == [key]
    assert reason in found[key]


@pytest.mark.parametrize(
    ("workflow", "key", "reason"),
    [
        ({"spec": {"a": 1}, "Status": {}}, "workflow.Status", "not a member of a Workflow"),
        ({"spec": {"a": 1}, "kind": "CronWorkflow"}, "workflow.kind", "must be Workflow"),
        ({"spec": {}}, "workflow.spec", "what to run"),
        ({"kind": "Workflow"}, "workflow.spec", "what to run"),
        ({"spec": {"arguments": []}}, "workflow.spec.arguments", "must be an object"),
        ({"spec": {"arguments": {"parameters": ["a"]}}}, "workflow.spec.arguments", "array of objects"),
        ({"spec": {"a": 1}, "metadata": []}, "workflow.metadata", "must be an object"),
        (
            {"spec": {"a": 1}, "metadata": {"finalizers": []}},
            "workflow.metadata.finalizers",
            "only labels and annotations",
        ),
        ({"spec": {"a": 1}, "metadata": {"labels": {"a": 1}}}, "workflow.metadata.labels", "object of texts"),
    ],
)
def test_what_is_wrong_with_a_rules_own_workflow_is_told_by_its_member(
    workflow: dict[str, Any], key: str, reason: str
) -> None:
    found = problems(template=None, workflow=workflow)
    assert list(found) == [key]
    assert reason in found[key]


@pytest.mark.parametrize(
    ("members", "key", "reason"),
    [
        ({"outputs": ["a.b"]}, "outputs[0]", "must be letters, digits, '-' and '_', at most 63, is 'a.b'"),
        ({"outputs": ["a", "a" * 64]}, "outputs[1]", "must be letters, digits, '-' and '_', at most 63, is "),
        ({"outputs": ["a", "b", "a"]}, "outputs[2]", "names 'a' a second time"),
        ({"outputs": [f"n{number}" for number in range(17)]}, "outputs", "has 17 names, at most 16 are taken"),
        ({"outputs": ["a"], "track": False}, "outputs", "needs track = true"),
    ],
)
def test_an_output_that_can_never_come_back_is_a_mistake(members: dict[str, Any], key: str, reason: str) -> None:
    ((found, why),) = problems(**members).items()
    assert found == key
    assert why.startswith(reason)
