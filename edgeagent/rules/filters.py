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
from edgeagent.lang.govaluate.expression import ExpressionError, compile_expression, unknown_fields
from edgeagent.rules.event_path import FILTER_MEMBERS, compile_event_path, is_in_body
from edgeagent.rules.filter_context import compile_context, context_problems
from edgeagent.rules.filter_data import Condition, compile_data, later_problems, value_at
from edgeagent.rules.filter_time import compile_time, time_problems
from edgeagent.rules.spec import ExprFilter, Filters


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
    for index, expression in enumerate(filters.exprs or ()):
        yield from ((f"exprs[{index}].{key}", reason) for key, reason in _expression_problems(expression))
    for index, condition in enumerate(filters.data or ()):
        try:
            compile_data(condition)
        except ValueError as exc:
            yield f"data[{index}]", str(exc)
    if filters.context is not None:
        yield from context_problems(filters.context)
    if filters.time is not None:
        yield from time_problems(filters.time)


def filter_notes(filters: Filters | None) -> Iterator[tuple[str, str]]:
    """Yield what may be right but cannot be decided for some events: key path below `filters`, and what happens then.

    The filters must have no `filter_problems`.
    """
    if filters is None:
        return
    for index, expression in enumerate(filters.exprs or ()):
        for name in unknown_fields(expression.expr, {field.name for field in expression.fields}):
            yield (
                f"exprs[{index}].expr",
                f"an event for which {name!r} is asked for is an error: there is no such field",
            )
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
        expressions = [_expression(index, expression) for index, expression in enumerate(filters.exprs)]
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


def _expression_problems(expression: ExprFilter) -> Iterator[tuple[str, str]]:
    names: set[str] = set()
    for index, field in enumerate(expression.fields):
        key = f"fields[{index}]"
        try:
            compile_event_path(field.path, FILTER_MEMBERS)
        except ValueError as exc:
            yield f"{key}.path", str(exc)
        if not field.name:
            yield f"{key}.name", "must not be empty: the expression uses it"
        if field.name in names:
            yield f"{key}.name", f"{field.name!r} is the name of an earlier field"
        names.add(field.name)
    if not expression.fields:
        yield "fields", "must name at least one value of the event: without any, Argo Events skips the expression"
        return
    try:
        compile_expression(expression.expr, names)
    except ValueError as exc:
        yield "expr", str(exc)


def _expression(index: int, expression: ExprFilter) -> Condition:
    """A condition that only `true` itself meets: neither 1 nor a text does."""
    fields = [(field.name, compile_path(field.path)) for field in expression.fields]
    evaluate = compile_expression(expression.expr, [field.name for field in expression.fields])

    def holds(envelope: Any) -> bool:
        values = {name: value_at(path, envelope) for name, path in fields}
        try:
            return evaluate(values) is True
        except ExpressionError as exc:
            raise MessageError("filter", f"exprs[{index}]", str(exc)) from exc

    return holds
