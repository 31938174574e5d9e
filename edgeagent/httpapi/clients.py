"""The connections of one listener and the work they started, so that it can be limited, and ended in good order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol, TypeVar

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Client(Protocol):
    """A connection, as seen by what counts and ends it."""

    def drain(self) -> None:
        """Close as soon as no request is running."""

    def abort(self) -> None:
        """Close now."""


class Clients:
    """Open connections and running requests. A request can outlive its connection: what it asked for is done."""

    def __init__(self, max_connections: int) -> None:
        self._max_connections = max_connections
        self._connections: set[Client] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._quiet = asyncio.Event()
        self._is_told = False
        self.is_draining = False

    def add(self, client: Client) -> bool:
        """Count a connection in; False when it is one too many."""
        self._connections.add(client)
        is_over = len(self._connections) > self._max_connections
        if is_over and not self._is_told:
            self._is_told = True
            _log.warning(
                "%d HTTP connections are open, which is the limit: further ones are refused",
                self._max_connections,
                extra={"event": "http_connections_full", "max_connections": self._max_connections},
            )
        return not is_over

    def is_crowded(self) -> bool:
        """Whether so many clients were turned away that there is no time to tell the next one why."""
        return len(self._connections) > 2 * self._max_connections

    def discard(self, client: Client) -> None:
        """A connection has ended."""
        self._connections.discard(client)
        if len(self._connections) < self._max_connections:
            self._is_told = False
        self._note_quiet()

    def start(self, work: Coroutine[Any, Any, T], done: Callable[[asyncio.Task[T]], None]) -> asyncio.Task[T]:
        """Run a request's work, and hold it until it is done; then `done` is called."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, done))
        return task

    async def close(self, deadline_s: float) -> None:
        """Let running requests finish for at most `deadline_s` seconds, then cancel them and close everything."""
        self.is_draining = True
        for client in list(self._connections):
            client.drain()
        self._note_quiet()
        try:
            async with asyncio.timeout(deadline_s):
                await self._quiet.wait()
        except TimeoutError:
            _log.warning(
                "%d HTTP connections and %d requests did not end within %.1f s and are cut off",
                len(self._connections),
                len(self._tasks),
                deadline_s,
                extra={"event": "http_cut_off", "connections": len(self._connections), "requests": len(self._tasks)},
            )
            for client in list(self._connections):
                client.abort()
            for task in list(self._tasks):
                task.cancel()
            await self._quiet.wait()

    def _done(self, done: Callable[[asyncio.Task[T]], None], task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        self._note_quiet()
        done(task)

    def _note_quiet(self) -> None:
        if self.is_draining and not self._connections and not self._tasks:
            self._quiet.set()
