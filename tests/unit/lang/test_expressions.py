from __future__ import annotations

import math
from typing import Any

import pytest

from edgeagent.lang.govaluate.expression import ExpressionError, compile_expression, unknown_fields

VALUES: dict[str, Any] = {
    "temp": 97.5,
    "count": 3,
    "state": "running",
    "on": True,
    "off": False,
    "nothing": None,
    "tags": ["wet", 3, None],
    "place": {"floor": 2},
    "a-b": 7,
    "a]b": 8,
    "a b": 9,
    "größe": 10,
    "huge": 10**400,
}


def result(text: str, **values: Any) -> Any:
    known = VALUES | values
    return compile_expression(text, known)(known)


def undecided(text: str, **values: Any) -> str:
    known = VALUES | values
    decide = compile_expression(text, known)
    with pytest.raises(ExpressionError) as caught:
        decide(known)
    return str(caught.value)


def identical(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        both_nan = math.isnan(one) and math.isnan(other)
        return both_nan or (one, math.copysign(1, one)) == (other, math.copysign(1, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("temp > 90 && state == 'running'", True),
        ("temp > 90 && state == 'idle'", False),
        ("temp + count == 100.5", True),
        ("count in (1, 2, 3)", True),
        ("count IN (1, 2)", False),
        ('state in ("idle", "running")', True),
        ("state =~ '^run'", True),
        ("state !~ ('^run')", False),
        ("!off", True),
        ("temp", 97.5),
        ("count", 3.0),
        ("nothing", None),
        ("on ? 'yes' : 'no'", "yes"),
        ("off ? 'yes' : 'no'", "no"),
        ("nothing ?? 5", 5.0),
        ("temp ?? 5", 97.5),
    ],
)
def test_an_expression_gives_what_a_sensor_would_see(text: str, wanted: Any) -> None:
    assert identical(result(text), wanted)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1 - 2 - 4", -5.0),
        ("64 / 4 / 2", 8.0),
        ("2 ** 3 ** 2", 64.0),
        ("1 << 1 << 3", 16.0),
        ("10 - 3 + 2 - 1 + 7 - 4", 11.0),
        ("2 + 3 * 4", 14.0),
        ("2 * 3 ** 2", 18.0),
        ("-3 ** 2", 9.0),
        ("-count ** 2", 9.0),
        ("1 - -1", 2.0),
        ("1 << 1 + 2", 8.0),
        ("8 | 1 << 1", 10.0),
        ("6 & 3 | 8 ^ 1", 11.0),
        ("6 & 2 == 2", True),
        ("1 | 2 & 4", 0.0),
        ("1 < 2 == true", True),
        ("1 == 1 == true", True),
        ("!on == off", True),
        ("on || on && off", True),
        ("(on || on) && off", False),
        ("off ? 1 : on ? 2 : 3", 2.0),
        ("nothing ?? off ? 1 : 2", 2.0),
        ("count - (2 - 1)", 2.0),
    ],
)
def test_operators_bind_and_group_as_in_govaluate(text: str, wanted: Any) -> None:
    assert identical(result(text), wanted)


def test_a_ternary_in_a_ternary_is_grouped_from_the_left() -> None:
    assert "? needs a bool" in undecided("on ? 1 : off ? 2 : 3")
    assert result("on ? 1 : (off ? 2 : 3)") == 1.0


def test_a_ternary_whose_chosen_value_is_null_gives_the_other() -> None:
    assert result("on ? nothing : 7") == 7.0
    assert result("off ? 7") is None


@pytest.mark.parametrize(
    "text",
    [
        "1 == '1'",
        "1 == true",
        "nothing == 0",
        "nothing == off",
        "'' == off",
        "tags == 'wet'",
        "count == '3'",
        "place == tags",
    ],
)
def test_values_of_different_types_are_never_equal(text: str) -> None:
    assert result(text) is False
    assert result(text.replace("==", "!=")) is True


def test_lists_and_objects_are_equal_when_all_in_them_is() -> None:
    assert result("tags == ('wet', 3, nothing)") is True
    assert result("tags == ('wet', '3', nothing)") is False
    assert result("tags == (tags, 1)") is False
    assert result("place == other", other={"floor": 2.0}) is True
    assert result("place == other", other={"floor": True}) is False
    assert result("place == other", other={"storey": 2}) is False


