"""Ways in which a fake Argo Server fails a request instead of doing what is asked. Made by the functions here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

import msgspec

from tests.fakes.argo_rules import ALREADY_EXISTS, PERMISSION_DENIED

Headers = tuple[tuple[str, str], ...]
JSON_TYPE = ("Content-Type", "application/json")


class Answer(NamedTuple):
    """A whole answer of the server."""

    status: int
    body: bytes
    headers: Headers = (JSON_TYPE,)


class Failure(NamedTuple):
    """What happens to a request. `drop_after` is the only one in which the request is done."""

    how: Literal["answer", "hang", "drop_before", "drop_after"]
    answer: Answer = Answer(500, b"")


def refusal_body(code: int, message: str) -> bytes:
    """The body of every refusal by the Argo Server itself."""
    return msgspec.json.encode({"code": code, "message": message})


def refused(status: int, code: int, message: str) -> Failure:
    """Argo answers with an HTTP status, a gRPC code and a text."""
    return Failure("answer", Answer(status, refusal_body(code, message)))


def not_json(status: int, text: str, retry_after: str | None = None) -> Failure:
    """Something in front of Argo answers with a text of its own."""
    headers: Headers = (("Content-Type", "text/plain; charset=utf-8"),)
    if retry_after is not None:
        headers = (*headers, ("Retry-After", retry_after))
    return Failure("answer", Answer(status, text.encode(), headers))


def quota(name: str = "workflow") -> Failure:
    """The namespace's ResourceQuota is exhausted."""
    return refused(
        403,
        PERMISSION_DENIED,
        f'workflows.argoproj.io "{name}" is forbidden: exceeded quota: plant-quota, requested: '
        "count/workflows.argoproj.io=1, used: count/workflows.argoproj.io=50, limited: count/workflows.argoproj.io=50",
    )


def conflict() -> Failure:
    """409 because two creates met at the ResourceQuota: nothing is created, no workflow of that name exists."""
    return refused(
        409,
        ALREADY_EXISTS,
        'Operation cannot be fulfilled on resourcequotas "plant-quota": the object has been modified; '
        "please apply your changes to the latest version and try again",
    )


def rate_limited(retry_after_s: float = 1) -> Failure:
    """Argo's limiter: a bare text, and when to try again as Go writes it, a date of whole seconds that ends in UTC."""
    when = datetime.now(UTC) + timedelta(seconds=retry_after_s)
    return not_json(429, "Too Many Requests\n", when.strftime("%a, %d %b %Y %H:%M:%S UTC"))


def hang() -> Failure:
    """There is never an answer, and nothing is done."""
    return Failure("hang")


def drop_before() -> Failure:
    """The connection ends before anything is done."""
    return Failure("drop_before")


def drop_after() -> Failure:
    """What is asked is done, but the connection ends without an answer."""
    return Failure("drop_after")
