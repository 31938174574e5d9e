"""Compiled filters agree with an interpreter that reads the configuration anew for every event, as slowly as may be."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from hypothesis import event, given, settings
from hypothesis import strategies as st

from edgeagent.errors import MessageError
from edgeagent.rules.filters import compile_filters, filter_problems
from edgeagent.rules.spec import ContextFilter, DataFilter, ExprFilter, Filters, TimeFilter
from tests.profiles import examples

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
# An expression over `v`, and what it means: None where it cannot be decided.
EXPRESSIONS: dict[str, Callable[[Any], bool | None]] = {
    "v": lambda v: v is True,
    "v == 'a'": lambda v: v == "a",
    "v > 1": lambda v: v > 1 if type(v) in {int, float} else None,
}


def passes(filters: Filters, joined_by: str, envelope: dict[str, Any]) -> bool | None:
    """Whether the envelope passes; None: it cannot be decided."""
    parts: list[bool | None] = []
    if filters.exprs == []:
        parts.append(filters.expr_logical_operator != "or")
    elif filters.exprs:
        parts.append(join(filters.expr_logical_operator, (expression(one, envelope) for one in filters.exprs)))
    if filters.data == []:
        parts.append(True)
    elif filters.data:
        parts.append(join(filters.data_logical_operator, (data(one, envelope) for one in filters.data)))
    if filters.context is not None:
        wanted = {key: text for key, text in msgspec.structs.asdict(filters.context).items() if text}
        parts.append(all(key in envelope and envelope[key] == text for key, text in wanted.items()))
    if filters.time is not None:
        parts.append(in_time(filters.time, envelope["time"]))
    return join(joined_by, parts)


def join(joined_by: str, parts: Iterable[bool | None]) -> bool | None:
    known = list(parts)
    if joined_by == "or":
        return True if True in known else None if None in known else not known
    return next((part for part in known if part is not True), True)


def find(path: str, envelope: Any) -> list[Any]:
    for name in path.split("."):
        if not isinstance(envelope, dict) or name not in envelope:
            return []
        envelope = envelope[name]
    return [envelope]


def expression(condition: ExprFilter, envelope: Any) -> bool | None:
    values = find(condition.fields[0].path, envelope)
    return EXPRESSIONS[condition.expr](values[0]) if values else None


def data(condition: DataFilter, envelope: Any) -> bool | None:
    values = find(condition.path, envelope)
    if not values:
        return None
    [value] = values
    return next((held for wanted in condition.value if (held := holds(condition, value, wanted)) is not False), False)


def holds(condition: DataFilter, value: Any, wanted: str) -> bool | None:
    if wanted == WRONG:
        return None
    if condition.type == "bool":
        return (value in {"true", "1"} if isinstance(value, str) else bool(value)) is (wanted == "true")
    if condition.type == "number":
        number = 1.0 if value == "1" else 0.0 if isinstance(value, str) or value is None else float(value)
        return COMPARE[condition.comparator](number, float(wanted))
    text = "" if value is None else str(value).lower()
    return (re.search(wanted, text) is not None) is (condition.comparator != "!=")


def in_time(period: TimeFilter, text: str) -> bool | None:
    if len(text) != len("2026-03-20T11:00:00Z"):
        return None
    shift = {"": 0, "Etc/GMT-2": 2}[period.timezone]  # so is the zone called that is two hours before Greenwich
    hour = (int(text[11:13]) + shift) % 24
    now, start, stop = f"{hour:02}{text[13:19]}", period.start, period.stop
    return start <= now < stop if start < stop else (now >= start or now < stop)


WRONG = "(?=no number, no bool, no pattern)"


def values(*right: str) -> st.SearchStrategy[list[str]]:
    """One or two that are right, perhaps one between or behind them that is not."""
    behind = st.lists(st.sampled_from([*right, WRONG]), max_size=2)
    return st.builds(lambda first, others: [first, *others], st.sampled_from(right), behind)


PATHS = st.sampled_from(["body.v", "body.v", "body.v", "type", "type", "body.w"])
OPERATORS = st.sampled_from(["", "and", "or"])
DATA = st.one_of(
    st.builds(
        DataFilter,
        path=PATHS,
        type=st.just("number"),
        value=values("0", "1", "1.5", "2"),
        comparator=st.sampled_from(list(COMPARE)),
    ),
    st.builds(
        DataFilter,
        path=PATHS,
        type=st.just("bool"),
        value=values("true", "false"),
    ),
    st.builds(
        DataFilter,
        path=PATHS,
        type=st.just("string"),
        value=values("^a$", "a+", "b|1", "[0-9]", "^$"),
        comparator=st.sampled_from(["", "=", "!="]),
    ),
)
EXPRS = st.builds(
    lambda text, path: msgspec.convert({"expr": text, "fields": [{"name": "v", "path": path}]}, ExprFilter),
    st.sampled_from(list(EXPRESSIONS)),
    PATHS,
)
CLOCKS = st.sampled_from(["00:00:00", "06:00:00", "11:00:00", "11:30:00", "22:00:00", "23:59:59"])
FILTERS = st.builds(
    Filters,
    data=st.none() | st.lists(DATA, max_size=3),
    data_logical_operator=OPERATORS,
    exprs=st.none() | st.lists(EXPRS, max_size=2),
    expr_logical_operator=OPERATORS,
    context=st.none() | st.builds(ContextFilter, type=st.sampled_from(["a", "b"]), subject=st.sampled_from(["", "s"])),
    time=st.none()
    | st.builds(TimeFilter, CLOCKS, CLOCKS, st.sampled_from(["", "Etc/GMT-2"])).filter(lambda w: w.start != w.stop),
)
VALUES = st.sampled_from([0, 1, 2, 1.5, True, False, None, "1", "a", "aab", "", "true"])
ENVELOPES = st.builds(
    lambda kind, subject, time, body: {"type": kind, **subject, "time": time, "body": body},
    st.sampled_from(["a", "b"]),
    st.sampled_from([{}, {"subject": "s"}]),
    st.sampled_from(
        ["2026-03-20T00:00:00Z", "2026-03-20T11:29:59Z", "2026-07-01T22:00:00Z", "2026-07-01T20:30:00Z", "yesterday"]
    ),
    st.fixed_dictionaries({"v": VALUES}, optional={"w": VALUES}),
)


@settings(max_examples=examples(500))
@given(FILTERS, OPERATORS, ENVELOPES)
def test_compiled_filters_agree_with_the_naive_interpreter(
    filters: Filters, joined_by: str, envelope: dict[str, Any]
) -> None:
    assert list(filter_problems(filters)) == []
    outcome: bool | None
    try:
        outcome = compile_filters(filters, joined_by)(envelope)
    except MessageError:
        outcome = None
    event(str(outcome))
    assert outcome is passes(filters, joined_by, envelope)
