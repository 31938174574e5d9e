from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.core.foreign import MAX_SHOWN_CHARS, escaped, shown


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
