from __future__ import annotations

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.errors import MessageError
from edgeagent.events.payload import Data, as_json, as_text, no_number_hint, read


@pytest.mark.parametrize("word", ["NaN", "nan", "-nan", "Infinity", "-Infinity", "inf", "+INF"])
def test_numbers_that_are_none_are_null_where_that_is_asked_for_and_texts_stay(word: str) -> None:
    payload = f'{{"a": {word}, "b": [{word},1.50], "{word}": "x {word} \\" {word}"}}'.encode()
    data = read(payload, "json", nan_is_null=True)
    assert data.value == {"a": None, "b": [None, 1.5], word: f'x {word} " {word}'}
    assert b"1.50" in data.data
    with pytest.raises(MessageError, match="at byte 6 is not a number in JSON"):
        read(payload, "json", nan_is_null=False)


def test_auto_takes_as_opaque_what_is_no_json() -> None:
    for payload in (b"on", b"0097", b"+97", b"\xff", b""):
        assert read(payload, "auto", nan_is_null=False) == Data(payload, False, msgspec.UNSET)


def test_a_word_in_which_nan_stands_is_no_number() -> None:
    assert no_number_hint(b"{banana: 1, x.nan: 2}") == ""


def test_a_payload_that_never_ends_its_text_costs_a_moment() -> None:
    began_s = time.thread_time()
    assert no_number_hint(b'"' + b'\\"' * 2_000_000) == ""
    assert time.thread_time() - began_s < 5


@given(st.binary())
def test_no_payload_breaks_a_reader_and_what_comes_out_as_json_is_json(payload: bytes) -> None:
    for data in (as_json(payload), as_text(payload)):
        if data is not None:
            assert data.is_json
            assert msgspec.json.decode(data.data) == data.value
