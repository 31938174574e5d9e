from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeagent.common import names
from edgeagent.common.names import Glob


@pytest.mark.parametrize(
    "source",
    [
        "b",
        "boiler-1",
        "plant/north/boiler",
        "é",
        "温度",
        "a" * 128,
        "{source}",
        "$SYS",
        '"',
        "a.b:c;d",
        "zigbee2mqtt/Living Room",
    ],
)
def test_printable_text_up_to_128_characters_is_a_source(source: str) -> None:
    assert names.source_problem(source) is None


@pytest.mark.parametrize(
    "source",
    ["", "a" * 129, " a", "a ", " ", "a#", "+", "a\0", "a\n", "a\tb", "\x7f", "\u2028", "\u200b", "\ud800", "a\u00a0b"],
)
def test_a_text_that_is_no_source_is_refused_with_a_reason(source: str) -> None:
    assert "must" in (names.source_problem(source) or "")


@given(st.text(max_size=140))
def test_every_source_can_stand_in_a_topic_and_on_one_line(source: str) -> None:
    if names.source_problem(source) is None:
        assert 1 <= len(source) <= 128
        assert not set(source) & set("#+\0\r\n")
        assert source == source.strip(" ")
        source.encode()
        assert len(source.splitlines()) == 1


@pytest.mark.parametrize("event_id", ["1", "018f-7", "a b", "a#b+c", "x" * 128])
def test_an_event_id_may_have_spaces_and_wildcards(event_id: str) -> None:
    assert names.event_id_problem(event_id) is None


@pytest.mark.parametrize("event_id", ["", "x" * 129, "a\nb", "\0", "\ud800"])
def test_an_event_id_is_refused_with_a_reason(event_id: str) -> None:
    assert "must" in (names.event_id_problem(event_id) or "")


@pytest.mark.parametrize("label", ["a", "0", "gw-042", "a--b", "a" * 63])
def test_a_dns_label(label: str) -> None:
    assert names.is_dns_label(label)


@pytest.mark.parametrize("label", ["", "-a", "a-", "A", "a_b", "a.b", "a" * 64, "a\n", "é", "\u0661", "a b"])
def test_what_is_no_dns_label(label: str) -> None:
    assert not names.is_dns_label(label)


@pytest.mark.parametrize("name", ["a", "a.b", "a-b.c-d", "0.1", "a" * 253])
def test_a_dns_subdomain(name: str) -> None:
    assert names.is_dns_subdomain(name)


@pytest.mark.parametrize("name", ["", ".", "a.", ".a", "a..b", "a.-b", "a-.b", "A.b", "a" * 254, "a/b", "a\n"])
def test_what_is_no_dns_subdomain(name: str) -> None:
    assert not names.is_dns_subdomain(name)


def test_a_workflows_name_has_at_most_63_characters() -> None:
    assert names.is_dns_subdomain("a" * 63, 63)
    assert not names.is_dns_subdomain("a" * 64, 63)


@pytest.mark.parametrize("prefix", ["overheat", "a.b", "a-", "a.", "a--", "0"])
def test_a_name_prefix(prefix: str) -> None:
    assert names.is_name_prefix(prefix)


@pytest.mark.parametrize("prefix", ["", "-a", ".a", "a..b", "a.-b", "a-.b", "A", "a_b", "a\n"])
def test_what_is_no_name_prefix(prefix: str) -> None:
    assert not names.is_name_prefix(prefix)


@given(st.from_regex(r"[a-z0-9.-]{1,40}", fullmatch=True))
@example("a" * 29 + "-b")
@example("a" * 29 + ".b")
def test_a_name_prefix_always_makes_the_name_of_a_workflow(prefix: str) -> None:
    """As the trigger uses it: cut to 30 characters, trailing `-` and `.` removed, `-`, 32 hex digits."""
    if names.is_name_prefix(prefix):
        assert names.is_dns_subdomain(prefix[:30].rstrip("-.") + "-" + "0123456789abcdef" * 2, 63)


@pytest.mark.parametrize("check", [names.is_name_prefix, names.is_dns_label, names.is_dns_subdomain])
def test_no_name_takes_long_to_refuse(check: object) -> None:
    assert callable(check)
    began = time.process_time()
    assert not check("a" * 200 + "_")
    assert not check("a." * 100 + "_")
    assert not check("a-" * 100 + "_")
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("host", "agent_id"),
    [
        ("gw-042", "gw-042"),
        ("GW_042.plant.example", "gw-042-plant-example"),
        ("--", "gateway"),
        ("", "gateway"),
        ("a" * 62 + ".b", "a" * 62),
        ("Überhitzung", "berhitzung"),
    ],
)
def test_an_agent_id_from_the_hosts_name(host: str, agent_id: str) -> None:
    assert names.agent_id_from_host(host) == agent_id


@given(st.text())
def test_every_host_gives_an_agent_id(host: str) -> None:
    assert names.is_agent_id(names.agent_id_from_host(host))


def test_the_topic_of_status_queries_is_no_agents() -> None:
    assert names.is_dns_label("query")
    assert not names.is_agent_id("query")
    assert names.agent_id_from_host("Query") == "gateway"


def naive_glob(pattern: str, text: str) -> bool:
    """The definition, word for word, in exponential time."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(naive_glob(pattern[1:], text[cut:]) for cut in range(len(text) + 1))
    return bool(text) and text[0] == pattern[0] and naive_glob(pattern[1:], text[1:])


@given(st.text("ab/*", max_size=8), st.text("ab/", max_size=10))
@example("a*a", "a")
@example("ab*ba", "aba")
@example("*ab*ab*", "abab")
@example("a*b*b", "ab")
@example("**", "")
def test_a_glob_matches_what_its_definition_says(pattern: str, text: str) -> None:
    assert Glob(pattern).matches(text) == naive_glob(pattern, text)


@given(st.text(max_size=20), st.text(max_size=40))
def test_a_glob_is_a_regular_expression_with_one_sign(pattern: str, text: str) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL)
    assert Glob(pattern).matches(text) == (expected is not None)


@given(st.lists(st.text(max_size=5), min_size=1, max_size=6), st.lists(st.text(max_size=5), min_size=6, max_size=6))
def test_a_glob_matches_whatever_stands_for_its_stars(parts: list[str], fillings: list[str]) -> None:
    text = parts[0] + "".join(filling + part for filling, part in zip(fillings, parts[1:], strict=False))
    assert Glob("*".join(parts)).matches(text)


@pytest.mark.parametrize("pattern", ["[ab]", "a?", "\\*", "{a,b}", "a.c", "!a"])
def test_nothing_but_the_star_is_special_in_a_glob(pattern: str) -> None:
    assert Glob(pattern).matches(pattern)
    assert not Glob(pattern).matches("a")
    assert not Glob(pattern).matches("abc")


def test_no_text_makes_a_glob_slow() -> None:
    began = time.process_time()
    assert not Glob("*a*a*a*a*a*a*a*a*b").matches("a" * 100_000)
    assert not Glob("*" + "ab*" * 50 + "c").matches("ab" * 50_000)
    assert time.process_time() - began < 1
