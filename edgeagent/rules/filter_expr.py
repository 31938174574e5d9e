"""One entry of `filters.exprs`: an expression over named values of the event."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeagent.errors import MessageError
from edgeagent.lang.gjson.path import compile_path
from edgeagent.lang.govaluate.expression import ExpressionError, compile_expression, unknown_fields
from edgeagent.rules.event_path import FILTER_MEMBERS, compile_event_path
from edgeagent.rules.filter_data import Condition, value_at
from edgeagent.rules.spec import ExprFilter


def expression_problems(expression: ExprFilter) -> Iterator[tuple[str, str]]:
    """Yield the mistakes in an entry: key path below it, and reason."""
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


def expression_notes(expression: ExprFilter) -> Iterator[str]:
    """Yield what cannot be decided for some events. The entry must have no `expression_problems`."""
    for name in unknown_fields(expression.expr, {field.name for field in expression.fields}):
        yield f"an event for which {name!r} is asked for is an error: there is no such field"


def compile_expr(index: int, expression: ExprFilter) -> Condition:
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
