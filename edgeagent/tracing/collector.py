"""Requests to a collector of OpenTelemetry, over httpx's transport: OTLP/HTTP in JSON.

Redirects, cookies and the proxies of the environment are not used. Authorities are read for each new connection, the
headers for each request, so that their files may be exchanged while the program runs.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final, NamedTuple

import httpx

from edgeagent import __version__
from edgeagent.common.foreign import line
from edgeagent.common.retry_after import retry_after_s
from edgeagent.config.secretfile import secret_in, why_unusable
from edgeagent.config.tables import Connection, TracingTable
from edgeagent.config.tracing import collector_headers, traces_url
from edgeagent.errors import CollectorFailed, Denied
from edgeagent.links.failures import connection_failure
from edgeagent.links.tls import client_context

_MAX_ANSWER_BYTES: Final = 64 << 10
_MAX_REASON_CHARS: Final = 200


class CollectorTimes(NamedTuple):
    """In seconds. `connect_s`: for TCP, and again for TLS; `total_s` is more than all handshakes may take."""

    connect_s: float = 5.0
    answer_s: float = 10.0
    total_s: float = 30.0


class CollectorAnswer(NamedTuple):
    """An answer. `body`: the beginning of it."""

    status: int
    retry_after_s: float
    body: bytes

    @property
    def text(self) -> str:
        """The body for a person, on one line."""
        return line(self.body.decode("utf-8", "replace"), _MAX_REASON_CHARS)


class Collector:
    """Owns the connection to one collector. It retries nothing.

    Attributes:
        shown: where requests go, for logs and people.
    """

    def __init__(self, table: TracingTable, times: CollectorTimes = CollectorTimes()) -> None:  # noqa: B008
        """Nothing is read or connected yet."""
        self.shown = traces_url(table.endpoint)
        self._url = httpx.URL(self.shown)
        self._headers_file = table.headers_file
        self._tls = Connection(ca_file=table.ca_file)
        self._times = times
        self._transport: httpx.AsyncHTTPTransport | None = None

    async def aclose(self) -> None:
        """Close the connection; the next request makes another one."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    async def post(self, body: bytes) -> CollectorAnswer:
        """Make a request.

        Raises:
            CollectorFailed: there was no answer; the spans may have been taken.
        """
        request = httpx.Request("POST", self._url, headers=self._headers(body), content=body, extensions=self._limits())
        try:
            async with asyncio.timeout(self._times.total_s):
                transport = await self._connected()
                response = await transport.handle_async_request(request)
                try:
                    return _answer(response, await _beginning(response))
                finally:
                    await response.aclose()
        except (httpx.HTTPError, OSError) as exc:  # a TimeoutError is an OSError
            await self.aclose()
            raise CollectorFailed(self.shown, _why(self.shown, exc)) from exc

    def _headers(self, body: bytes) -> dict[str, str]:
        """The headers of a request.

        Raises:
            CollectorFailed: those of the file cannot be read.
        """
        more: dict[str, str] = {}
        if self._headers_file:
            try:
                more = dict(collector_headers(secret_in(self._headers_file)))
            except (OSError, ValueError) as exc:
                reason = f"headers_file {self._headers_file}: {why_unusable(exc)}"
                raise CollectorFailed(self.shown, reason) from exc
        return {
            **more,
            "host": self._url.netloc.decode(),
            "user-agent": f"edgeagent/{__version__}",
            "content-type": "application/json",
            "content-length": str(len(body)),
            "accept-encoding": "identity",  # decompression could make a small body arbitrarily large
        }

    def _limits(self) -> dict[str, dict[str, float]]:
        times = self._times
        waits = {"read": times.answer_s, "write": times.answer_s, "pool": times.answer_s}
        return {"timeout": {"connect": times.connect_s, **waits}}

    async def _connected(self) -> httpx.AsyncHTTPTransport:
        if self._transport is None:
            try:
                is_tls = self._url.scheme == "https"
                context = await asyncio.to_thread(client_context, self.shown, self._tls) if is_tls else False
            except Denied as exc:
                raise CollectorFailed(self.shown, exc.reason) from exc
            limits = httpx.Limits(max_connections=1)
            self._transport = httpx.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits)
        return self._transport


async def _beginning(response: httpx.Response) -> bytes:
    body = b""
    async for part in response.aiter_raw():
        body += part
        if len(body) >= _MAX_ANSWER_BYTES:
            break
    return body[:_MAX_ANSWER_BYTES]


def _answer(response: httpx.Response, body: bytes) -> CollectorAnswer:
    headers = response.headers
    wait_s = retry_after_s(headers.get("retry-after", ""), headers.get("date", ""), datetime.now(UTC))
    return CollectorAnswer(response.status_code, wait_s, body)


def _why(shown: str, exc: Exception) -> str:
    if isinstance(exc, httpx.TimeoutException | TimeoutError):
        return "no answer in time"
    if isinstance(exc, httpx.RemoteProtocolError):
        return "it closed the connection without an answer, or does not speak HTTP"
    cause: BaseException = exc
    while (earlier := cause.__cause__ or cause.__context__) is not None:
        cause = earlier
    return line(connection_failure(shown, cause).reason, _MAX_REASON_CHARS)