def test_whole_numbers_of_an_event_are_float64() -> None:
    assert result("whole == 9007199254740992", whole=9007199254740993) is True
    assert result("members == (9007199254740992, 0)", members=[9007199254740993, 0]) is True
    assert result("9007199254740992 in members", members=[9007199254740993]) is True
    assert result("huge == 1/0") is True
    assert result("-huge", huge=-(10**400)) == math.inf


@pytest.mark.parametrize(
    "text",
    [
        "count > '3'",
        "on > off",
        "nothing < 1",
        "tags >= tags",
        "state <= 3",
        "count && on",
        "on && count",
        "count || on",
        "off || state",
        "!count",
        "-state",
        "-on",
        "~state",
        "count - state",
        "on + 1",
        "nothing + 1",
        "state * 2",
        "tags + tags",
        "1 % on",
        "state | 1",
        "count << state",
        "count =~ 'x'",
        "nothing !~ 'x'",
        "count ? 1 : 2",
        "count in temp",
        "'w' in state",
        "2 in place",
    ],
)
def test_an_operator_refuses_values_that_it_cannot_take(text: str) -> None:
    assert "needs" in undecided(text)


def test_what_is_already_decided_is_not_looked_at() -> None:
    assert result("off && count > 'x'") is False
    assert result("on || count > 'x'") is True
    assert result("off && off && count") is False
    assert result("off ? count > 'x' : 4") == 4.0
    assert result("on ? 4 : count > 'x'") == 4.0
    assert result("temp ?? count > 'x'") == 97.5


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1 / 0", math.inf),
        ("-1 / 0", -math.inf),
        ("1 / (-(0))", -math.inf),
        ("0 / 0", math.nan),
        ("5 % 3", 2.0),
        ("-5.5 % 2", -1.5),
        ("5 % 0", math.nan),
        ("(1 / 0) % 2", math.nan),
        ("10 ** 400", math.inf),
        ("(0 - 10) ** 401", -math.inf),
        ("0 ** -1", math.inf),
        ("(-(0)) ** -1", -math.inf),
        ("(-(0)) ** -2", math.inf),
        ("(-8) ** (1 / 3)", math.nan),
        ("0.1 + 0.2", 0.30000000000000004),
        ("0xff", 255.0),
        ("0x1F + .5 + 2.", 33.5),
        ("0xffffffffffffffff", 18446744073709551616.0),
        ("7.9 & 3.9", 3.0),
        ("-7.9 | 0", -7.0),
        ("-1 & 255", 255.0),
        ("5 ^ 1", 4.0),
        ("~5.7", -6.0),
        ("1 << 63", 9223372036854775808.0),
        ("1 << 64", 0.0),
        ("3 << 63", 9223372036854775808.0),
        ("1 << 1000000000000", 0.0),
        ("-0.5 << 1", 0.0),
        ("9 >> 1.9", 4.0),
    ],
)
def test_numbers_are_those_of_go(text: str, wanted: float) -> None:
    assert identical(result(text), wanted)


@pytest.mark.parametrize(
    "text", ["-1 << 1", "1 << -1", "-1 >> 1", "(1 / 0) & 1", "(0 / 0) | 1", "2 ** 63 ^ 1", "~(2 ** 64)"]
)
def test_what_go_leaves_to_the_processor_is_not_decided(text: str) -> None:
    assert "not a whole number of 64 bits" in undecided(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("'a' + 'b'", "ab"),
        ("'n=' + 73", "n=73"),
        ("0.5 + '%'", "0.5%"),
        ("'' + 999999.5", "999999.5"),
        ("'' + 1000000", "1e+06"),
        ("'' + 1234567.5", "1.2345675e+06"),
        ("'' + 0.0001", "0.0001"),
        ("'' + 0.00001", "1e-05"),
        ("'' + -12345678", "-1.2345678e+07"),
        ("'' + 1 / 3", "0.3333333333333333"),
        ("'' + 1 / 0", "+Inf"),
        ("'' + 0 / 0", "NaN"),
        ("'' + (-(0))", "-0"),
        ("'' + on", "true"),
        ("'' + off", "false"),
        ("nothing + ''", "<nil>"),
    ],
)
def test_plus_joins_texts_with_the_text_go_gives_a_value(text: str, wanted: str) -> None:
    assert result(text) == wanted


