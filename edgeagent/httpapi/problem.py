"""Answers, and the table that turns an error into an answer's status and problem document (RFC 9457)."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol

import msgspec

from edgeagent.errors import (
    ConfigError,
    Draining,
    EdgeAgentError,
    EventConflict,
    MessageError,
    NotFound,
    OutboxError,
    RecordTooLarge,
    SpoolFull,
)

JSON = b"application/json"
PROBLEM = b"application/problem+json"
PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"
_NO_CONTENT = 204  # it has neither type nor length: RFC 9110 8.6
_PHRASES = {int(status): status.phrase.encode() for status in HTTPStatus}
# A detail may quote what a client sent, which can be long.
_MAX_DETAIL_CHARS = 500

Headers = tuple[tuple[bytes, bytes], ...]


class Follower(Protocol):
    """What follows an answer that has no end of its own."""

    def take(self) -> bytes:
        """What is to be sent now; empty when that is all for now."""

    def beat(self) -> bytes:
        """What is sent after a long silence, so that everybody on the way knows that the line is in use."""

    def last_words(self, reason: str) -> bytes:
        """What is sent before the connection is closed from this side."""

    def close(self) -> None:
        """Nothing more is sent."""


class Answer(msgspec.Struct, frozen=True):
    """A whole response, except for the headers that frame it.

    `follow`: for an answer without an end. It is called once the head is sent, with what it must call when there is
    something to take; the connection ends with this answer.
    """

    status: int
    body: bytes
    media_type: bytes = JSON
    headers: Headers = ()
    follow: Callable[[Callable[[], None]], Follower] | None = None


class Refused(EdgeAgentError):
    """A refusal by the HTTP layer, before the agent's ports are called."""

    def __init__(self, status: int, detail: str, headers: Headers = ()) -> None:
        super().__init__(status, detail, headers)
        self.status = status
        self.detail = detail
        self.headers = headers

    def __str__(self) -> str:
        return self.detail


class _Outcome(msgspec.Struct, frozen=True):
    status: int
    retry_after_s: int = 0


_OUTCOMES: dict[type[EdgeAgentError], _Outcome] = {
    MessageError: _Outcome(HTTPStatus.BAD_REQUEST),
    NotFound: _Outcome(HTTPStatus.NOT_FOUND),
    EventConflict: _Outcome(HTTPStatus.CONFLICT),
    RecordTooLarge: _Outcome(HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    SpoolFull: _Outcome(HTTPStatus.INSUFFICIENT_STORAGE, retry_after_s=60),
    OutboxError: _Outcome(HTTPStatus.SERVICE_UNAVAILABLE, retry_after_s=5),  # full, or the disk failed
    ConfigError: _Outcome(HTTPStatus.UNPROCESSABLE_ENTITY),
    Draining: _Outcome(HTTPStatus.SERVICE_UNAVAILABLE, retry_after_s=10),
}

_UNFORESEEN = _Outcome(HTTPStatus.INTERNAL_SERVER_ERROR)


def json_answer(value: Any, status: int = HTTPStatus.OK) -> Answer:
    """A value as JSON."""
    return Answer(status, msgspec.json.encode(value))


def answer_bytes(answer: Answer, *, has_body: bool, is_last: bool) -> bytes:
    """An answer in HTTP/1.1 form.

    `has_body`: False for the answer to HEAD, which gives only the length. `is_last`: the connection ends after it.
    """
    lines = [b"HTTP/1.1 %d %b" % (answer.status, _PHRASES[answer.status])]
    if answer.follow is not None:
        lines.append(b"content-type: " + answer.media_type)  # it ends with the connection: RFC 9112 6.3
    elif answer.status != _NO_CONTENT:
        lines.append(b"content-type: %b\r\ncontent-length: %d" % (answer.media_type, len(answer.body)))
    lines += [b"%b: %b" % field for field in answer.headers]
    if is_last:
        lines.append(b"connection: close")
    lines += (b"", answer.body if has_body else b"")
    return b"\r\n".join(lines)


def problem(status: int, detail: str, headers: Headers = ()) -> Answer:
    """A problem document with `title`, `status` and `detail`."""
    document = {"title": HTTPStatus(status).phrase, "status": int(status), "detail": detail[:_MAX_DETAIL_CHARS]}
    return Answer(status, msgspec.json.encode(document), PROBLEM, headers)


def retry_after(seconds: int) -> Headers:
    """The header that tells a client how many seconds to wait before it tries again."""
    return ((b"retry-after", b"%d" % seconds),)


def too_large(size_bytes: int, limit_bytes: int) -> Refused:
    """The refusal (413) of a body that is larger than `limit_bytes`; 0: the path takes no body."""
    reason = f"at most {limit_bytes} are taken (outbox.max_event_bytes)" if limit_bytes else "none is taken here"
    return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"body: has {size_bytes} bytes or more, {reason}")


def problem_for(error: EdgeAgentError) -> Answer:
    """The answer to a request that ended in this error; 500 for one that no request should cause."""
    if isinstance(error, Refused):
        return problem(error.status, error.detail, error.headers)
    outcome = next((_OUTCOMES[kind] for kind in type(error).__mro__ if kind in _OUTCOMES), _UNFORESEEN)
    headers = retry_after(outcome.retry_after_s) if outcome.retry_after_s else ()
    if isinstance(error, ConfigError):
        return _config_problem(error, outcome.status)
    return problem(outcome.status, _detail(error), headers)


def _config_problem(error: ConfigError, status: int) -> Answer:
    """The answer with all problems of a configuration, so that an operator can correct them all at once."""
    document = {
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": f"{error.file}: the configuration cannot be used",
        "file": error.file,
        "problems": [problem._asdict() for problem in error.problems],
    }
    return Answer(status, msgspec.json.encode(document), PROBLEM)


def _detail(error: EdgeAgentError) -> str:
    if isinstance(error, MessageError) and error.member:
        return f"{error.member}: {error.reason}"
    if isinstance(error, MessageError):
        return error.reason
    return str(error)
