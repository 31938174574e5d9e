from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.core.paths import MISSING, compile_path, lookup, text_of

EVENT = {
    "source": "boiler-1",
    "body": {"temp": 97.1, "readings": [{"value": 1}, {"value": None}], "a.b": "dot", "0": "zero", "x y": 1, "": 2},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("source", "boiler-1"),
        ("body.temp", 97.1),
        ("body.readings.0.value", 1),
        ("body.readings.1.value", None),
        ("body.readings.00.value", 1),
        (r"body.a\.b", "dot"),
        ("body.0", "zero"),
        ("body.x y", 1),
    ],
)
def test_a_path_finds_names_and_indexes(path: str, value: object) -> None:
    assert lookup(compile_path(path), EVENT) == value


@pytest.mark.parametrize(
    "path",
    [
        "nobody",
        "body.nothing",
        "body.temp.value",
        "body.readings.2",
        "body.readings.-1",
        "body.readings.value",
        "body.readings.\u0661",
        "source.0",
        "body.readings.1.value.x",
    ],
)
def test_what_the_event_does_not_have_is_missing_and_not_null(path: str) -> None:
    assert lookup(compile_path(path), EVENT) is MISSING


@pytest.mark.parametrize("path", ["", ".", "a.", ".a", "a..b"])
def test_a_path_with_an_empty_part_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="empty part"):
        compile_path(path)


@pytest.mark.parametrize("path", ["a.#", "a.*", "a?", "a|b", "@this", "[a,b]", "{a}", '!"x"', 'a.#(b=="c").d'])
def test_the_rest_of_gjson_is_refused_by_name_and_never_read_differently(path: str) -> None:
    with pytest.raises(ValueError, match="is not supported in a path"):
        compile_path(path)


@pytest.mark.parametrize(("path", "part"), [(r"a\#", "a#"), (r"\*", "*"), (r"a\\b", r"a\b"), (r"\@this", "@this")])
def test_a_backslash_makes_a_sign_a_letter(path: str, part: str) -> None:
    assert compile_path(path) == (part,)


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4))
def test_every_name_can_be_reached_when_its_signs_are_escaped(names: list[str]) -> None:
    event: Any = "found"
    for name in reversed(names):
        event = {name: event}
    path = ".".join("".join(f"\\{sign}" for sign in name) for name in names)
    assert lookup(compile_path(path), event) == "found"


@given(st.text(max_size=20), JSON)
def test_any_text_is_a_path_that_finds_something_or_nothing_or_is_refused(text: str, event: object) -> None:
    try:
        path = compile_path(text)
    except ValueError:
        return
    lookup(path, event)


# The right column is what gjson 1.19's String() gives for the left one.
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("97.10", "97.10"),
        (12345678901234567890, "12345678901234567890"),
        (-3, "-3"),
        (1500.0, "1500"),
        (1.0, "1"),
        (0.1, "0.1"),
        (1e21, "1000000000000000000000"),
        (1.5e-7, "0.00000015"),
        (True, "true"),
        (False, "false"),
        (None, "null"),
        ({"a": [1, 2]}, '{"a":[1,2]}'),
        ([], "[]"),
    ],
)
def test_a_values_text_is_the_one_that_gjson_gives(value: object, text: str) -> None:
    assert text_of(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_numbers_text_is_plain_decimal_and_loses_nothing(number: float) -> None:
    text = text_of(number)
    assert "e" not in text.lower()
    assert float(text) == number


@given(JSON)
def test_every_value_has_a_text(value: object) -> None:
    text = text_of(value)
    if isinstance(value, (dict, list)):
        assert msgspec.json.decode(text) == msgspec.json.decode(msgspec.json.encode(value))
