"""The meaning of an unsuccessful answer: worth another try, a refusal, or the end of a watch.

Argo's own errors are JSON with a gRPC code. An answer without one comes from something in between: a rate limiter, a
proxy, a login page, a TLS port addressed in plain text. It says nothing about the workflow, so only the statuses that
any intermediary may return (401, 403, 413) count as a refusal; a proxy's 400 or 404 must not make a workflow invalid or
missing.
"""

from __future__ import annotations

import math
from http import HTTPStatus

import msgspec

from edgeagent.argo.wire import ErrorBody, StreamError, StreamItem
from edgeagent.common.foreign import line
from edgeagent.errors import EngineError, EngineRefused, EngineUnavailable, WatchExpired

_MAX_FOREIGN_CHARS = 500
_MAX_MESSAGE_CHARS = 4000
_MAX_RETRY_AFTER_S = 3600.0
_REFUSED_BY_ANYBODY = frozenset({401, 403, 413})
_NOTHING = frozenset({"", "{}", "null", ":"})
_BODY = msgspec.json.Decoder(ErrorBody)
_ITEM = msgspec.json.Decoder(StreamItem)


def failure(
    url: str, status: int, body: bytes, *, retry_after: str = "", location: str = ""
) -> EngineUnavailable | EngineRefused:
    """The error for an answer whose status is not 2xx.

    Args:
        url: the request's URL; names the request in the error.
        status: the HTTP status.
        body: the answer's body, JSON or not.
        retry_after: the Retry-After header; only a number of seconds is understood.
        location: the Location header.
    """
    if status < HTTPStatus.BAD_REQUEST:
        where = f" to {line(location, _MAX_FOREIGN_CHARS)}" if location else ""
        return EngineUnavailable(
            url,
            f"{status}, redirected{where}: a login page or a proxy stands in front; "
            "give the address of the Argo Server itself, and a token",
        )
    error = _decoded(body)
    ours = error is not None and error.code > 0
    message = line(error.message, _MAX_MESSAGE_CHARS) if error is not None else ""
    message = message or line(_without_frame(body), _MAX_FOREIGN_CHARS) or _phrase(status)
    if _is_temporary(status):
        return EngineUnavailable(url, f"{status}: {message}", _seconds(retry_after))
    if ours or status in _REFUSED_BY_ANYBODY:
        return EngineRefused(url, status, message)
    return EngineUnavailable(
        url,
        f"{status} from a server that is not an Argo Server: {message}; check scheme, host, port and path of the URL",
    )


def watch_failure(
    url: str, status: int, body: bytes, *, retry_after: str = "", location: str = ""
) -> EngineError | None:
    """Like `failure`, for a watch that ends before its first item. None: a normal end, watch again.

    Argo then answers as it would within the watch, with an error item as the body.
    """
    try:
        item = _ITEM.decode(body.strip().removeprefix(b"data:"))
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        item = StreamItem()
    if item.error is None:
        return failure(url, status, body, retry_after=retry_after, location=location)
    return stream_failure(url, msgspec.structs.replace(item.error, http_code=status))


def stream_failure(url: str, error: StreamError) -> EngineError | None:
    """The exception for an error within a watch; None: a normal end, watch again."""
    # Without a status nothing is known except that the watch failed.
    status = error.http_code if error.http_code >= HTTPStatus.BAD_REQUEST else int(HTTPStatus.INTERNAL_SERVER_ERROR)
    if _is_normal_end(status, error.message):
        return None
    if _is_expired(status, error.message):
        return WatchExpired(url)
    message = line(error.message, _MAX_MESSAGE_CHARS) or _phrase(status)
    if _is_temporary(status):
        return EngineUnavailable(url, f"{status}: {message}")
    return EngineRefused(url, status, message)


def not_json(url: str, body: bytes, reason: str) -> EngineUnavailable:
    """The error for a successful answer with an unexpected body, such as a login page."""
    begin = line(_text(body), _MAX_FOREIGN_CHARS)
    return EngineUnavailable(
        url, f"the answer is not an Argo Server's ({reason}): check the URL and its path; it begins: {begin}"
    )


def _is_temporary(status: int) -> bool:
    return (
        status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
        or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    )


def _is_normal_end(status: int, message: str) -> bool:
    """Whether a watch ended normally: Kubernetes closes each after a while, which Argo reports like a rate limit."""
    return status == HTTPStatus.TOO_MANY_REQUESTS and message.strip() == "EOF"


def _is_expired(status: int, message: str) -> bool:
    """Whether it is Kubernetes's 410 Gone, which Argo turns into a 400."""
    return status == HTTPStatus.GONE or (status == HTTPStatus.BAD_REQUEST and "too old" in message)


def _decoded(body: bytes) -> ErrorBody | None:
    try:
        return _BODY.decode(body)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace")


def _without_frame(body: bytes) -> str:
    """The text of a body, without the framing of an event stream; empty for an object without members."""
    text = _text(body).strip()
    said = text.removeprefix("data:").strip()
    return "" if said in _NOTHING else said


def _phrase(status: int) -> str:
    """For a server that gives no reason: the meaning of its status, and where the reason can be found."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "an unknown status"
    return f"{phrase}, without a reason: see the log of the Argo Server"


def _seconds(retry_after: str) -> float | None:
    try:
        seconds = float(retry_after)
    except ValueError:  # absent, or a date, which is useless where clocks differ
        return None
    if not math.isfinite(seconds) or seconds < 0:
        return None
    return min(seconds, _MAX_RETRY_AFTER_S)
