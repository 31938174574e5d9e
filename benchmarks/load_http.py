"""Devices that send by HTTP, as a process: `python -m benchmarks.load_http PORT`.

`{"connections": 4, "requests": 500, "batch": 100}` sends so many requests in all, each with so many events (NDJSON,
or, with 1, a single POST of the data), on kept-alive connections, one request after the other on each. All requests
are made before the first is sent. The answer: `begun_s`, `ended_s`, and `took_s`, the time of each request.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from typing import Any, cast

from benchmarks.load import SOURCE, answer, event, requests

_ACCEPTED = b"HTTP/1.1 202 "
_LENGTH = b"content-length: "
_HEAD_END = b"\r\n\r\n"


class _Connection(asyncio.Protocol):
    """Sends the next request when the last one is answered."""

    def __init__(self, unsent: Iterator[bytes], took_s: list[float]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unsent = unsent
        self._took_s = took_s
        self._received = b""
        self._wanted_bytes = 0
        self._sent_s = 0.0
        self._transport: asyncio.Transport

    def send(self) -> None:
        """Send the next request, if there is one."""
        request = next(self._unsent, None)
        if request is None:
            self.done.set_result(None)
            self._transport.close()
            return
        self._received = b""
        self._wanted_bytes = 0
        self._sent_s = time.monotonic()
        self._transport.write(request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._wanted_bytes:
            head_bytes = self._received.find(_HEAD_END) + len(_HEAD_END)
            if head_bytes < len(_HEAD_END):
                return
            self._wanted_bytes = head_bytes + self._body_bytes(self._received[:head_bytes])
        if len(self._received) >= self._wanted_bytes:
            self._took_s.append(time.monotonic() - self._sent_s)
            self.send()

    @staticmethod
    def _body_bytes(head: bytes) -> int:
        if not head.startswith(_ACCEPTED):
            sys.exit(f"not accepted: {head!r}")
        begin = head.lower().index(_LENGTH) + len(_LENGTH)
        return int(head[begin : head.index(b"\r", begin)])

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            sys.exit(f"the agent closed the connection: {exc}")


def _requests(count: int, batch: int) -> list[bytes]:
    """Requests whose events have the numbers from 0 on."""
    if batch == 1:
        return [_post(f"/v1/events/{SOURCE}", b"application/json", event(number)) for number in range(count)]
    line = b'{"source":"%s","data":%%s}' % SOURCE.encode()
    return [
        _post(
            "/v1/events",
            b"application/x-ndjson",
            b"\n".join([line % event(number) for number in range(first, first + batch)]),
        )
        for first in range(0, count * batch, batch)
    ]


def _post(path: str, content_type: bytes, body: bytes) -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (
        path.encode(),
        content_type,
        len(body),
        body,
    )


async def _send(port: int, connections: int, count: int, batch: int) -> dict[str, Any]:
    unsent, took_s = iter(_requests(count, batch)), list[float]()
    loop = asyncio.get_running_loop()
    protocols = [
        (await loop.create_connection(lambda: _Connection(unsent, took_s), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    begun_s = time.monotonic()
    for protocol in protocols:
        protocol.send()
    for protocol in protocols:
        await protocol.done
    return {"begun_s": begun_s, "ended_s": time.monotonic(), "took_s": took_s}


async def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    arguments = parser.parse_args()
    answer(ready=True)
    async for request in requests():
        answer(**await _send(arguments.port, request["connections"], request["requests"], request["batch"]))


if __name__ == "__main__":
    asyncio.run(_main())
