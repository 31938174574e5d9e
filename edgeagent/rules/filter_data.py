"""One entry of `filters.data`: a path, a type, a comparator, and values of which one must match.

The event's value is converted to the type as Argo Events does it: a numeric string is a number, `true` is 1, anything
else is 0. If the event has no value at the path, that is an error and not `false`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from edgeagent.errors import MessageError
from edgeagent.lang.gjson.path import MISSING, Path, lookup, reader_of, text_of
from edgeagent.lang.re2.refused import PatternRefused
from edgeagent.rules.event_path import FILTER_MEMBERS, compile_event_path
from edgeagent.rules.spec import DataFilter

Condition = Callable[[Any], bool]
Test = Callable[[Any], bool]

_NUMBER_COMPARATORS: dict[str, Callable[[float, float], bool]] = {
    "": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_STRING_COMPARATORS = ("", "=", "!=")
# The texts that Go's strconv.ParseBool accepts.
_BOOLS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}


def compile_data(condition: DataFilter) -> Condition:
    """A function that says whether an envelope meets the condition; it raises `MessageError` if the path is missing.

    Raises:
        ValueError: the condition can never be valid; the text says why.
    """
    path = compile_event_path(condition.path, FILTER_MEMBERS)
    if not condition.value:
        raise ValueError("value must have at least one entry")
    if "" in condition.value:
        raise ValueError('value has an empty entry, which Argo Events refuses too: write "^$" for an empty text')
    known = _STRING_COMPARATORS if condition.type == "string" else tuple(_NUMBER_COMPARATORS)
    if condition.comparator not in known:
        raise ValueError(f"comparator must be one of {', '.join(filter(None, known))}, is {condition.comparator!r}")
    if condition.type == "number":
        return _number(path, condition)
    if condition.type == "bool":
        return _bool(path, condition)
    return _string(path, condition)


def value_at(path: Path, envelope: Any) -> Any:
    """The event's value at a path.

    Raises:
        MessageError: it has none.
    """
    value = lookup(path, envelope)
    if value is MISSING:
        raise MessageError("filter", path.text, _no_value(path, envelope))
    return value


def _no_value(path: Path, envelope: Any) -> str:
    """Why there is no value; data that is no JSON is a text in the envelope, and so has no values within it."""
    if path.text.startswith("body.") and isinstance(envelope.get("body"), str):
        return (
            "the event has no such value: its data is one text. A payload that is not JSON is taken as text or bytes: "
            "have the device send JSON"
        )
    return "the event has no such value"


def later_problems(condition: DataFilter) -> Iterator[str]:
    """Yield the mistakes in values after the first, which only some events reach. The condition itself compiles."""
    make = _maker(condition)
    for value in condition.value[1:]:
        try:
            make(value)
        except ValueError as exc:
            yield str(exc)


def _maker(condition: DataFilter) -> Callable[[str], Test]:
    """A function that makes a test of one entry of `value`, for the event's value as it is compared."""
    if condition.type == "number":
        return partial(_number_test, _NUMBER_COMPARATORS[condition.comparator])
    if condition.type == "bool":
        return _bool_test
    return partial(_string_test, condition.comparator != "!=")


def _tests(path: Path, condition: DataFilter) -> list[Test]:
    """A test for each entry of `value`.

    Argo Events evaluates an entry only if no earlier one matches, and only then a wrong entry is an error; this does
    the same. An entry that Argo Events accepts and this program does not is refused at once.
    """
    make = _maker(condition)
    tests = [make(condition.value[0])]
    for value in condition.value[1:]:
        try:
            tests.append(make(value))
        except PatternRefused:
            raise
        except ValueError as exc:
            tests.append(partial(_wrong, path.text, str(exc)))
    return tests


def _wrong(path: str, reason: str, _: Any) -> bool:
    raise MessageError("filter", path, reason)


def _number(path: Path, condition: DataFilter) -> Condition:
    if len(condition.value) == 1:  # nearly always true; for the first row of `benchmarks rules`
        compare, only, read = (
            _NUMBER_COMPARATORS[condition.comparator],
            _parse_number(condition.value[0]),
            reader_of(path),
        )

        def holds_one(envelope: Any) -> bool:
            value = read(envelope)
            if value.__class__ is not float:
                value = _as_number(value_at(path, envelope))
            return compare(value, only)

        return holds_one
    tests = _tests(path, condition)

    def holds(envelope: Any) -> bool:
        value = _as_number(value_at(path, envelope))
        return any(test(value) for test in tests)

    return holds


def _number_test(compare: Callable[[float, float], bool], text: str) -> Test:
    number = _parse_number(text)
    return lambda value: compare(value, number)


def _bool(path: Path, condition: DataFilter) -> Condition:
    """The comparator has no effect on a bool, as in Argo Events: `!=` is `=`."""
    tests = _tests(path, condition)

    def holds(envelope: Any) -> bool:
        value = _as_bool(value_at(path, envelope))
        return any(test(value) for test in tests)

    return holds


def _bool_test(text: str) -> Test:
    if text not in _BOOLS:
        raise ValueError(f'value {text!r} is not a bool: write "true" or "false"')
    wanted = _BOOLS[text]
    return lambda value: value is wanted


def _string(path: Path, condition: DataFilter) -> Condition:
    tests = _tests(path, condition)

    def holds(envelope: Any) -> bool:
        text = text_of(value_at(path, envelope), null="")
        return any(test(text) for test in tests)

    return holds


def _string_test(equal: bool, pattern: str) -> Test:
    from edgeagent.lang.re2.pattern import compile_pattern  # noqa: PLC0415  only for rules with patterns

    try:
        found = compile_pattern(pattern)
    except ValueError as exc:
        raise type(exc)(f"value {exc}") from None
    return lambda text: found(text) is equal


def _parse_number(text: str) -> float:
    """Parse like Go's strconv.ParseFloat: no blanks, no digits of other scripts, no overflow, no NaN with a sign."""
    if text != text.strip() or not text.isascii():
        raise ValueError(f"value {text!r} is not a number")
    lower = text.lower()
    try:
        # A hexadecimal number needs its exponent: "0x1p4", but not "0x10".
        number = float.fromhex(text) if "x" in lower and "p" in lower else float(text)
    except OverflowError:
        number = math.inf
    except ValueError:
        raise ValueError(f"value {text!r} is not a number") from None
    if math.isinf(number) and "inf" not in lower:
        raise ValueError(f"value {text!r} is too large for a number")
    if math.isnan(number) and lower != "nan":
        raise ValueError(f"value {text!r} is not a number")
    return number


def _as_number(value: Any) -> float:
    if isinstance(value, (int, float)):
        return _float(value)
    if isinstance(value, str):
        try:
            return _parse_number(value)
        except ValueError:
            return 0.0
    return 0.0


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of more than 308 digits
        return math.inf if value > 0 else -math.inf


def _as_bool(value: Any) -> bool:
    if isinstance(value, str):
        return _BOOLS.get(value, False)
    return isinstance(value, (int, float)) and value != 0
