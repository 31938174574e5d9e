"""What the service's HTTP status means for a request. Pure; the table is in docs/pubsub.md."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

import msgspec

from edgeagent.common.foreign import line

_SERVER_ERROR: Final = 500
_MAX_REASON_CHARS = 300

# What an account needs for a call, and which of the predefined roles grants it.
PERMISSIONS = {
    "publish": ("pubsub.topics.publish", "roles/pubsub.publisher"),
    "pull": ("pubsub.subscriptions.consume", "roles/pubsub.subscriber"),
    "acknowledge": ("pubsub.subscriptions.consume", "roles/pubsub.subscriber"),
    "modifyAckDeadline": ("pubsub.subscriptions.consume", "roles/pubsub.subscriber"),
}


class Verdict(enum.Enum):
    """What is to be done about an answer.

    `DONE`: it was granted. `MALFORMED`: this request will never be granted. `UNAUTHENTICATED`: with a new token it may.
    `FORBIDDEN`: somebody must give the account a permission. `MISSING`: the topic or subscription does not exist.
    `LATER`: the service is busy or ailing. `STRANGE`: no answer of Pub/Sub.
    """

    DONE = enum.auto()
    MALFORMED = enum.auto()
    UNAUTHENTICATED = enum.auto()
    FORBIDDEN = enum.auto()
    MISSING = enum.auto()
    LATER = enum.auto()
    STRANGE = enum.auto()


class JudgedAnswer(NamedTuple):
    """A verdict, its HTTP status, and the reason in a sentence for the operator."""

    verdict: Verdict
    status: int
    reason: str


_VERDICTS = {
    200: Verdict.DONE,
    400: Verdict.MALFORMED,
    401: Verdict.UNAUTHENTICATED,
    403: Verdict.FORBIDDEN,
    404: Verdict.MISSING,
    408: Verdict.LATER,  # timed out there
    409: Verdict.LATER,  # aborted, to be repeated
    413: Verdict.MALFORMED,
    429: Verdict.LATER,
}
_REASONS = {
    Verdict.MALFORMED: "it cannot be taken",
    Verdict.UNAUTHENTICATED: "the credentials are not accepted; is the key or token still valid, and the clock right?",
    Verdict.FORBIDDEN: "it is forbidden",
    Verdict.LATER: "it cannot take the request now",
    Verdict.STRANGE: "that is no answer of Pub/Sub; is a proxy or a portal in between?",
}


class _Error(msgspec.Struct):
    message: str = ""


class _ErrorAnswer(msgspec.Struct):
    error: _Error | str = msgspec.field(default_factory=_Error)


_error_answer = msgspec.json.Decoder(_ErrorAnswer)


def judged(verb: str, resource: str, status: int, body: bytes) -> JudgedAnswer:
    """What the answer to a call (`verb` of `resource`) means."""
    said = _said(body)
    because = f" ({status}: {said})" if said else f" ({status})"
    verdict = _VERDICTS.get(status, Verdict.LATER if status >= _SERVER_ERROR else Verdict.STRANGE)
    return JudgedAnswer(
        verdict, status, _reason(verdict, verb, resource) + because if verdict is not Verdict.DONE else ""
    )


def _reason(verdict: Verdict, verb: str, resource: str) -> str:
    """The verdict in words for an operator, with what to do about it."""
    if verdict is Verdict.FORBIDDEN and verb in PERMISSIONS:
        permission, role = PERMISSIONS[verb]
        return f"the account needs the permission {permission} on {resource} ({role})"
    if verdict is Verdict.MISSING:
        return f"{resource} does not exist"
    return _REASONS[verdict]


def _said(body: bytes) -> str:
    """The service's own words, on one line and cut."""
    try:
        error = _error_answer.decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return line(error if isinstance(error, str) else error.message, _MAX_REASON_CHARS)
