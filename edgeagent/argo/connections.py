"""HTTP/1.1 connections to one server, over httpx's transports, and the meaning of their errors.

An `httpx.AsyncClient` takes 1.4 to 1.7 ms of CPU for a request with sixteen in parallel, because its pool scans every
connection for every request. Here each connection is a transport of its own, used by one request at a time, and the
constant parts of requests are built once: 0.4 ms (`benchmarks dispatcher`, CPU of the dispatcher). The client's
redirects, cookies and proxies from the environment are not wanted.
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

from edgeagent.common.causes import first_cause
from edgeagent.common.foreign import line
from edgeagent.errors import EngineUnavailable

# Longer than the pause between two bursts of triggers, shorter than proxies keep an idle connection.
_KEEPALIVE_EXPIRY_S = 30.0
_LIMITS = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_KEEPALIVE_EXPIRY_S)
_MAX_REASON_CHARS = 300

if importlib.util.find_spec("sniffio") is None:
    # httpcore tries to import it several times a request, and each time Python searches every directory again: a third
    # of the whole cost (`benchmarks dispatcher`, CPU of the dispatcher). Marked as missing, the import fails at once,
    # with the same error.
    sys.modules["sniffio"] = cast("Any", None)


class HttpAnswer(NamedTuple):
    """A complete HTTP answer."""

    status: int
    headers: httpx.Headers
    body: bytes


class Connections:
    """Owns connections kept open between requests, at most `max_connections`. Must be closed with `aclose`."""

    def __init__(self, max_connections: int) -> None:
        self._free = asyncio.Semaphore(max_connections)
        self._idle: list[tuple[ssl.SSLContext, httpx.AsyncHTTPTransport]] = []
        self._closed = False

    @asynccontextmanager
    async def borrow(self, context: ssl.SSLContext) -> AsyncIterator[httpx.AsyncHTTPTransport]:
        """A connection for one request, once one is free. It is closed after an error or a cancellation."""
        async with self._free:
            transport = await self._take(context)
            try:
                yield transport
            except BaseException:
                await transport.aclose()
                raise
            if self._closed:
                await transport.aclose()
            else:
                self._idle.append((context, transport))

    async def aclose(self) -> None:
        """Close the idle connections; those in use close with their requests."""
        self._closed = True
        while self._idle:
            await self._idle.pop()[1].aclose()

    async def _take(self, context: ssl.SSLContext) -> httpx.AsyncHTTPTransport:
        while self._idle:
            made_with, transport = self._idle.pop()
            if made_with is context:
                return transport
            await transport.aclose()  # the certificates have changed since it was made
        return new_connection(context)


def new_connection(context: ssl.SSLContext) -> httpx.AsyncHTTPTransport:
    """A separate connection, opened with its first request; the caller must close it."""
    return httpx.AsyncHTTPTransport(verify=context, trust_env=False, limits=_LIMITS)


async def read(url: str, response: httpx.Response, max_bytes: int) -> HttpAnswer:
    """Read the whole answer.

    Raises:
        EngineUnavailable: the body is larger than `max_bytes`; the connection cannot be used again.
        httpx.HTTPError, OSError: the connection broke.
    """
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > max_bytes:
            raise EngineUnavailable(url, f"the answer has more than {max_bytes} bytes")
    return HttpAnswer(response.status_code, response.headers, bytes(body))


def unavailable(url: str, exc: Exception, timeout_s: float) -> EngineUnavailable:
    """The error for a failed exchange, in words for a person. `timeout_s`: how long an answer was waited for."""
    if isinstance(exc, httpx.ConnectTimeout):
        reason = "no connection could be made in time"
    elif isinstance(exc, (TimeoutError, httpx.TimeoutException)):
        reason = f"no answer within {timeout_s:g} s"
    else:
        reason = _reason(first_cause(exc)) or str(exc) or "the connection broke"
    return EngineUnavailable(url, line(reason, _MAX_REASON_CHARS))


def _reason(cause: BaseException) -> str:
    """The cause itself in words; "" if nothing is known of it."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({cause.verify_message}): check ca_file and the host name in the URL"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed ({(cause.reason or str(cause)).replace('_', ' ').lower()})"
    if isinstance(cause, socket.gaierror):
        return f"its name cannot be resolved ({cause.strerror})"
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno)
    return ""
