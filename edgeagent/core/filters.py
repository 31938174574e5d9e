"""Filters: does an event's envelope meet a rule's conditions? The meaning is that of Argo Events' data filter.

A condition names a path, a type, a comparator and values of which one must hold. The event's value is coerced to the
type as Argo Events does it (a numeric string is a number, `true` is 1, anything else 0). A path that the event does
not have is an error, not `false`: with `and` it ends the evaluation, with `or` it counts as false.

String values are searched in the text as regular expressions in Argo Events. Only those patterns are accepted here
whose meaning is plain text, with `^` and `$` at the ends: their time is linear and no engine can read them otherwise.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

from edgeagent.core.paths import MISSING, Path, compile_path, lookup, text_of
from edgeagent.core.rulespec import DataFilter, Filters
from edgeagent.errors import MessageError

Condition = Callable[[Any], bool]

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
# What Go's strconv.ParseBool takes.
_BOOLS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
_REGEX_SIGNS = frozenset("\\.+*?()|[]{}^$")


def filter_problems(filters: Filters) -> Iterator[tuple[str, str]]:
    """What is wrong in a rule's filters: key path below `filters`, and reason."""
    for index, condition in enumerate(filters.data):
        try:
            _compile(condition)
        except ValueError as exc:
            yield f"data[{index}]", str(exc)


def compile_filters(filters: Filters) -> Callable[[Any], bool]:
    """A function that tells whether an envelope passes.

    The filters must have no `filter_problems`. The function raises `MessageError` when a path does not exist in the
    event and nothing else decided the matter.
    """
    conditions = [_compile(condition) for condition in filters.data]
    if filters.data_logical_operator == "or":
        return lambda envelope: _any(conditions, envelope)
    return lambda envelope: all(condition(envelope) for condition in conditions)


def _any(conditions: list[Condition], envelope: Any) -> bool:
    """Under `or` a condition in error counts as false; only when none holds is the error told."""
    first_error: MessageError | None = None
    for condition in conditions:
        try:
            if condition(envelope):
                return True
        except MessageError as exc:
            first_error = first_error or exc
    if first_error is not None:
        raise first_error
    return not conditions


def _compile(condition: DataFilter) -> Condition:
    path = compile_path(condition.path)
    if not condition.value:
        raise ValueError("value must have at least one entry")
    if condition.type == "number":
        return _number(path, condition)
    if condition.type == "bool":
        return _bool(path, condition)
    return _string(path, condition)


def _number(path: Path, condition: DataFilter) -> Condition:
    compare = _NUMBER_COMPARATORS.get(condition.comparator)
    if compare is None:
        raise ValueError(f"comparator must be one of {', '.join(_NUMBER_COMPARATORS)}, is {condition.comparator!r}")
    wanted = [_parse_number(text) for text in condition.value]
    if len(wanted) == 1:
        only = wanted[0]
        return lambda envelope: compare(_as_number(_value(path, envelope)), only)

    def holds(envelope: Any) -> bool:
        value = _as_number(_value(path, envelope))
        return any(compare(value, number) for number in wanted)

    return holds


def _bool(path: Path, condition: DataFilter) -> Condition:
    unknown = [text for text in condition.value if text not in _BOOLS]
    if unknown:
        raise ValueError(f'value {unknown[0]!r} is no bool: write "true" or "false"')
    wanted = {_BOOLS[text] for text in condition.value}
    return lambda envelope: _as_bool(_value(path, envelope)) in wanted


def _string(path: Path, condition: DataFilter) -> Condition:
    if condition.comparator not in _STRING_COMPARATORS:
        raise ValueError(f"comparator must be one of {', '.join(_STRING_COMPARATORS)}, is {condition.comparator!r}")
    patterns = [_parse_pattern(text) for text in condition.value]
    equal = condition.comparator != "!="

    def holds(envelope: Any) -> bool:
        text = text_of(_value(path, envelope), null="")
        return any(pattern(text) is equal for pattern in patterns)

    return holds


def _value(path: Path, envelope: Any) -> Any:
    value = lookup(path, envelope)
    if value is MISSING:
        raise MessageError("filter", ".".join(path), "the event has no such value")
    return value


def _parse_number(text: str) -> float:
    """As Go's strconv.ParseFloat: no blanks, no digits of other scripts, no overflow."""
    if text != text.strip() or not text.isascii():
        raise ValueError(f"value {text!r} is no number")
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"value {text!r} is no number") from None
    if math.isinf(number) and "inf" not in text.lower():
        raise ValueError(f"value {text!r} is too large for a number")
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


def _parse_pattern(pattern: str) -> Callable[[str], bool]:
    """A regular expression that is plain text, perhaps anchored, as a function."""
    escapes = len(pattern[:-1]) - len(pattern[:-1].rstrip("\\"))
    at_start, at_end = pattern.startswith("^"), pattern.endswith("$") and escapes % 2 == 0
    literal = ""
    signs = iter(pattern[at_start : len(pattern) - at_end])
    for sign in signs:
        if sign == "\\":
            escaped = next(signs, "")
            if not escaped or escaped not in _REGEX_SIGNS:
                raise ValueError(f"value {pattern!r}: only text, ^ and $ are supported; \\{escaped} is not")
            literal += escaped
        elif sign in _REGEX_SIGNS:
            raise ValueError(f"value {pattern!r}: only text, ^ and $ are supported; write \\{sign} for the sign itself")
        else:
            literal += sign
    if at_start and at_end:
        return lambda text: text == literal
    if at_start:
        return lambda text: text.startswith(literal)
    if at_end:
        return lambda text: text.endswith(literal)
    return lambda text: literal in text
