"""HTTP/1.1 connections to one server, over httpx's transports, and what their errors mean.

An `httpx.AsyncClient` with its pool takes 1.4 to 1.7 ms of CPU for a request with sixteen at a time: its pool looks at
every connection for every request. Here each connection is a transport of its own, used by one request at a time, and
requests are built once for what does not change: 0.4 ms. Redirects, cookies and proxies from the environment, which
only the client knows, are not wanted.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

import httpx

from edgeagent.common.foreign import line
from edgeagent.errors import EngineUnavailable

# Longer than the pause between two bursts of triggers, shorter than what proxies allow an idle connection.
_KEEPALIVE_EXPIRY_S = 30.0
_LIMITS = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_KEEPALIVE_EXPIRY_S)
_MAX_REASON_CHARS = 300

if importlib.util.find_spec("sniffio") is None:
    # httpcore tries to import it several times a request; each time Python searches every directory anew, a third of
    # the whole cost. Marked as missing, the import fails at once, with the same error.
    sys.modules["sniffio"] = cast("Any", None)


class HttpAnswer(NamedTuple):
    """An HTTP answer, read to its end."""

    status: int
    headers: httpx.Headers
    body: bytes


class Connections:
    """Connections that are kept open between requests, at most `max_connections`. To be closed by `aclose`."""

    def __init__(self, max_connections: int) -> None:
        self._free = asyncio.Semaphore(max_connections)
        self._idle: list[tuple[ssl.SSLContext, httpx.AsyncHTTPTransport]] = []

    @asynccontextmanager
    async def borrow(self, context: ssl.SSLContext) -> AsyncIterator[httpx.AsyncHTTPTransport]:
        """A connection for one request, as soon as there is one. After an error or a cancellation it is closed."""
        async with self._free:
            transport = await self._take(context)
            try:
                yield transport
            except BaseException:
                await transport.aclose()
                raise
            self._idle.append((context, transport))

    async def aclose(self) -> None:
        """Close those that are idle; those in use close with their requests."""
        while self._idle:
            await self._idle.pop()[1].aclose()

    async def _take(self, context: ssl.SSLContext) -> httpx.AsyncHTTPTransport:
        while self._idle:
            made_with, transport = self._idle.pop()
            if made_with is context:
                return transport
            await transport.aclose()  # the certificates have changed since
        return new_connection(context)


def new_connection(context: ssl.SSLContext) -> httpx.AsyncHTTPTransport:
    """A connection of one's own, made with the first request; to be closed."""
    return httpx.AsyncHTTPTransport(verify=context, trust_env=False, limits=_LIMITS)


async def read(url: str, response: httpx.Response, max_bytes: int) -> HttpAnswer:
    """The whole answer.

    Raises:
        EngineUnavailable: the body is larger than `max_bytes`; the connection is then of no more use.
        httpx.HTTPError, OSError: the connection broke.
    """
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > max_bytes:
            raise EngineUnavailable(url, f"the answer has more than {max_bytes} bytes")
    return HttpAnswer(response.status_code, response.headers, bytes(body))


def unavailable(url: str, exc: Exception, timeout_s: float) -> EngineUnavailable:
    """What a failed exchange means to a person. `timeout_s` is how long was waited for an answer."""
    if isinstance(exc, httpx.ConnectTimeout):
        reason = "no connection could be made in time"
    elif isinstance(exc, (TimeoutError, httpx.TimeoutException)):
        reason = f"no answer within {timeout_s:g} s"
    else:
        reason = _reason(_first_cause(exc)) or str(exc) or "the connection broke"
    return EngineUnavailable(url, line(reason, _MAX_REASON_CHARS))


def _reason(cause: BaseException) -> str:
    """What is known of the cause itself; "" when that is nothing."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({cause.verify_message}): check ca_file and the host name in the URL"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed ({(cause.reason or str(cause)).replace('_', ' ').lower()})"
    if isinstance(cause, socket.gaierror):
        return f"its name cannot be resolved ({cause.strerror})"
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno)
    return ""


def _first_cause(exc: BaseException) -> BaseException:
    """What everything else was raised from; several attempts to connect stand for the first of them."""
    while True:
        earlier = exc.exceptions[0] if isinstance(exc, BaseExceptionGroup) else exc.__cause__ or exc.__context__
        if earlier is None:
            return exc
        exc = earlier
