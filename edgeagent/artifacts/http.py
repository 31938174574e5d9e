"""Requests to a store over httpx's transport: one at a time, no redirects, no cookies, no proxies of the environment.

Files of certificates are looked at for each request, so that new ones are taken up without a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import httpx

from edgeagent import __version__
from edgeagent.common.foreign import line
from edgeagent.common.hosts import Address
from edgeagent.common.retry_after import retry_after_s
from edgeagent.config.secretfile import FileState
from edgeagent.config.tables import Connection
from edgeagent.errors import Denied, StoreFailed
from edgeagent.events.artifact import Artifact
from edgeagent.links.failures import connection_failure
from edgeagent.links.tls import client_context, state_of_files

# What is read of an answer: a page of 1,000 parts has a third of this.
MAX_ANSWER_BYTES: Final = 1 << 20
_MAX_REASON_CHARS = 200
_MAX_CONNECTIONS = 8
_KEEPALIVE_S = 5.0


class HttpTimes(NamedTuple):
    """In seconds. `write_s`: for a chunk of 256 KiB, on links that are thin; `answer_s`: for the answer to a request.

    `total_s`: for a request without an artifact in it.
    """

    connect_s: float = 10.0
    write_s: float = 120.0
    answer_s: float = 120.0
    total_s: float = 150.0


class StoreAnswer(NamedTuple):
    """An answer. `body`: at most `MAX_ANSWER_BYTES` of it; `headers`: with lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    @property
    def words(self) -> str:
        """The beginning of a body that is meant for people, "" of another one."""
        kind = self.headers.get("content-type", "")
        return line(self.text, _MAX_REASON_CHARS) if kind.startswith(("text/plain", "application/problem+json")) else ""

    @property
    def retry_after_s(self) -> float:
        """How long the store asks us to wait."""
        return retry_after_s(self.headers.get("retry-after", ""), self.headers.get("date", ""), datetime.now(UTC))


class StoreClient:
    """Owns the connections to one store."""

    def __init__(self, shown: str, tls: Connection, times: HttpTimes = HttpTimes()) -> None:  # noqa: B008
        """`tls`: the files of certificates; nothing is read or connected yet."""
        self._shown = shown
        self._tls = tls
        self._times = times
        self._transports: dict[bool, httpx.AsyncHTTPTransport] = {}
        self._files: tuple[FileState, ...] = ()

    async def aclose(self) -> None:
        """Close all connections."""
        transports, self._transports = self._transports, {}
        for transport in transports.values():
            await transport.aclose()

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | AsyncGenerator[bytes, None] = b"",
        length: int | None = None,
        at: Sequence[Address] = (),
    ) -> StoreAnswer:
        """Make a request.

        `length`: of a body that comes in pieces, which is closed in the end. `at`: the addresses of the host that are
        tried, in this order; without any, whatever its name stands for.

        Raises:
            StoreFailed: there was no answer; what was asked may have been done.
        """
        try:
            return await self._asked(method, httpx.URL(url), headers, body, length, at)
        except (httpx.HTTPError, OSError) as exc:  # a TimeoutError is an OSError
            raise _failure(self._shown, exc) from exc
        except httpx.InvalidURL as exc:  # such as https://[v1.a]/, which has an address, but none of today
            raise StoreFailed(self._shown, "no request can be made to its address", needs_somebody=True) from exc
        finally:
            if not isinstance(body, bytes):
                await body.aclose()

    async def _asked(
        self,
        method: str,
        target: httpx.URL,
        headers: Mapping[str, str],
        body: bytes | AsyncGenerator[bytes, None],
        length: int | None,
        at: Sequence[Address],
    ) -> StoreAnswer:
        times = self._times
        size = len(body) if isinstance(body, bytes) else length
        sent = {
            "host": target.netloc.decode(),
            "user-agent": f"edgeagent/{__version__}",
            "accept-encoding": "identity",  # decompression could make a small body arbitrarily large
            **headers,
        }
        if size or method in {"PUT", "POST"}:
            sent["content-length"] = str(size)
        timeout = {
            "connect": times.connect_s,
            "read": times.answer_s,
            "write": times.write_s,
            "pool": times.answer_s,
        }
        async with asyncio.timeout(times.total_s) as patience:
            stream = (
                httpx.ByteStream(body)
                if isinstance(body, bytes)
                else _Pieces(body, patience, times.write_s + times.total_s)
            )
            request = httpx.Request(method, target, headers=sent, stream=stream, extensions={"timeout": timeout})
            if not at:
                return await _answer(await self._transport(is_tls=target.scheme == "https"), request)
            for address in at[:-1]:
                with contextlib.suppress(httpx.ConnectError, httpx.ConnectTimeout):
                    return await self._answer_of(address, request)
            return await self._answer_of(at[-1], request)

    async def _answer_of(self, address: Address, request: httpx.Request) -> StoreAnswer:
        """The answer of one address of a host, over a connection of its own: what was checked is what is asked."""
        url = request.url
        transport = self._made(await self._context() if url.scheme == "https" else None)
        try:
            there = httpx.Request(
                request.method,
                httpx.URL(scheme=url.scheme, host=str(address), port=url.port, raw_path=url.raw_path),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": url.host},
            )
            return await _answer(transport, there)
        finally:
            await transport.aclose()

    async def _transport(self, *, is_tls: bool) -> httpx.AsyncHTTPTransport:
        if is_tls:
            files = await asyncio.to_thread(state_of_files, self._tls)
            if files != self._files:
                self._files = files
                if (old := self._transports.pop(True, None)) is not None:
                    await old.aclose()
        if (found := self._transports.get(is_tls)) is not None:
            return found
        context = await self._context() if is_tls else None
        return self._transports.setdefault(is_tls, self._made(context))

    async def _context(self) -> ssl.SSLContext:
        try:
            return await asyncio.to_thread(client_context, self._shown, self._tls)
        except Denied as exc:
            raise StoreFailed(self._shown, exc.reason, needs_somebody=True) from exc

    @staticmethod
    def _made(context: ssl.SSLContext | None) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(
            verify=False if context is None else context,
            trust_env=False,
            limits=httpx.Limits(max_connections=_MAX_CONNECTIONS, keepalive_expiry=_KEEPALIVE_S),
        )


