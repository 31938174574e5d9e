"""A receiver of webhooks that answers as a test says, or does not.

async with WebhookEndpoint() as endpoint:
    endpoint.answers = [500, 200]     # the last one stays
    ...
    await endpoint.until(2)
"""

from __future__ import annotations

import asyncio
import json
import ssl
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.fakes.listener import Listener
from tests.waiting import until

# Instead of a status: what a broken receiver does.
HANG = "hang"
CLOSE = "close"
ENDLESS = "endless"
TRICKLE = "trickle"
SLOW_BODY = "slow body"
GARBAGE = "garbage"
_BODY = b"a receiver's words"


class Received(NamedTuple):
    """One request, complete."""

    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class WebhookEndpoint:
    """Listens on loopback.

    Attributes:
        answers: a status or a fault for each request; the last one stays.
        headers: lines that each answer has.
        requests: everything that came.
        open: how many requests wait for their answer.
        most_open: how many there were at most.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.answers: list[int | str] = [200]
        self.headers: list[str] = []
        self.requests: list[Received] = []
        self.open = 0
        self.most_open = 0
        self.read_bytes = 0
        self._listener = Listener(self._serve, port, tls)
        self._scheme = "http" if tls is None else "https"

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._listener.port

    @property
    def url(self) -> str:
        """Its address."""
        return f"{self._scheme}://127.0.0.1:{self.port}/hook?token=geheim"

    async def __aenter__(self) -> Self:
        """Listen."""
        await self._listener.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything."""
        await self._listener.close()

    async def until(self, count: int) -> None:
        """Wait until so many requests came."""
        await until(lambda: len(self.requests) >= count, f"{count} requests", seen=lambda: self.requests)

    def told(self) -> list[str]:
        """The correlation ids that were told of, in the order in which they came; several come at once."""
        return [request.content["correlation_id"] for request in self.requests]

    def states(self) -> list[str]:
        """The states that were reported, in order."""
        return [request.content["state"] for request in self.requests]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
        except asyncio.IncompleteReadError:
            return  # the other side was killed
        self.requests.append(Received(first.split(" ")[1], headers, body))
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            await self._answer(reader, writer)
        finally:
            self.open -= 1

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        match answer:
            case int():
                lines = [f"HTTP/1.1 {answer} Said", f"content-length: {len(_BODY)}", *self.headers]
                writer.write("\r\n".join([*lines, "", ""]).encode() + _BODY)
                await writer.drain()
            case "hang":
                await reader.read()  # until the other side is tired of it
            case "close":
                return
            case "garbage":
                writer.write(b"\x00\xff" * 100)
            case "trickle":
                writer.write(b"HTTP/1.1 200 OK\r\n")
                while not reader.at_eof():
                    writer.write(b"x-more: 1\r\n")
                    await writer.drain()
                    await asyncio.wait([asyncio.ensure_future(reader.read(1))], timeout=0.01)
            case "slow body":
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                while not reader.at_eof():
                    writer.write(b"1\r\nx\r\n")
                    await writer.drain()
                    await asyncio.wait([asyncio.ensure_future(reader.read(1))], timeout=0.01)
            case _:
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                while True:
                    writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
                    await writer.drain()
                    self.read_bytes += 1024
