"""HTTP/1.1 for the fake Argo Server: one connection, h11 over asyncio streams."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

import h11
import msgspec

from tests.fakes.argo_failures import Answer, Headers

_MAX_HEAD_BYTES = 1 << 20  # as Go's server
_CHUNK_BYTES = 64 << 10


class Request(NamedTuple):
    """A request as it came.

    `path` is decoded, header names are in lower case, `body` is the decoded JSON, or the bytes when they are none.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    segments: tuple[str, ...]  # of the path, each decoded by itself
    size_bytes: int  # of the body


class Connection:
    """One client's connection, an exchange after the other. Every method may raise OSError: the client has gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)

    async def receive(self) -> Request | None:
        """The next request with its body, None when the client wants no other.

        Raises:
            h11.RemoteProtocolError: it does not speak HTTP.
        """
        if self._http.our_state is not h11.IDLE:
            if self._http.our_state is not h11.DONE:
                return None
            self._http.start_next_cycle()
        head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        body = b""
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
        return _request(head, body) if isinstance(event, h11.EndOfMessage) else None

    async def answer(self, answer: Answer) -> None:
        """Send a whole answer."""
        headers = [*answer.headers, ("Content-Length", str(len(answer.body)))]
        head = self._http.send(h11.Response(status_code=answer.status, headers=headers))
        data = self._http.send(h11.Data(data=answer.body))
        end = self._http.send(h11.EndOfMessage())
        self._writer.write(b"".join(part for part in (head, data, end) if part))
        await self._writer.drain()

    async def begin(self, status: int, headers: Headers) -> None:
        """Send the head of an answer whose length is not known. The connection ends with it."""
        await self._send(h11.Response(status_code=status, headers=[*headers, ("Connection", "close")]))

    async def chunk(self, data: bytes) -> None:
        """Send a part of the body."""
        await self._send(h11.Data(data=data))

    async def end(self) -> None:
        """The body is complete."""
        await self._send(h11.EndOfMessage())

    async def left(self) -> None:
        """Return when the client has gone. What it sends is read and thrown away."""
        with suppress(OSError):
            while await self._reader.read(_CHUNK_BYTES):
                pass

    def abort(self) -> None:
        """End at once."""
        self._writer.transport.abort()

    async def _send(self, event: h11.Event) -> None:
        self._writer.write(self._http.send(event) or b"")
        await self._writer.drain()

    async def _event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            data = await self._reader.read(_CHUNK_BYTES)
            if not data:
                raise ConnectionResetError("the client has gone")
            self._http.receive_data(data)
        return event


def _request(head: h11.Request, body: bytes) -> Request:
    path, _, query = head.target.decode("ascii").partition("?")
    try:
        decoded: Any = msgspec.json.decode(body) if body else body
    except msgspec.DecodeError:
        decoded = body
    return Request(
        method=head.method.decode("ascii"),
        path=unquote(path),
        query=dict(parse_qsl(query, keep_blank_values=True)),
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers},
        body=decoded,
        segments=tuple(unquote(segment) for segment in path.split("/")[1:]),
        size_bytes=len(body),
    )
