from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.dispatcher.cursor import cursor_payload, parse_cursor, unix_s

NOON_S = 1_774_008_000.0  # 2026-03-20T12:00:00Z


@given(st.floats(0, 4e9))
def test_a_cursor_comes_back_as_it_was_kept(cursor_s: float) -> None:
    assert parse_cursor(cursor_payload(cursor_s)) == pytest.approx(cursor_s, abs=0.0011)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"x",
        b"\xff",
        b"{}",
        b'{"finished": 5}',
        b'{"finished": "soon"}',
        b'{"finished": "0001-01-01T00:00:00+14:00"}',
        b'{"finished": "1969-12-31T23:59:59Z"}',
        b"[" * 100_000,
    ],
)
def test_a_cursor_that_cannot_be_read_is_none(payload: bytes) -> None:
    assert parse_cursor(payload) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-03-20T12:00:00Z", NOON_S),
        ("2026-03-20T13:00:00+01:00", NOON_S),
        ("2026-03-20T12:00:00", NOON_S),
        ("2026-03-20T12:00:00.500Z", NOON_S + 0.5),
        (None, None),
        ("", None),
        ("noon", None),
    ],
)
def test_times_of_the_engine_are_read(text: str | None, seconds: float | None) -> None:
    assert unix_s(text) == seconds
