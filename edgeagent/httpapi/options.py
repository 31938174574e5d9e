"""`OPTIONS`: what a path takes, and whether a CloudEvents sender may deliver there (HTTP Web Hooks 1.0.2, section 4).

The handshake exists so that a sender cannot be made to flood a server that does not want its events. Consent is given
only to requests that pass `Admission` as events would: with the token if there is one, otherwise from this machine. No
page in a browser is admitted by this: its preflight carries `Origin` and is refused before, and no answer names an
origin.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus

from edgeagent.errors import MessageError
from edgeagent.httpapi.plan import Plan
from edgeagent.httpapi.problem import Answer, Headers
from edgeagent.httpapi.request import Request

_DNS_EXPRESSION = re.compile(rb"[A-Za-z0-9*](?:[A-Za-z0-9.*_-]{0,252})")
_ORIGIN = b"webhook-request-origin"


def allowed(methods: Iterable[str]) -> str:
    """The methods that a path takes, for `Allow`."""
    return ", ".join([*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"])


def options_plan(methods: Iterable[str], *, takes_events: bool) -> Plan:
    """How `OPTIONS` is answered for a path. `takes_events`: a sender can ask for permission to deliver there."""
    headers: Headers = ((b"allow", allowed(methods).encode()),)

    async def answer(request: Request, _body: bytes) -> Answer:
        if not takes_events or _ORIGIN not in request.headers:
            return Answer(HTTPStatus.NO_CONTENT, b"", headers=headers)
        return Answer(HTTPStatus.OK, b"", headers=(*headers, *_consent(request)))

    return Plan(answer)


def _consent(request: Request) -> Headers:
    """The headers that give consent. The rate is unlimited: what the outbox cannot take is answered 503."""
    origin = request.headers[_ORIGIN]
    if not _DNS_EXPRESSION.fullmatch(origin):
        raise MessageError(
            "request", "WebHook-Request-Origin", "must be the name of a host, such as events.example.com"
        )
    return (b"webhook-allowed-origin", origin), (b"webhook-allowed-rate", b"*")
