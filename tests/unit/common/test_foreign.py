from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.common.foreign import MAX_SHOWN_CHARS, escaped, json_line, line, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("boiler-1: 97 °C", "boiler-1: 97 °C"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),  # clears the screen
        ("a\x9d0;title\x9cb", r"a\x9d0;title\x9cb"),  # C1: sets the window's title
        ("one\ntwo\r", r"one\ntwo\r"),
        ("a\u202eb\u2066c", r"a\u202eb\u2066c"),  # turns the direction of reading
        ("a\u2028b", r"a\u2028b"),
        ("\ud800", r"\ud800"),  # a lone surrogate cannot be encoded for a terminal
    ],
)
def test_what_could_steer_a_terminal_is_written_out(text: str, expected: str) -> None:
    assert escaped(text) == expected
    assert shown(text) == expected


def test_a_long_text_is_cut_and_says_how_long_it_was() -> None:
    assert shown("x" * 65_000).endswith("x… (65000 characters)")
    assert len(shown("x" * 65_000)) == MAX_SHOWN_CHARS


@given(st.text(alphabet=st.characters(), max_size=500), st.integers(30, 300))
def test_what_is_shown_is_always_printable_and_bounded(text: str, most: int) -> None:
    found = shown(text, most)
    assert found.isprintable()
    assert len(found) <= most


def test_a_text_in_sentences_is_one_line_of_single_spaces() -> None:
    assert line(" a\tb\u2028c \n") == "a b c"
    assert line("a  " * 100, 40) == "a a a a a a a a a a a … (199 characters)"
    assert line("no\x1b[31m\nred") == r"no\x1b[31m red"


@given(st.recursive(st.text(max_size=20) | st.integers() | st.none(), st.lists, max_leaves=5))
def test_json_of_foreign_text_is_printable_and_the_same_json(value: object) -> None:
    found = json_line(value)
    assert found.isprintable()
    assert json.loads(found) == value
    assert msgspec.json.decode(found) == value


def test_json_of_what_no_utf_8_has_is_still_json() -> None:
    assert json.loads(json_line({"file": "a\udcff"})) == {"file": "a\udcff"}
    assert json_line({"a": "\x1b]0;\x9c\u202e\U000e0001é"}) == r'{"a":"\u001b]0;\u009c\u202e\udb40\udc01é"}'
