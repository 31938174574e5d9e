"""Texts that an expression reads as dates; the instants were taken from `date -d`."""

from __future__ import annotations

import pytest

from edgeagent.lang.govaluate.expression import compile_expression


def value(text: str) -> object:
    return compile_expression(f"'{text}'", ())({})


@pytest.mark.parametrize(
    ("text", "unix_s"),
    [
        ("1970-01-01", 0),
        ("2026-01-31", 1769817600),
        ("2026-01-31 12:30", 1769862600),
        ("2026-01-31 9:30", 1769851800),
        ("2026-01-31   12:30", 1769862600),
        ("2026-01-31 12:30:15", 1769862615),
        ("2026-01-31 12:30:15.999", 1769862615),
        ("2026-01-31 12:30:15,5", 1769862615),
        ("2026-01-31 12:30:15+02:00", 1769855415),
        ("2026-01-31 12:30:15-05:30", 1769882415),
        ("2026-01-31T12Z", 1769860800),
        ("2026-01-31T9+0100", 1769846400),
        ("2026-01-31T12:30Z", 1769862600),
        ("2026-01-31T12:30+0200", 1769855400),
        ("2026-01-31T12:30:15Z", 1769862615),
        ("2026-01-31T12:30:15+0200", 1769855415),
        ("2026-01-31T12:30:15+02:00", 1769855415),
        ("2026-01-31T12:30:15.123456789012Z", 1769862615),
        ("1969-12-31T23:59:59Z", -1),
        ("2000-02-29", 951782400),
        ("0001-01-01", -62135596800),
        ("0000-01-01", -62167219200),
        ("9999-12-31T23:59:59Z", 253402300799),
    ],
)
def test_a_date_is_its_unix_seconds_and_without_an_offset_in_utc(text: str, unix_s: int) -> None:
    assert value(text) == float(unix_s)


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-30",
        "1900-02-29",
        "2026-13-01",
        "2026-00-10",
        "2026-1-31",
        "20260131",
        "26-01-31",
        "2026-01-31 ",
        " 2026-01-31",
        "2026-01-31T12:30:15",
        "2026-01-31T12:30+02:00",
        "2026-01-31 12",
        "2026-01-31 12:30Z",
        "2026-01-31 12:30:15Z",
        "2026-01-31 12:30:15+0200",
        "2026-01-31 12:30 +02:00",
        "2026-01-31 24:00",
        "2026-01-31 12:60",
        "2026-01-31 12:30:60",
        "2026-01-31 12:30:15.",
        "2026-01-31t12:30:15z",
        "2026-01-31T12:30:15 Z",
        "\uff12\uff10\uff12\uff16-01-31",
        "12:30:15",
        "12:30",
        "9:00am",
        "13:00PM",
        "9:60AM",
        "Monday",
    ],
)
def test_what_is_no_date_stays_a_text(text: str) -> None:
    assert value(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "9:00AM",
        "12:59PM",
        "Mon Jan  2 15:04:05 2006",
        "mon jan 2 15:04:05 MST 2006",
        "Mon Jan 02 15:04:05 -0700 2006",
        "2026-01-31T12:30:15+24:00",
        "2026-01-31T12:30:15+12:60",
    ],
)
def test_a_date_whose_instant_is_not_certain_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"character 1: the (text|date) .* (would be read as a date|has an offset)"):
        value(text)


def test_a_date_is_never_equal_to_a_text_and_is_compared_as_a_number() -> None:
    decide = compile_expression("at == '2026-01-31'", ["at"])
    assert decide({"at": "2026-01-31"}) is False
    assert decide({"at": 1769817600}) is True
    assert compile_expression("at >= '2026-01-31' && at < '2026-02-01'", ["at"])({"at": 1769817601}) is True


@pytest.mark.parametrize("text", ["at - '2026-01-31'", "at + '2026-01-31' > 1", "at << '2026-01-31'"])
def test_a_date_behind_an_operator_of_arithmetic_needs_parentheses(text: str) -> None:
    with pytest.raises(ValueError, match=r"put a date behind .* in parentheses"):
        compile_expression(text, ["at"])
    compile_expression(text.replace("'2026-01-31'", "('2026-01-31')"), ["at"])


@pytest.mark.parametrize("text", ["on ? '2026-01-31' : 0", "'2026-01-31' ?? 0", "'2026-01-31' ? 1 : 0"])
def test_a_date_before_a_ternary_operator_needs_parentheses(text: str) -> None:
    with pytest.raises(ValueError, match=r"put a date before .* in parentheses"):
        compile_expression(text, ["on"])
    compile_expression(text.replace("'2026-01-31'", "('2026-01-31')"), ["on"])
