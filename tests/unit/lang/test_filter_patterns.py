"""Patterns against the table in tests/golden/patterns.jsonl: the verdicts of Go's own `regexp`, which is RE2."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import msgspec
import pytest

from edgeagent.lang.re2 import automaton as filter_pattern_automaton
from edgeagent.lang.re2.pattern import compile_pattern


class Row(msgspec.Struct, forbid_unknown_fields=True):
    """What Go says of a pattern: texts that it is found in, and others; or that it is no pattern."""

    pattern: str
    found: list[str] = []
    not_found: list[str] = []
    refused: bool = False


TABLE = [
    msgspec.json.decode(line, type=Row)
    for line in (Path(__file__).parents[2] / "golden" / "patterns.jsonl").read_bytes().splitlines()
]
EVENT_CHARS = 256 * 1024  # the largest event that is taken, by default


@pytest.mark.parametrize("row", TABLE, ids=lambda row: repr(row.pattern))
def test_a_pattern_means_what_it_means_in_go(row: Row) -> None:
    if row.refused:
        with pytest.raises(ValueError, match=re.escape(repr(row.pattern))):
            compile_pattern(row.pattern)
        return
    found = compile_pattern(row.pattern)
    assert [text for text in row.found if not found(text)] == []
    assert [text for text in row.not_found if found(text)] == []
    assert [text for text in row.found if not found(text)] == [], "what is remembered must not change the verdict"


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(?=a)b", "use two filters"),
        (r"(a)\1", "backreference"),
        (r"a\Z", r"write \\z or \$"),
        ("a**", r"write \(\?:a\*\)\*"),
        ("*a", r"nothing to repeat before '\*'"),
        ("a{1001}", "more than 1000 times"),
        ("a{2,1}", "more often than at most"),
        ("a{99999999999999999999}", "more than 1000 times"),
        ("(?:a{100}){100}", "too large"),
        ("(?:(?:){1000}){1000}", "too large"),
        ("(" * 101 + ")" * 101, "more than 100 groups inside each other"),
        ("a?b?" * 40 + "c", "different ways to go on"),
        ("a)", r"write \\\)"),
        ("(a", r"write \\\("),
        ("[a", r"write \\\["),
        ("a\\", r"write \\\\"),
        (r"\p{Greek}", "no scripts"),
        (r"\q", "means nothing in RE2"),
        (r"\xg", r"write \\x7f"),
        ("[z-a]", "runs backwards"),
        ("[[:foo:]]", "unknown class"),
        ("(?x)a", "unknown kind of group"),
    ],
)
def test_a_pattern_that_cannot_be_taken_is_refused_with_the_reason_and_what_to_write(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        compile_pattern(pattern)
    assert str(caught.value).startswith(repr(pattern))


@pytest.mark.parametrize(
    ("pattern", "unit"),
    [
        ("(a+)+$x", "a"),
        ("(a|a)*b", "a"),
        ("(a*)*b", "a"),
        ("a*a*a*a*a*b", "a"),
        (r"\d+x", "1"),
        ("temp.*high", "temp"),
        (r"^(\w+\s?)*$!", "word "),
        (r"(x+x+)+y", "x"),
        (r"(.*)(.*)(.*)(.*)(.*)[0-9]$", "z"),
    ],
)
def test_patterns_that_hang_other_engines_are_searched_in_a_moment(pattern: str, unit: str) -> None:
    found = compile_pattern(pattern)
    text = unit * (EVENT_CHARS // len(unit))
    began = time.process_time()
    assert not found(text)
    assert time.process_time() - began < 1, "linear is a hundredth of that; quadratic is many minutes"


@pytest.mark.parametrize(
    "pattern", ["[ab]*a[ab]{200}c", "a[ab]{0,990}c", "(?:a[ab]{0,90}){10}c", "a[ab]{0,800}" + "(?:[ab]?c?)" * 31 + "d"]
)
def test_a_pattern_and_data_made_to_defeat_what_is_remembered_take_bounded_time_and_memory(
    pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    automata: list[filter_pattern_automaton.Automaton] = []
    prepare = filter_pattern_automaton.Automaton.__init__

    def remember(self: filter_pattern_automaton.Automaton, *args: object) -> None:
        automata.append(self)
        prepare(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(filter_pattern_automaton.Automaton, "__init__", remember)
    found = compile_pattern(pattern)
    chance = random.Random(1)  # noqa: S311  the same text in every run
    text = "".join(chance.choice("ab") for _ in range(20_000))
    began = time.process_time()
    assert not found(text)
    assert time.process_time() - began < 2, "about 10 microseconds a character at the worst"
    [automaton] = automata
    assert len(automaton._states) <= filter_pattern_automaton._MAX_TRANSITIONS
    assert sum(map(len, automaton._states.values())) <= filter_pattern_automaton._MAX_TRANSITIONS


def test_a_text_of_ever_new_characters_is_not_remembered_without_end() -> None:
    found = compile_pattern("^[^x]*y$")
    text = "".join(map(chr, range(0x1000, 0x9000)))
    assert found(text + "y")
    assert not found(text + "z")
