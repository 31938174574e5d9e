from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.errors import MessageError
from edgeagent.lang.gjson.path import MISSING, compile_path, lookup, text_of

EVENT = {
    "source": "boiler-1",
    "body": {
        "temp": 97.1,
        "readings": [{"value": 1}, {"value": None}],
        "a.b": "dot",
        "0": "zero",
        "x y": 1,
        "": 2,
        "@type": "T",
        "!x": "loud",
    },
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
# Texts that look like paths more often than any text does.
SIGNS = st.sampled_from(list('ab0.|#()[]{}*?\\@!:,"=<>% '))
WORDS = SIGNS | st.sampled_from(["#(", ")#", "==", '"a"', "@keys", '@flatten:{"deep":true}', "@tostr", "@fromstr"])
PATHLIKE = st.text(SIGNS | st.characters(), max_size=20) | st.lists(WORDS, max_size=12).map("".join)


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
        (r"body.\0", "zero"),
        ("body.x y", 1),
        ("body.@type", "T"),
        ("body.!x", "loud"),
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
        r"body.readings.\0",
        f"body.readings.{'9' * 40}",
        "source.0",
        "body.readings.1.value.x",
    ],
)
def test_what_the_event_does_not_have_is_missing_and_not_null(path: str) -> None:
    assert lookup(compile_path(path), EVENT) is MISSING


@pytest.mark.parametrize(
    "path", ["", ".", "a.", ".a", "a..b", "a|", "|a", "a.#.", "[,]", "[]", "{}", "#(a=1).", "@this|"]
)
def test_a_path_with_an_empty_part_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="empty part"):
        compile_path(path)


@pytest.mark.parametrize(("path", "name"), [(r"a\#", "a#"), (r"\*", "*"), (r"a\\b", r"a\b"), (r"\@this", "@this")])
def test_a_backslash_makes_a_sign_a_letter(path: str, name: str) -> None:
    assert lookup(compile_path(path), {name: "found"}) == "found"


def test_a_path_keeps_its_text_for_messages() -> None:
    assert compile_path(r"body.a\.b").text == r"body.a\.b"
    assert repr(compile_path("body.#")) == "Path('body.#')"


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4))
def test_every_name_can_be_reached_when_its_signs_are_escaped(names: list[str]) -> None:
    event: Any = "found"
    for name in reversed(names):
        event = {name: event}
    path = ".".join("".join(f"\\{sign}" for sign in name) for name in names)
    assert lookup(compile_path(path), event) == "found"


@given(PATHLIKE, JSON)
def test_any_text_is_a_path_that_finds_something_or_nothing_or_is_refused(text: str, event: object) -> None:
    try:
        path = compile_path(text)
    except ValueError:
        return
    found = lookup(path, event)
    assert found is MISSING or isinstance(text_of(found), str)


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


def test_a_value_nested_too_deep_to_be_written_is_an_error_of_its_event_and_no_crash() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(MessageError, match="nested too deep"):
        text_of(deep)
    assert lookup(compile_path("a.@tostr"), {"a": deep}) is MISSING
    assert lookup(compile_path('a.@flatten:{"deep":true}'), {"a": deep}) == []
