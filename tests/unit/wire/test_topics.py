from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeagent.wire import topics

LEVELS = st.sampled_from(["", "a", "b", "$x"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)
FILTERS = (
    st.tuples(st.lists(st.one_of(LEVELS, st.just("+")), max_size=4), st.sampled_from([[], ["#"]]))
    .map(lambda parts: "/".join(parts[0] + parts[1]))
    .filter(bool)
)


def naive_matches(wanted: list[str], levels: list[str]) -> bool:
    """MQTT 5, section 4.7, level by level."""
    if wanted == ["#"]:
        return True
    if not wanted or not levels:
        return wanted == levels
    return wanted[0] in {"+", levels[0]} and naive_matches(wanted[1:], levels[1:])


@pytest.mark.parametrize(
    ("topic_filter", "topic", "fits"),
    [
        # The examples of MQTT 5, sections 4.7.1 and 4.7.2.
        ("sport/tennis/player1/#", "sport/tennis/player1", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
        ("sport/#", "sport", True),
        ("#", "sport/tennis", True),
        ("sport/tennis/+", "sport/tennis/player1", True),
        ("sport/tennis/+", "sport/tennis/player1/ranking", False),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("#", "$SYS/monitor/Clients", False),
        ("+/monitor/Clients", "$SYS/monitor/Clients", False),
        ("$SYS/#", "$SYS/monitor/Clients", True),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
        ("ACCOUNTS", "Accounts", False),
    ],
)
def test_a_topic_fits_a_filter_as_the_standard_says(topic_filter: str, topic: str, fits: bool) -> None:
    assert topics.matches(topic_filter, topic) is fits


@given(FILTERS, TOPICS)
def test_matching_agrees_with_the_standard_level_by_level(topic_filter: str, topic: str) -> None:
    expected = naive_matches(topic_filter.split("/"), topic.split("/"))
    if topic.startswith("$") and topic_filter[0] in "#+":
        expected = False
    assert topics.matches(topic_filter, topic) is expected


def sample_topics(one: str, other: str) -> set[str]:
    """Topics that fit both filters if any topic does: each level from one of them, of every length worth trying."""
    first, second = one.split("/"), other.split("/")
    found: set[tuple[str, ...]] = {()}
    result: set[str] = set()
    for position in range(max(len(first), len(second)) + 1):
        signs = {levels[position] for levels in (first, second) if position < len(levels)} - {"+", "#"}
        found = {(*prefix, sign) for prefix in found for sign in signs | {"x"}}
        result |= {"/".join(levels) for levels in found}
    return result


@given(FILTERS, FILTERS)
@example("#", "$x/#")
@example("+/a", "$x/a")
@example("a/#", "a")
@example("a/+/#", "a/b")
@example("+", "#")
def test_filters_overlap_exactly_when_some_topic_fits_both(one: str, other: str) -> None:
    # `/#` and `+` have only "" in common, which is no topic; that they are taken to overlap harms nobody.
    common = {
        topic for topic in sample_topics(one, other) if topics.matches(one, topic) and topics.matches(other, topic)
    }
    assert topics.overlap(one, other) is bool(common), common


@st.composite
def filters_that_fit(draw: st.DrawFn, topic: str) -> str:
    """A filter made from a topic: some levels become `+`, some levels at the end become `#`."""
    levels = topic.split("/")
    first = 1 if topic.startswith("$") else 0  # wildcards at the start do not match those
    levels[first:] = [draw(st.sampled_from([level, "+"])) for level in levels[first:]]
    if draw(st.booleans()):
        levels[draw(st.integers(first, len(levels))) :] = ["#"]
    return "/".join(levels)


@given(st.data(), TOPICS)
def test_a_topic_that_fits_two_filters_proves_that_they_overlap(data: st.DataObject, topic: str) -> None:
    one, other = data.draw(filters_that_fit(topic)), data.draw(filters_that_fit(topic))
    assert topics.matches(one, topic)
    assert topics.matches(other, topic)
    assert topics.overlap(one, other)


@given(FILTERS, FILTERS)
def test_overlap_is_the_same_from_both_sides_and_with_itself(one: str, other: str) -> None:
    assert topics.overlap(one, other) is topics.overlap(other, one)
    assert topics.overlap(one, one)


@pytest.mark.parametrize("topic_filter", ["#", "+", "a/#", "+/a/+", "/", "a//b", "$SYS/#", "a b", "a" * 65535])
def test_a_filter(topic_filter: str) -> None:
    assert topics.filter_problem(topic_filter) is None


@pytest.mark.parametrize("text", ["", "a#", "#/a", "a/#/b", "a/b#", "a+", "+a/b", "a/+b", "a\0b", "é" * 32768])
def test_what_is_no_filter_is_refused_with_a_reason(text: str) -> None:
    assert "must" in (topics.filter_problem(text) or "")


@pytest.mark.parametrize("topic", ["a", "/", "a//b", "é" * 32767])
def test_a_topic_to_publish_on(topic: str) -> None:
    assert topics.topic_problem(topic) is None


@pytest.mark.parametrize("text", ["", "a/+", "a/#", "a\0", "é" * 32768])
def test_what_is_no_topic_to_publish_on_is_refused_with_a_reason(text: str) -> None:
    assert "must" in (topics.topic_problem(text) or "")


@given(FILTERS)
def test_every_generated_filter_is_one(topic_filter: str) -> None:
    assert topics.filter_problem(topic_filter) is None


@pytest.mark.parametrize(
    "topic",
    ["edgeagent/status/boiler-1", "edgeagent/", "edgeagent", "argo/workflows/trigger", "argo/workflows"],
)
def test_our_own_topics_are_never_events(topic: str) -> None:
    assert topics.is_reserved(topic)


@pytest.mark.parametrize("topic", ["edgeagents/x", "plant/edgeagent/x", "argo/workflowsx", "argo", "a"])
def test_other_topics_may_be_events(topic: str) -> None:
    assert not topics.is_reserved(topic)


def test_reserved_is_what_the_two_filters_of_the_contract_match() -> None:
    for topic in ("edgeagent", "edgeagent/a/b", "argo/workflows", "argo/workflows/status/x", "argo/x", "edgeagentx"):
        expected = any(topics.matches(own, topic) for own in ("edgeagent/#", "argo/workflows/#"))
        assert topics.is_reserved(topic) is expected


def test_what_goes_to_whom() -> None:
    assert topics.response_topic("gw-1") == "argo/workflows/response/gw-1"
    assert topics.response_topic(None) == "argo/workflows/response"
    assert topics.status_topics("gw-1") == ("argo/workflows/status", "argo/workflows/status/gw-1")
    assert topics.status_topics(None) == ("argo/workflows/status",)
    assert topics.state_topic("gw-1") == "edgeagent/state/gw-1"
    assert topics.with_agent("edgeagent-{agent}-up", "gw-1") == "edgeagent-gw-1-up"
    assert topics.report_topic("edgeagent/status/{source}", "boiler-1") == "edgeagent/status/boiler-1"


def test_dispatchers_share_the_base_topic_and_the_gateways_own() -> None:
    assert topics.trigger_filters("edgeagent") == (
        "$share/edgeagent/argo/workflows/trigger",
        "$share/edgeagent/argo/workflows/trigger/+",
    )


def test_presence_and_cursors_of_a_group_are_told_apart_and_from_other_groups() -> None:
    presence, cursor = topics.presence_topic("g", "cursor"), topics.cursor_topic("g", "plant")
    assert (presence, cursor) == ("edgeagent/dispatch/g/cursor", "edgeagent/dispatch/g/cursor/plant")
    assert topics.instance_of_presence("g", presence) == "cursor"
    assert topics.namespace_of_cursor("g", cursor) == "plant"
    assert topics.matches(topics.presence_filter("g"), presence)
    assert topics.matches(topics.cursor_filter("g"), cursor)
    assert not topics.overlap(topics.presence_filter("g"), topics.cursor_filter("g"))
    for other in (cursor, topics.presence_topic("h", "a"), "edgeagent/dispatch/g/", "edgeagent/dispatch/g", "x"):
        assert topics.instance_of_presence("g", other) is None
    for other in (presence, topics.cursor_topic("h", "plant"), f"{presence}/", f"{cursor}/x", "x"):
        assert topics.namespace_of_cursor("g", other) is None


def test_what_dispatchers_say_to_each_other_is_never_an_event() -> None:
    assert topics.is_reserved(topics.presence_topic("g", "a"))
    assert topics.is_reserved(topics.STATUS_QUERY)


def test_the_agent_is_the_last_level_of_a_trigger_topic() -> None:
    assert topics.agent_of_trigger("argo/workflows/trigger/gw-1") == "gw-1"
    assert topics.agent_of_trigger("argo/workflows/trigger") is None
    assert topics.agent_of_trigger("argo/workflows/triggers/gw-1") is None


@pytest.mark.parametrize(
    ("template", "source"),
    [
        (None, "plant/b1/t"),
        ("{1}", "b1"),
        ("{0}-{1}", "plant-b1"),
        ("boiler", "boiler"),
        ("{1}{1}", "b1b1"),
        ("{x}", "{x}"),
        ("{}", "{}"),
        ("{-1}", "{-1}"),
        ("a{", "a{"),
        ("{{1}}", "{b1}"),
        ("{1", "{1"),
    ],
)
def test_a_source_comes_from_the_levels_of_its_topic(template: str | None, source: str) -> None:
    assert topics.source_from_topic(template, "plant/b1/t") == source


def test_a_level_that_the_topic_does_not_have_is_an_error() -> None:
    with pytest.raises(IndexError):
        topics.source_from_topic("{3}", "plant/b1/t")


def test_what_stands_in_a_topic_is_never_replaced_again() -> None:
    assert topics.source_from_topic("{0}/{1}", "{1}/b") == "{1}/b"


@pytest.mark.parametrize(
    ("topic", "is_below"),
    [
        ("a/b/c", True),
        ("a/b/c/d", True),
        ("a/b/Living Room", True),
        ("a/b/$c", True),
        ("a/b", False),
        ("a/b/", False),
        ("a/b//c", False),
        ("a/b/c/", False),
        ("a/bc", False),
        ("/a/b/c", False),
        ("$SYS/x", False),
        ("a/b/+", False),
        ("a/b/c#", False),
        ("a/b/\x00", False),
        ("a/b/\x1b[2J", False),
        ("a/b/\u202e", False),
        ("a/b/" + "c" * 252, True),
        ("a/b/" + "c" * 253, False),
        ("a/b/" + "ä" * 127, False),
    ],
)
def test_a_topic_that_somebody_else_chose_is_below_another_or_not(topic: str, is_below: bool) -> None:
    assert topics.is_below("a/b", topic) is is_below
