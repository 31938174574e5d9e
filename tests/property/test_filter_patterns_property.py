"""The search for patterns agrees with Python's `re` where both read a pattern alike, whatever is remembered."""

from __future__ import annotations

import re
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from edgeagent.lang.re2 import automaton as filter_pattern_automaton
from edgeagent.lang.re2.pattern import compile_pattern

# Python's words for what it does not write as RE2 does; its own \B is not in an empty text.
IN_PYTHON = {r"\z": r"\Z", r"\B": r"(?!\b)"}
ATOMS = st.sampled_from(
    [
        "a",
        "b",
        "-",
        ".",
        "é",
        "\n",
        r"\d",
        r"\w",
        r"\W",
        r"\s",
        "[ab]",
        "[^a]",
        "[^ab\n]",
        "[a-c1]",
        "^",
        r"\z",
        r"\b",
        r"\B",
    ]
)
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "{2}", "{0,2}", "{1,3}", "{2,}"])).map(
            lambda part: f"(?:{part[0]}){part[1]}"
        ),
        inner.map(lambda part: f"(?m:{part})"),
        inner.map(lambda part: f"(?s:{part})"),
    ),
    max_leaves=8,
)
TEXTS = st.lists(st.text("ab-1c\né ", max_size=7), min_size=1, max_size=8)


@given(PATTERNS, TEXTS)
def test_a_search_finds_what_a_search_by_trial_and_error_finds(pattern: str, texts: list[str]) -> None:
    found = compile_pattern(pattern)
    other = re.compile("(?a)" + re.sub(r"\\[zB]", lambda sign: IN_PYTHON[sign[0]], pattern))
    assert [found(text) for text in texts] == [other.search(text) is not None for text in texts]


@given(PATTERNS, TEXTS)
def test_forgetting_what_was_remembered_changes_no_verdict(pattern: str, texts: list[str]) -> None:
    expected = [compile_pattern(pattern)(text) for text in texts]
    with patch.object(filter_pattern_automaton, "_MAX_TRANSITIONS", 1):
        found = compile_pattern(pattern)
        assert [found(text) for text in texts] == expected


@given(st.text(st.characters() | st.sampled_from("()[]{}|*+?^$\\.-:,0129abpPQEx<>=!ismU")), TEXTS)
def test_every_text_is_refused_as_a_pattern_or_searched_for(pattern: str, texts: list[str]) -> None:
    try:
        found = compile_pattern(pattern)
    except ValueError as refusal:
        assert str(refusal).startswith(repr(pattern))  # noqa: PT017  it may also be accepted
        return
    assert {found(text) for text in texts} <= {True, False}
