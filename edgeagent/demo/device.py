"""How the demo asks the agent: over HTTP, as a device that wants to know what became of its events does."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from edgeagent.errors import AgentUnreachable, CommandFailed
from edgeagent.ports.account import Account, EventCounts
from edgeagent.wire.messages import Report

_OK = 200
_TIMEOUT_S = 10.0
_MAX_REPORTS = 1000


class DeviceStats(msgspec.Struct, frozen=True):
    """The part of `GET /v1/stats` that the demo reads."""

    class Accounts(msgspec.Struct, frozen=True):
        """Both accounts of promise P2."""

        events: EventCounts
        triggers: Account
        balanced: bool

    class Uplink(msgspec.Struct, frozen=True):
        """The agent's connection to the broker."""

        connected: bool

    account: Accounts
    uplink: Uplink


class _Reports(msgspec.Struct):
    triggers: list[Report]


class DeviceClient:
    """Owns one kept-alive connection to the agent on loopback, opened when first needed. One request at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def stats(self) -> DeviceStats:
        """The agent's counters.

        Raises:
            AgentUnreachable: the agent does not answer.
        """
        return msgspec.json.decode(await self._get("/v1/stats"), type=DeviceStats)

    async def reports(self, query: str = "", limit: int = _MAX_REPORTS) -> list[Report]:
        """The agent's reports on the sensor's triggers, newest first; `query`: further conditions, `&state=...`.

        Raises:
            AgentUnreachable: the agent does not answer.
        """
        return msgspec.json.decode(await self._get(f"/v1/triggers?limit={limit}{query}"), type=_Reports).triggers

    async def ready(self) -> bool:
        """Whether the agent accepts events."""
        try:
            status, _ = await self._request("/readyz")
        except AgentUnreachable:
            return False
        return status == _OK

    async def close(self) -> None:
        """Close the connection; the next request opens another."""
        if (writer := self._drop()) is not None:
            with contextlib.suppress(OSError):  # the agent had closed it
                await writer.wait_closed()

    def _drop(self) -> asyncio.StreamWriter | None:
        if self._streams is None:
            return None
        _, writer = self._streams
        self._streams = None
        writer.close()
        return writer

    async def _get(self, path: str) -> bytes:
        kept_alive = self._streams is not None
        try:
            status, answer = await self._request(path)
        except AgentUnreachable:
            if not kept_alive:
                raise
            status, answer = await self._request(path)  # the agent may be another one by now
        if status != _OK:
            raise CommandFailed(f"the agent answers {path} with {status} {answer.decode()}")
        return answer

    async def _request(self, path: str) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await self._exchange(path)
        except (OSError, EOFError, ValueError) as exc:  # TimeoutError is an OSError
            self._drop()
            raise AgentUnreachable(f"127.0.0.1:{self._port}", str(exc) or type(exc).__name__) from exc
        except asyncio.CancelledError:
            self._drop()  # its answer would be taken for the next request's
            raise

    async def _exchange(self, path: str) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n\r\n".encode())
        status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        answer = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self._drop()
        return int(status_line.split(" ")[1]), answer
