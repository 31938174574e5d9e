"""Filters: does an event's envelope meet a rule's conditions? They mean what they mean in a Sensor of Argo Events.

There are four components, evaluated in this order: `exprs`, `data`, `context` and `time`. `exprs` and `data` are lists
of conditions. Each list has a logical operator, and so have the components together: "and" unless it says "or".
Under "and" evaluation stops at the first condition that is false or cannot be decided. Under "or" a condition that
cannot be decided counts as false; it is an error only if no other one holds. A missing component is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from edgeagent.errors import MessageError
from edgeagent.lang.gjson.path import compile_path
from edgeagent.rules.event_path import is_in_body
from edgeagent.rules.filter_context import compile_context, context_problems
from edgeagent.rules.filter_data import Condition, compile_data, later_problems
from edgeagent.rules.spec import Filters


def has_filters(filters: Filters | None) -> bool:
    """Whether any component is given; without one, every event passes."""
    return filters is not None and bool(filters.exprs or filters.data or filters.context or filters.time)


def look_at_body_only(filters: Filters | None) -> bool:
    """Whether the filters need only the data of an envelope. The filters must have no `filter_problems`."""
    if filters is None:
        return True
    if filters.exprs or filters.context is not None or filters.time is not None:
        return False
    return all(is_in_body(compile_path(condition.path)) for condition in filters.data or ())


def filter_problems(filters: Filters | None) -> Iterator[tuple[str, str]]:
    """Yield the mistakes in a rule's filters: key path below `filters`, and reason."""
    if filters is None:
        return
    if filters.exprs:
        from edgeagent.rules.filter_expr import expression_problems  # noqa: PLC0415  only for rules that use it

        for index, expression in enumerate(filters.exprs):
            yield from ((f"exprs[{index}].{key}", reason) for key, reason in expression_problems(expression))
    for index, condition in enumerate(filters.data or ()):
        try:
            compile_data(condition)
        except ValueError as exc:
            yield f"data[{index}]", str(exc)
    if filters.context is not None:
        yield from context_problems(filters.context)
    if filters.time is not None:
        from edgeagent.rules.filter_time import time_problems  # noqa: PLC0415  with it come the time zones

        yield from time_problems(filters.time)


def filter_notes(filters: Filters | None) -> Iterator[tuple[str, str]]:
    """Yield what may be right but cannot be decided for some events: key path below `filters`, and what happens then.

    The filters must have no `filter_problems`.
    """
    if filters is None:
        return
    if filters.exprs:
        from edgeagent.rules.filter_expr import expression_notes  # noqa: PLC0415  only for rules that use it

        for index, expression in enumerate(filters.exprs):
            yield from ((f"exprs[{index}].expr", note) for note in expression_notes(expression))
    for index, condition in enumerate(filters.data or ()):
        for reason in later_problems(condition):
            yield f"data[{index}]", f"{reason}: an event for which no earlier entry holds is an error"


def let_nothing_pass(filters: Filters | None, logical_operator: str) -> str | None:
    """The key, below the rule, that keeps every event out; None if there is none."""
    if filters is None:
        return None
    given = [filters.data, filters.context, filters.time]
    if filters.exprs == [] and filters.expr_logical_operator == "or":
        others = any(component is not None for component in given)
        return None if others and logical_operator == "or" else "filters.exprLogicalOperator"
    if logical_operator == "or" and filters.exprs is None and all(component is None for component in given):
        return "filtersLogicalOperator"
    return None


def compile_filters(filters: Filters | None, logical_operator: str = "") -> Condition:
    """A function that says whether an envelope passes.

    The filters must have no `filter_problems`. `logical_operator` joins the components. The function raises
    `MessageError` if a filter cannot be decided for this event and no other one decides the result. A list that is
    given and empty holds, except `exprs` joined by "or", as in Argo Events.
    """
    if filters is None:
        return _holds
    components: list[Condition] = []
    if filters.exprs:
        from edgeagent.rules.filter_expr import compile_expr  # noqa: PLC0415  only for rules that use it

        expressions = [compile_expr(index, expression) for index, expression in enumerate(filters.exprs)]
        components.append(_joined(expressions, filters.expr_logical_operator))
    elif filters.exprs is not None:
        components.append(_never if filters.expr_logical_operator == "or" else _holds)
    if filters.data:
        components.append(_joined([compile_data(one) for one in filters.data], filters.data_logical_operator))
    elif filters.data is not None:
        components.append(_holds)
    if filters.context is not None:
        components.append(compile_context(filters.context))
    if filters.time is not None:
        from edgeagent.rules.filter_time import compile_time  # noqa: PLC0415  with it come the time zones

        components.append(compile_time(filters.time))
    return _joined(components, logical_operator)


def _holds(_: Any) -> bool:
    return True


def _never(_: Any) -> bool:
    return False


def _joined(conditions: Sequence[Condition], logical_operator: str) -> Condition:
    if len(conditions) == 1:
        return conditions[0]
    if logical_operator == "or":
        return lambda envelope: _any(conditions, envelope)
    return lambda envelope: all(condition(envelope) for condition in conditions)


def _any(conditions: Sequence[Condition], envelope: Any) -> bool:
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
