"""One open watch of the fake Argo Server: what it tells, how its bytes look, how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import msgspec

from tests.fakes.argo_failures import JSON_TYPE, Headers
from tests.fakes.argo_http import Connection
from tests.fakes.argo_rules import INVALID_ARGUMENT, RESOURCE_EXHAUSTED, Fields, Json, Refusal, Selector
from tests.fakes.argo_store import Change, cleaned

BreakKind = Literal["eof", "drop", "too_old", "close"]

_EVENT_STREAM_TYPE = ("Content-Type", "text/event-stream")
_STATUS_TEXTS = {400: "Bad Request", 401: "Unauthorized", 429: "Too Many Requests"}
_EOF = Refusal(429, RESOURCE_EXHAUSTED, "EOF")
_TOO_OLD = Refusal(400, INVALID_ARGUMENT, "too old resource version: 1 (2)")
_HALF_AN_EVENT = b'data: {"result":{"type":"MODIFIED","object":{"metadata":{"na'


class View(NamedTuple):
    """What a watch was asked for."""

    namespace: str
    selector: Selector
    fields: Fields


class Watch:
    """Tells a client of changes until one of them ends it.

    Args:
        connection: the client's, which ends with the watch.
        event_stream: server-sent events with comments as keep-alive; else a JSON object a line, and silence.
        keepalive_s: after so long without an event a comment goes out.
        check: called with each event before it is told.
    """

    def __init__(
        self, connection: Connection, *, event_stream: bool, keepalive_s: float, check: Callable[[Json], None]
    ) -> None:
        self._connection = connection
        self._event_stream = event_stream
        self._keepalive_s = keepalive_s
        self._check = check
        self._begun = False
        self._queue: asyncio.Queue[Change | BreakKind | None] = asyncio.Queue()

    def tell(self, change: Change) -> None:
        """A change to tell of, if it is one that this watch sees."""
        self._queue.put_nowait(change)

    def end(self, how: BreakKind) -> None:
        """End after what was told before."""
        self._queue.put_nowait(how)

    async def run(self, view: View) -> None:
        """Tell until the end. The headers go out with the first bytes of the body."""
        leaving = asyncio.ensure_future(self._connection.left())
        leaving.add_done_callback(lambda _: self._queue.put_nowait(None))
        try:
            while isinstance(told := await self._next(), Change):
                seen = told.seen_by(view.namespace, view.selector)
                if seen is not None:
                    event = {"type": seen[0], "object": cleaned(seen[1], view.fields)}
                    self._check(event)
                    await self._write({"result": event})
            if told is not None:
                await self._finish(told)
        finally:
            leaving.cancel()

    async def refuse(self, refusal: Refusal) -> None:
        """End with an error, which is the HTTP status too when nothing was told before."""
        error = {
            "grpc_code": refusal.code,
            "http_code": refusal.status,
            "message": refusal.message,
            "http_status": _STATUS_TEXTS[refusal.status],
        }
        await self._write({"error": error}, refusal.status)
        await self._connection.end()

    async def _next(self) -> Change | BreakKind | None:
        while True:
            try:
                async with asyncio.timeout(self._keepalive_s if self._event_stream else None):
                    return await self._queue.get()
            except TimeoutError:
                await self._send(b":\n")

    async def _finish(self, how: BreakKind) -> None:
        match how:
            case "eof":
                await self.refuse(_EOF)
            case "too_old":
                await self.refuse(_TOO_OLD)
            case "close":
                await self._send(b"")
                await self._connection.end()
            case "drop":
                await self._send(_HALF_AN_EVENT)

    async def _write(self, item: dict[str, Any], status: int = 200) -> None:
        data = msgspec.json.encode(item)
        await self._send(b"data: " + data + b" \n\n\n" if self._event_stream else data + b"\n", status)

    async def _send(self, data: bytes, status: int = 200) -> None:
        if not self._begun:
            self._begun = True
            headers: Headers = (_EVENT_STREAM_TYPE if self._event_stream else JSON_TYPE,)
            await self._connection.begin(status, headers)
        if data:
            await self._connection.chunk(data)
