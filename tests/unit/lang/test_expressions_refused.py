"""What is refused when the configuration is read, with the reason and the place."""

from __future__ import annotations

import pytest

from edgeagent.lang.govaluate.expression import compile_expression

NAMES = ["temp", "state", "on", "a-b"]


def problem(text: str) -> str:
    with pytest.raises(ValueError, match="character") as caught:
        compile_expression(text, NAMES)
    assert type(caught.value) is ValueError
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "character 1: a value is missing before the end"),
        ("  ", "character 3: a value is missing before the end"),
        ("temp >", "character 7: a value is missing before the end"),
        ("> 3", "character 1: a value is missing before '>'"),
        ("temp > * 3", "character 8: a value is missing before '*'"),
        ("temp 3", "character 6: an operator is missing before this value"),
        ("temp state", "character 6: an operator is missing before 'state'"),
        ("temp 'x'", "character 6: an operator is missing before 'x'"),
        ("(temp) state", "character 8: an operator is missing before 'state'"),
        ("(temp on)", "character 7: an operator is missing before 'on'"),
        ("(temp", "character 1: the ( has no )"),
        ("temp)", "character 5: this ) has no ("),
        (")(", "character 1: a value is missing before ')'"),
        ("()", "character 1: there is nothing in these parentheses"),
        ("temp == ()", "character 9: there is nothing in these parentheses"),
        ("(temp ==)", "character 9: a value is missing before ')'"),
        ("(1,)", "character 4: a value is missing before ')'"),
        ("(,1)", "character 2: a value is missing before ','"),
        ("1, 2", "character 2: a list stands in parentheses"),
        ("temp in 1, 2", "character 6: in needs a list"),
        ("[temp", "character 1: the [ has no ]"),
        ("'temp", "character 1: the text has no end"),
        ("temp]", "character 5: ']' means nothing here"),
    ],
)
def test_a_malformed_expression_is_refused_where_it_goes_wrong(text: str, reason: str) -> None:
    assert reason in problem(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("pressure > 3", "there is no field 'pressure'; the fields are: a-b, on, state, temp"),
        ("pressure > 3 || on", "character 1: there is no field"),
        ("on & pressure > 3 || on", "character 6: there is no field"),
        ("!pressure", "character 2: there is no field"),
        ("TRUE", "there is no field 'TRUE'"),
        ("a-b > 1", "there is no field 'a'"),
        ("[] == 1", "there is no field ''"),
        ("temp == null", "there is no null: write the value to take instead, as in field ?? 0"),
        ("nil == temp", "there is no nil"),
    ],
)
def test_a_name_that_is_no_field_is_refused(text: str, reason: str) -> None:
    assert reason in problem(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("len(state) > 3", "len(…): there are no functions"),
        ("temp (3)", "temp(…): there are no functions"),
        ("temp.value > 3", "write [temp.value] for a field of that name"),
        ("temp.Value() > 3", "members of a value cannot be read here"),
        (r"temp\.value", "members of a value cannot be read here"),
    ],
)
def test_functions_and_members_are_refused(text: str, reason: str) -> None:
    assert reason in problem(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("temp==-1", "'==-' is not an operator; if these are several, put a blank between them"),
        ("on&&!on", "'&&!' is not an operator"),
        ("temp>.5", "'>.' is not an operator"),
        ("!!on", "'!!' is not an operator"),
        ("temp = 3", "= is not an operator; write =="),
        ("temp <> 3", "<> is not an operator; write !="),
        ("temp === 3", "'===' is not an operator"),
        ("on and on", "an operator is missing before 'and'; write &&"),
        ("on or on", "write ||"),
        ("temp is 3", "write =="),
        ("temp # 3", "'#' means nothing here"),
        ("temp ! 3", "an operator is missing before '!'"),
        ("_temp", "'_' means nothing here"),
        ("temp\\", "nothing follows the backslash"),
        ("3 \\+ 4", "is not an operator"),
        ("temp In (1, 2)", "an operator is missing before 'In'"),
        ("\x1f temp", "means nothing here"),
    ],
)
def test_what_is_no_operator_is_refused_with_what_to_write(text: str, reason: str) -> None:
    assert reason in problem(text)


@pytest.mark.parametrize("text", ["! !on", "- -temp", "-'x'", "!'x'", "-'2026-01-31'", "- ", "!)"])
def test_a_prefix_stands_only_before_what_it_can_take(text: str) -> None:
    assert "stands before a number, a bool, a field or a parenthesis" in problem(text)


@pytest.mark.parametrize("text", ["1e3", "1.2.3", ".", "1..2", "0x", "0xg", "0x 1f", "0X1F", "12a", "1_000", "٣", "1٣"])
def test_what_is_no_number_is_refused(text: str) -> None:
    assert "character" in problem(text)


def test_a_number_that_float64_cannot_hold_is_refused() -> None:
    assert "too large" in problem("9" * 400)
    assert "more than 64 bits" in problem("0x1" + "0" * 16)


@pytest.mark.parametrize("text", ["'temp\"", '"it\'s"', "'say \"a\"'"])
def test_a_text_with_the_other_quote_in_it_is_refused(text: str) -> None:
    """Either quote ends a text in govaluate, whichever began it."""
    assert "either quote ends a text" in problem(text)


@pytest.mark.parametrize(
    "text", ["state =~ state", "state =~ 'a' + 'b'", "state !~ 3", "state =~ (on ? 'a' : 'b')", "state =~ '2026-01-31'"]
)
def test_a_pattern_is_written_in_the_expression_or_refused(text: str) -> None:
    assert "must stand in the expression as one text" in problem(text)


@pytest.mark.parametrize("pattern", ["(", "[a", "(?=a)", r"(a)\\1", "a{2000}"])
def test_a_pattern_that_cannot_be_used_is_refused(pattern: str) -> None:
    assert problem(f"state =~ '{pattern}'").startswith("character 7: ")


@pytest.mark.parametrize("text", ["temp in 3", "temp in (3)", "temp in 'abc'", "temp in true"])
def test_in_with_something_that_is_never_a_list_is_refused(text: str) -> None:
    assert "in needs a list" in problem(text)
