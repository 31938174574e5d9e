"""What a route is: how a request is answered, and the parameters that it may bring."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from edgeagent.errors import MessageError
from edgeagent.httpapi.problem import Answer
from edgeagent.httpapi.request import Request


class Plan(NamedTuple):
    """How a request will be answered, known from its head.

    `answer` raises an `EdgeAgentError` for everything it refuses. `waits`: it may take long and changes nothing, so
    that it is given up when its client goes away or the server closes.
    """

    answer: Callable[[Request, bytes], Coroutine[Any, Any, Answer]]
    max_body_bytes: int = 0
    waits: bool = False


def parameters_of(request: Request, known: set[str]) -> dict[str, str]:
    """The query's parameters.

    Raises:
        MessageError: one is unknown, or comes twice.
    """
    try:
        pairs = parse_qsl(request.query, keep_blank_values=True, errors="strict", max_num_fields=len(known))
    except ValueError as exc:
        raise MessageError("query", "", f"the query cannot be read: known here are {', '.join(sorted(known))}") from exc
    parameters = dict(pairs)
    for name in parameters:
        if name not in known:
            raise MessageError("query", name, f"is no parameter here: known are {', '.join(sorted(known))}")
    if len(pairs) > len(parameters):
        raise MessageError("query", "", "a parameter comes twice")
    return parameters
