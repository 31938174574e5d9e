from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeagent.agent.canary import CanaryReport
from edgeagent.agent.counts import RuleCounts
from edgeagent.agent.metrics import MAX_RULES, OTHER_RULES, agent_families
from edgeagent.common.certificate_ends import Ends
from edgeagent.ports.account import Account, EventCounts, EventWay
from tests.fakes.metrics import END, agent_figures, health, values_of

RULES = "edgeagent_rule_triggers_total"


def matched(rules: dict[str, RuleCounts]) -> dict[str, float]:
    """How many triggers each label of a rule has matched."""
    found = values_of(agent_families(agent_figures(rules=rules)))
    return {
        dict(labels)["rule"]: value
        for (name, labels), value in found.items()
        if name == RULES and dict(labels)["outcome"] == "matched"
    }


def test_the_first_hundred_rules_have_a_label_and_the_others_are_counted_together() -> None:
    rules = {f"rule-{number}": RuleCounts(matched=1) for number in range(MAX_RULES + 50)}
    found = matched(rules)
    assert len(found) == MAX_RULES + 1
    assert found == {**{f"rule-{number}": 1 for number in range(MAX_RULES)}, OTHER_RULES: 50}


def test_a_rule_keeps_its_label_when_a_reload_adds_rules() -> None:
    rules = {f"rule-{number}": RuleCounts(matched=1) for number in range(MAX_RULES)}
    before = matched(rules)
    after = matched({**rules, "another": RuleCounts(matched=3)})
    assert after == {**before, OTHER_RULES: 3}


def test_a_rule_that_is_called_other_takes_no_name_twice() -> None:
    rules = {OTHER_RULES: RuleCounts(matched=2), **{f"rule-{each}": RuleCounts(matched=1) for each in range(MAX_RULES)}}
    assert matched(rules)[OTHER_RULES] == 2
    assert matched({**rules, "one-more": RuleCounts(matched=1)})[OTHER_RULES] == 3


@pytest.mark.parametrize("name", ['a"} 1\nforged 2', "back\\", "\u202e", "", "x" * 10_000])
def test_a_rule_s_name_breaks_nothing_whatever_it_is(name: str) -> None:
    assert matched({name: RuleCounts(matched=1), "plain": RuleCounts(matched=2)}) == {name: 1, "plain": 2}


def test_no_label_but_those_that_are_bounded() -> None:
    allowed = {"agent", "version", "python", "outcome", "via", "state", "le", "link", "certificate", "rule", "reason"}
    allowed.add("operation")
    used = {label for _, labels in values_of(agent_families(agent_figures())) for label, _ in labels}
    assert used == allowed


def test_every_count_of_a_rule_is_shown() -> None:
    counts = RuleCounts(*range(100, 100 + len(RuleCounts.__struct_fields__)))
    found = values_of(agent_families(agent_figures(rules={"overheat": counts})))
    shown = {dict(labels)["outcome"]: value for (name, labels), value in found.items() if name == RULES}
    assert shown == {name: getattr(counts, name) for name in RuleCounts.__struct_fields__ if "last" not in name}


def test_every_way_out_of_the_account_is_shown() -> None:
    account = Account(**{name: 100 + number for number, name in enumerate(Account.__struct_fields__)})
    found = values_of(agent_families(agent_figures(health=health(account))))
    for name in Account.__struct_fields__:
        metric, label = (
            ("edgeagent_triggers", "state") if name in {"pending", "dead"} else ("edgeagent_triggers_total", "outcome")
        )
        assert found[metric, ((label, name),)] == getattr(account, name), name
    assert found["edgeagent_account_balanced", ()] == 0, "those numbers do not add up"


def test_every_outcome_of_events_is_shown_by_the_way_they_came() -> None:
    events = {
        way: EventCounts(**{name: 100 * place + number for number, name in enumerate(EventCounts.__struct_fields__)})
        for place, way in enumerate(EventWay)
    }
    found = values_of(agent_families(agent_figures(events=events)))
    for way, counts in events.items():
        outcomes = {name: value for name, value in msgspec.structs.asdict(counts).items() if name != "received"}
        for outcome, value in outcomes.items():
            assert found["edgeagent_events_total", (("outcome", outcome), ("via", way))] == value


def test_what_is_not_known_is_absent_and_not_zero() -> None:
    figures = agent_figures(
        oldest_s=None,
        headroom_s=None,
        ends={"uplink": Ends()},
        listener=None,
        canary=None,
        webhooks=None,
        uploads=None,
        spool=None,
    )
    names = {name for name, _ in values_of(agent_families(figures))}
    for name in ("outbox_oldest_timestamp_seconds", "outbox_headroom_seconds", "certificate_expiry_timestamp_seconds"):
        assert f"edgeagent_{name}" not in names
    assert not [
        name
        for name in names
        if name.startswith(
            ("edgeagent_listener_", "edgeagent_webhook_", "edgeagent_canary_", "edgeagent_upload", "edgeagent_spool_")
        )
    ]


def test_a_certificate_is_shown_with_its_link_and_whose_it_is() -> None:
    found = values_of(agent_families(agent_figures()))
    name = "edgeagent_certificate_expiry_timestamp_seconds"
    assert {labels for each, labels in found if each == name} == {
        (("certificate", "own"), ("link", "uplink")),
        (("certificate", "own"), ("link", "listener")),
        (("certificate", "authority"), ("link", "listener")),
    }
    assert found[name, (("certificate", "own"), ("link", "uplink"))] == END.timestamp()


def canary(**known: Any) -> dict[str, float]:
    """What is shown of canaries, by the name behind `edgeagent_canary_`."""
    found = values_of(agent_families(agent_figures(canary=CanaryReport(60.0, **known))))
    prefix = "edgeagent_canary_"
    return {name.removeprefix(prefix): value for (name, _), value in found.items() if name.startswith(prefix)}


def test_whether_canaries_get_through_is_absent_until_it_is_known() -> None:
    assert canary() == canary(sent="2026-01-02T03:04:05Z") == {"last_answer_timestamp_seconds": 0}
    assert canary(sent="2026-01-02T03:04:05Z", problem="no answer")["answered"] == 0
    answered = {"sent": "2026-01-02T03:04:05Z", "answered": "1970-01-01T00:01:00.500Z", "round_trip_s": 0.25}
    good = {"answered": 1, "last_answer_timestamp_seconds": 60.5, "round_trip_seconds": 0.25}
    assert canary(**answered) == good
    assert canary(**answered, problem="no answer") == {**good, "answered": 0}
