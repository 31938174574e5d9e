from __future__ import annotations

import pytest

from edgeagent.agent.route import RELEARN_S, SOON_S, RedirectVerdict, Route

BASE = "argo/workflows/trigger"
OWN = "argo/workflows/trigger/gw-1"


def learned() -> Route:
    route = Route(BASE, "gw-1")
    assert route.asked(OWN, BASE, 0.0) is RedirectVerdict.MOVED
    assert route.topic == OWN
    return route


def test_an_agent_on_the_base_topic_moves_to_its_own_once_and_knows_late_answers() -> None:
    route = learned()
    assert route.asked(OWN, BASE, 1.0) is RedirectVerdict.LATE
    assert route.asked(OWN, OWN, 2.0) is RedirectVerdict.NOT_OURS
    assert route.topic == OWN


@pytest.mark.parametrize("wanted", ["", BASE, f"{BASE}/gw-2", f"{OWN}/x", f"{OWN} ", "plant/pumps/stop", f"{BASE}/+"])
def test_no_other_topic_is_followed(wanted: str) -> None:
    route = Route(BASE, "gw-1")
    assert route.asked(wanted, BASE, 0.0) is RedirectVerdict.NOTHING
    assert route.topic == BASE


@pytest.mark.parametrize("configured", [f"{BASE}/{{agent}}", "plant/{agent}/triggers", f"{BASE}s"])
def test_who_is_not_on_the_base_topic_did_not_cause_the_answer(configured: str) -> None:
    route = Route(configured, "gw-1")
    before = route.topic
    assert route.asked(OWN, before, 0.0) is RedirectVerdict.NOT_OURS
    assert route.asked(OWN, "", 0.0) is RedirectVerdict.NOT_OURS
    assert route.topic == before


def test_a_trigger_that_is_not_out_moves_nobody() -> None:
    route = Route(BASE, "gw-1")
    assert route.asked(OWN, "", 0.0) is RedirectVerdict.NOT_OURS
    assert route.topic == BASE


def test_where_the_broker_refuses_the_learned_topic_it_goes_back_and_tries_again_later() -> None:
    route = learned()
    assert route.refused(OWN, 10.0)
    assert route.topic == BASE
    assert route.refused(OWN, 10.0), "others were on their way there"
    assert route.asked(OWN, BASE, 10.0 + RELEARN_S - 1) is RedirectVerdict.NOTHING
    assert route.asked(OWN, BASE, 10.0 + RELEARN_S) is RedirectVerdict.MOVED


def test_a_configured_topic_that_is_refused_is_nothing_to_go_back_from() -> None:
    assert not Route(BASE, "gw-1").refused(BASE, 0.0)
    assert not Route(f"{BASE}/{{agent}}", "gw-1").refused(OWN, 0.0)


def test_a_connection_that_ends_before_the_broker_took_anything_there_counts_as_a_refusal() -> None:
    route = learned()
    route.disconnected(5.0)
    assert route.topic == BASE
    assert route.asked(OWN, BASE, 6.0) is RedirectVerdict.NOTHING


def test_a_line_that_breaks_by_chance_costs_seconds_and_a_broker_that_ends_each_connection_is_left_alone() -> None:
    route = learned()
    route.disconnected(5.0)
    assert route.asked(OWN, BASE, 5.0 + SOON_S - 1) is RedirectVerdict.NOTHING
    assert route.asked(OWN, BASE, 5.0 + SOON_S) is RedirectVerdict.MOVED
    route.disconnected(20.0)
    assert route.asked(OWN, BASE, 20.0 + SOON_S) is RedirectVerdict.NOTHING
    assert route.asked(OWN, BASE, 20.0 + RELEARN_S) is RedirectVerdict.MOVED
    route.taken([OWN])
    route.disconnected(400.0)
    assert route.topic == OWN


def test_a_connection_that_ends_later_changes_nothing() -> None:
    route = learned()
    route.taken([BASE])
    assert not route.is_proven
    route.taken([BASE, OWN])
    route.disconnected(5.0)
    assert route.topic == OWN
    Route(BASE, "gw-1").disconnected(5.0)
