"""The connections of one listener and the work they started, so that both can be limited and ended in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from edgeagent.errors import Draining, EdgeAgentError
from edgeagent.httpapi.budget import SMALL_BYTES, Budget
from edgeagent.httpapi.problem import Answer, problem, problem_for

_log = logging.getLogger(__name__)

_CONNECTIONS = "connections"
_MEMORY = "memory"

T = TypeVar("T")

# The limit of one address in the network: a machine that opens many connections leaves a quarter to the others.
# Loopback and the Unix socket have no such limit, because all programs of this machine share them.
_ADDRESS_SHARE: Final = 0.75
# An idle connection is spared for this long: its request may have arrived and not been read yet.
_FRESH_S: Final = 0.5
# How long a request may take to arrive before it must make room for another one.
PATIENCE_S: Final = 5.0


class HttpClient(Protocol):
    """A connection, as `Clients` uses it. Times are those of the loop's clock.

    `address`: the address whose limit it counts towards, "" for none. `idle_since`: the time since which it has no
    request, 0.0 if it is only being closed, None while it has one. `receiving_since`: the time since which a request is
    arriving, or waiting for a trigger to change; None otherwise. `held_bytes`: the memory it has reserved.
    """

    address: str
    idle_since: float | None
    receiving_since: float | None
    held_bytes: int

    def drain(self) -> None:
        """Close as soon as no request is running."""

    def give_way(self) -> None:
        """Close in favour of another connection; a request that is arriving or waiting is answered 503 first."""

    def abort(self) -> None:
        """Close now."""


class Clients:
    """The open connections and the running requests of one listener, and their limits.

    It owns both sets. A request that changes something must never be cut off because its connection is gone: an event
    that was stored counts. `is_local`: the listener is the Unix socket.
    """

    def __init__(self, max_connections: int, budget: Budget, *, is_local: bool = False) -> None:
        self._max_connections = max_connections
        self._max_of_address = max(1, int(max_connections * _ADDRESS_SHARE))
        self._budget = budget
        self._is_local = is_local
        self._connections: set[HttpClient] = set()
        self._admitted: set[HttpClient] = set()  # without those that were turned away or gave way, and are still ending
        self._tasks: set[asyncio.Task[Any]] = set()
        self._quiet = asyncio.Event()
        self._full: set[str] = set()  # the limits that are reached, and logged
        self.is_draining = False

    def __len__(self) -> int:
        """How many connections are open."""
        return len(self._admitted)

    def add(self, client: HttpClient) -> bool:
        """Admit a connection. False: the limit is reached, and no other connection can give way."""
        self._connections.add(client)
        if client.address:
            mine = [one for one in self._admitted if one.address == client.address]
            if len(mine) >= self._max_of_address and not self._make_way(mine, f"of {client.address} are open"):
                return False
        if len(self._admitted) >= self._max_connections and not self._make_way(self._admitted, "are open"):
            return False
        self._admitted.add(client)
        return True

    def is_crowded(self) -> bool:
        """Whether so many clients were turned away that the next one is closed without an answer."""
        return len(self._connections) - len(self._admitted) > self._max_connections

    def discard(self, client: HttpClient) -> None:
        """Forget a connection that has ended."""
        self._connections.discard(client)
        self._admitted.discard(client)
        if len(self._admitted) < self._max_of_address:
            self._full.discard(_CONNECTIONS)
        self._note_quiet()

    def reserve(self, client: HttpClient, total_bytes: int) -> bool:
        """Set a connection's reservation to `total_bytes`. False: there is no room, and nothing has changed.

        Requests that have been arriving for long give way.
        """
        more_bytes = total_bytes - client.held_bytes
        if more_bytes <= 0:
            self._budget.give_back(-more_bytes)
            client.held_bytes = total_bytes
            return True
        while not self._budget.reserve(more_bytes, total_bytes, is_local=self._is_local):
            slowest = self._slowest(
                [one for one in self._admitted if one is not client and one.held_bytes > SMALL_BYTES]
            )
            if slowest is None:
                self._note_memory_full()
                return False
            self._admitted.discard(slowest)
            slowest.give_way()
        client.held_bytes = total_bytes
        return True

    def occupy(self, client: HttpClient, size_bytes: int) -> None:
        """Count memory that a connection holds already, even beyond the limit."""
        self._budget.occupy(size_bytes)
        client.held_bytes += size_bytes

    def release(self, client: HttpClient) -> None:
        """Give back everything that a connection has reserved."""
        self._budget.give_back(client.held_bytes)
        client.held_bytes = 0
        if self._full and not self._budget.used_bytes:
            self._full.discard(_MEMORY)

    def start(self, work: Coroutine[Any, Any, T], done: Callable[[asyncio.Task[T]], None]) -> asyncio.Task[T]:
        """Run a request's work and keep a reference to it; `done` is called at its end."""
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

    def _make_way(self, others: Collection[HttpClient], which: str) -> bool:
        """End one of these connections for a new one: the longest idle, else the slowest. False: none can give way."""
        before = asyncio.get_running_loop().time() - _FRESH_S
        idle = [one for one in others if one.idle_since is not None and one.idle_since <= before]
        oldest = min(idle, key=lambda one: one.idle_since or 0.0) if idle else self._slowest(others)
        if oldest is not None:
            self._admitted.discard(oldest)
            oldest.give_way()
            return True
        if _CONNECTIONS not in self._full:
            self._full.add(_CONNECTIONS)
            _log.warning(
                "%d HTTP connections %s, which is the limit, and all of them are busy: further ones are refused",
                len(others),
                which,
                extra={"event": "http_connections_full", "max_connections": len(others)},
            )
        return False

    def _slowest(self, others: Collection[HttpClient]) -> HttpClient | None:
        """The connection whose request has been arriving or waiting for longest, if for more than `PATIENCE_S`."""
        late = asyncio.get_running_loop().time() - PATIENCE_S
        slow = [one for one in others if one.receiving_since is not None and one.receiving_since <= late]
        return min(slow, key=lambda one: one.receiving_since or 0.0, default=None)

    def _note_memory_full(self) -> None:
        if _MEMORY not in self._full:
            self._full.add(_MEMORY)
            _log.warning(
                "requests hold %d bytes of memory, which is the limit: further ones are answered 503",
                self._budget.used_bytes,
                extra={"event": "http_memory_full", "used_bytes": self._budget.used_bytes},
            )


def outcome(task: asyncio.Task[Answer]) -> Answer:
    """The answer to a finished request: its result, or the problem document for its error."""
    if task.cancelled():
        return problem_for(Draining())
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, EdgeAgentError):
        return problem_for(error)
    _log.error(
        "a request failed in an unexpected way, which is a fault of this program: please report it with what follows",
        exc_info=error,
        extra={"event": "http_request_failed"},
    )
    return problem(500, "the agent failed to answer; its log says more")
