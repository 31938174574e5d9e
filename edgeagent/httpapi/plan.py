"""How a route answers a request, and the query parameters that it may have."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import msgspec

from edgeagent.errors import MessageError
from edgeagent.httpapi.problem import Answer
from edgeagent.httpapi.request import Request

if TYPE_CHECKING:
    from edgeagent.httpapi.reception import Reception

# What an ordinary request holds: the head, the task, the answer.
WORK_BYTES: Final = 16 << 10


class UploadPlan(msgspec.Struct, frozen=True):
    """How the body of a request goes to the spool, if it is larger than its plan lets it be in memory.

    `begin` takes the head, the size if it is announced, and what is called when there is news. `always`: however small.
    """

    begin: Callable[[Request, int | None, Callable[[], None]], Reception]
    always: bool = False


class Plan(msgspec.Struct, frozen=True):
    """How a request will be answered; decided from its head.

    `answer` raises an `EdgeAgentError` for everything it refuses. `waits`: it may take long and changes nothing, so it
    is cancelled when its client goes away or the server closes. `work_bytes`: about how much memory a request holds
    beside its body. `weigh`: for batches, computes how much memory the events in a body take beside it.
    `upload`: what is done with a larger body; None: it is refused.
    """

    answer: Callable[[Request, bytes], Coroutine[Any, Any, Answer]]
    max_body_bytes: int = 0
    waits: bool = False
    work_bytes: int = WORK_BYTES
    weigh: Callable[[bytes], int] | None = None
    upload: UploadPlan | None = None


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
            raise MessageError("query", name, f"is not a parameter here: known are {', '.join(sorted(known))}")
    if len(pairs) > len(parameters):
        raise MessageError("query", "", "a parameter comes twice")
    return parameters