class _Pieces(httpx.AsyncByteStream):
    """A body that is read once, as it is sent. It takes the time that the bandwidth needs; each piece has its own time.

    That of the last one, or of one that the store did not take, is the time for the answer too: a store that sends a
    byte of it now and then would hold the upload, and its place, for ever.
    """

    def __init__(self, pieces: AsyncIterator[bytes], patience: asyncio.Timeout, piece_s: float) -> None:
        self._pieces = pieces
        self._patience = patience
        self._piece_s = piece_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        self._patience.reschedule(None)
        async for piece in self._pieces:
            self._patience.reschedule(loop.time() + self._piece_s)
            yield piece
            self._patience.reschedule(None)
        self._patience.reschedule(loop.time() + self._piece_s)


async def _answer(transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> StoreAnswer:
    response = await transport.handle_async_request(request)
    try:
        return StoreAnswer(response.status_code, response.headers, await _read(response))
    finally:
        await response.aclose()


async def _read(response: httpx.Response) -> bytes:
    """The body, up to the bound; what breaks off in it is told by its reader, who misses the end."""
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) >= MAX_ANSWER_BYTES:
            break
    return bytes(body[:MAX_ANSWER_BYTES])


def _failure(shown: str, exc: Exception) -> StoreFailed:
    if isinstance(exc, httpx.ConnectTimeout):
        return StoreFailed(shown, "no connection could be made in time")
    if isinstance(exc, (httpx.TimeoutException, TimeoutError)):
        return StoreFailed(shown, "it stopped taking data, or did not answer, in time")
    if isinstance(exc, httpx.RemoteProtocolError):
        return StoreFailed(shown, "it closed the connection without an answer, or does not speak HTTP")
    cause: BaseException = exc
    while (earlier := cause.__cause__ or cause.__context__) is not None:
        cause = earlier
    failure = connection_failure(shown, cause if isinstance(cause, Exception) else exc)
    reason = line(failure.reason, _MAX_REASON_CHARS)
    return StoreFailed(shown, reason, needs_somebody=isinstance(failure, Denied))


def content_type(artifact: Artifact) -> str:
    """The artifact's content type as a header says it."""
    kind = artifact.content_type
    return kind if kind and kind.isascii() and kind.isprintable() else "application/octet-stream"
