"""`filters.context`: the attributes that an event must have, compared exactly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeagent.errors import MessageError
from edgeagent.events.event import DEFAULT_TYPE, Draft, check
from edgeagent.rules.filter_data import Condition
from edgeagent.rules.spec import ContextFilter


def context_problems(context: ContextFilter) -> Iterator[tuple[str, str]]:
    """Yield the mistakes in the filter: key path below `filters`, and reason. A value that no event can have is one."""
    if not any(_given(context).values()):
        yield "context", "must name at least one of type, subject, source and datacontenttype"
    try:
        check(
            Draft(
                source=context.source or "any",
                data=b"",
                is_json=False,
                type=context.type or DEFAULT_TYPE,
                subject=context.subject,
                datacontenttype=context.datacontenttype,
            )
        )
    except MessageError as exc:
        yield f"context.{exc.member}", f"no event can have this: {exc.reason}"


def compile_context(context: ContextFilter) -> Condition:
    """A function that says whether an envelope has these attributes. A missing attribute is unequal."""
    wanted = _given(context).items()

    def holds(envelope: Any) -> bool:
        return all(envelope.get(name) == text for name, text in wanted)

    return holds


def _given(context: ContextFilter) -> dict[str, str]:
    texts = {name: str(getattr(context, name)) for name in context.__struct_fields__}
    return {name: text for name, text in texts.items() if text}