def test_lists_and_objects_join_no_text() -> None:
    assert "cannot join" in undecided("'' + tags")
    assert "cannot join" in undecided("place + ''")


def test_texts_are_ordered_by_their_letters_codes() -> None:
    assert result("'Z' < 'a' && 'a' < 'ab' && 'z' < 'é' && 'b' >= 'b'") is True


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("(1, 2, 3)", [1.0, 2.0, 3.0]),
        ("((1, 2), 3)", [1.0, 2.0, 3.0]),
        ("(1, (2, 3))", [1.0, [2.0, 3.0]]),
        ("(tags, 5)", ["wet", 3, None, 5.0]),
        ("(on ? 1 : 2, nothing)", [1.0, None]),
    ],
)
def test_a_list_continues_a_list_in_its_first_place(text: str, wanted: list[Any]) -> None:
    assert result(text) == wanted


def test_in_looks_for_a_value_of_the_same_type() -> None:
    assert result("3 in tags") is True
    assert result("'3' in tags") is False
    assert result("nothing in tags") is True
    assert result("nothing in (1, 2)") is False
    assert result("on in (1, 'true')") is False
    assert result("tags in (1, 2)") is False
    assert "cannot look for a list" in undecided("tags in (1, tags)")
    assert "cannot look for an object" in undecided("place in places", places=[{"floor": 2}])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[a-b]", 7.0),
        (r"a\-b", 7.0),
        (r"[a\]b]", 8.0),
        ("[a b]", 9.0),
        (r"a\ b", 9.0),
        ("größe", 10.0),
        ("[temp]>1", True),
        ("[in] == 1", True),
        ("[true] == 1", True),
        (r"[a\.b]", 2.0),
        ("[a.b]", 2.0),
    ],
)
def test_names_with_other_signs_stand_in_brackets_or_behind_backslashes(text: str, wanted: Any) -> None:
    assert identical(result(text, **{"in": 1, "true": 1, "a.b": 2}), wanted)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (r"'it\'s'", "it's"),
        (r'"say \"a\""', 'say "a"'),
        (r"'\\'", "\\"),
        (r"'\d\n'", "dn"),
        ("''", ""),
        ("' a  b '", " a  b "),
        ("'ünï'", "ünï"),
        ("'a\nb'", "a\nb"),
    ],
)
def test_a_backslash_in_a_text_stands_for_the_character_behind_it(text: str, wanted: str) -> None:
    assert result(text) == wanted


def test_a_pattern_is_searched_anywhere_in_the_text() -> None:
    assert result("state =~ 'nn'") is True
    assert result("state =~ '^nn'") is False
    assert result(r"state =~ '^r\\w+g$'") is True
    assert result(r"'a1' =~ '\\d'") is True
    assert result(r"'a1' =~ '\d'") is False
    assert result("state !~ 'idle' && on") is True
    assert result("state =~ 'run' == on") is True


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("on || gone", True),
        ("off && gone", False),
        ("true || gone > 1", True),
        ("(temp > 90 || gone) && on", True),
        ("on || gone || gone2", True),
        ("on == (on || gone)", True),
        ("on ? on : gone", True),
        ("off ? gone : on", True),
        ("count ?? gone", 3.0),
        ("on || count in (gone, 1)", True),
        ("on || null == 1", True),
    ],
)
def test_a_name_that_is_no_field_is_minded_only_where_it_is_asked_for(text: str, wanted: Any) -> None:
    assert identical(result(text), wanted)
    assert unknown_fields(text, VALUES)[0] in {"gone", "null"}


@pytest.mark.parametrize("text", ["off || gone", "on && gone", "nothing ?? gone", "off ? on : gone", "on ? gone : on"])
def test_a_name_that_is_no_field_and_is_asked_for_is_an_error_of_the_event(text: str) -> None:
    assert undecided(text) == "there is no value for gone"


def test_a_field_without_a_value_is_not_decided() -> None:
    decide = compile_expression("temp > 1", ["temp"])
    with pytest.raises(ExpressionError, match="there is no value for temp"):
        decide({})


def test_a_compiled_expression_can_be_used_again() -> None:
    decide = compile_expression("temp > 90 ? 'hot' : 'cold'", {"temp"})
    assert [decide({"temp": temp}) for temp in (95, 20, 90.5)] == ["hot", "cold", "hot"]
