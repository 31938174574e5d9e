"""The listeners: TCP for devices, and a Unix socket for devices and operators of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent.common.passed_sockets import refuse_left, take_passed
from edgeagent.errors import ListenFailed
from edgeagent.httpapi.access import Admission, TokenFile
from edgeagent.httpapi.budget import MAX_REQUEST_BYTES, Budget
from edgeagent.httpapi.clients import Clients
from edgeagent.httpapi.connection import HttpConnection
from edgeagent.httpapi.routes import Routes
from edgeagent.httpapi.stream import WatchRoutes
from edgeagent.httpapi.timeouts import Timeouts
from edgeagent.links.servers import close_servers
from edgeagent.ports.device import DevicePort
from edgeagent.ports.operator import OperatorPort
from edgeagent.ports.watch import WatchPort

if TYPE_CHECKING:
    from edgeagent.httpapi.large import LargeEvents
    from edgeagent.ports.large import LargeDataPort

_SOCKET_MODE = 0o660
_PROBE_TIMEOUT_S = 1.0
_BACKLOG = 128
_TIMEOUTS = Timeouts()
_LOCALHOST = "localhost"
# Not left to the resolver, because many hosts files have only the first.
_BOTH_LOOPBACKS = ("127.0.0.1", "::1")

_log = logging.getLogger(__name__)


class HttpServer:
    """Serves the agent's ports over HTTP/1.1 (contract section 2); owns the listeners, their connections and the token.

    It keeps no event itself: an answer promises what the port behind it promises. Each listener has its own
    `max_connections`, so that devices cannot lock the operator out. `token_file`: "" for none.
    """

    def __init__(
        self,
        device: DevicePort,
        operator: OperatorPort,
        watch: WatchPort,
        *,
        max_event_bytes: int,
        max_connections: int,
        token_file: str = "",
        hosts: Sequence[str] = (),
        page: bool = True,
        stops: bool = False,
        timeouts: Timeouts = _TIMEOUTS,
        tidy: Callable[[], None] = lambda: None,
        large: LargeDataPort | None = None,
    ) -> None:
        """Read the token.

        `hosts`: names of this machine, as callers over TCP may write them. `page`: whether TCP offers the status page.
        `stops`: whether devices may stop workflows.
        `tidy`: returns free memory to the system. `large`: takes in large data; None: none is taken.

        Raises:
            ConfigError: the token file cannot be used.
        """
        self._device = device
        self._operator = operator
        self._watch = WatchRoutes(watch)
        self._page = page
        self._stops = stops
        self._max_event_bytes = max_event_bytes
        self._max_connections = max_connections
        self._token = TokenFile(token_file) if token_file else None
        self._hosts = hosts
        self._timeouts = timeouts
        self._budget = Budget(MAX_REQUEST_BYTES, tidy)
        self._large = _large_events(device, large) if large is not None else None
        self._servers: list[asyncio.Server] = []
        self._clients: list[Clients] = []
        self._socket_file: tuple[Path, int] | None = None

    @property
    def addresses(self) -> list[str]:
        """What it listens on: `host:port` and socket files, in the order they were started."""
        return [_shown(sock.getsockname()) for server in self._servers for sock in server.sockets]

    def stats(self) -> dict[str, Any]:
        """Where it listens, and how many connections are open, ready for JSON."""
        return {"addresses": self.addresses, "connections": sum(map(len, self._clients))}

    async def start_tcp(self, host: str, port: int, passed: Sequence[socket.socket] = ()) -> None:
        """Listen on TCP; port 0 takes any free one. "localhost" is both loopback addresses, or the one that exists.

        `passed`: sockets that listen already, each on one of the addresses; they are used, and closed in the end.

        Raises:
            ListenFailed: the address cannot be used, or a socket is of another one; says why and what to do.
        """
        left = list(passed)
        access = Admission(host, self._token, self._hosts)
        routes = self._routes(access)
        clients = Clients(self._max_connections, self._budget)
        for name in _BOTH_LOOPBACKS if host.lower() == _LOCALHOST else (host,):
            try:
                server = await self._open(routes, clients, name, port, left)
            except (OSError, UnicodeError) as exc:
                if name != host and _is_missing(exc) and (self._servers or name != _BOTH_LOOPBACKS[-1]):
                    _log.info(
                        'this machine has no %s: "localhost" is its other loopback address only',
                        name,
                        extra={"event": "http_loopback_missing", "address": name},
                    )
                    continue
                raise _listen_failed(_shown((name, port)), exc, "http.listen") from exc
            self._servers.append(server)
            port = server.sockets[0].getsockname()[1]  # if 0 was given, use the same one for both
        refuse_left(left, "http", "http.listen")
        self._clients.append(clients)

    def _routes(self, access: Admission | None) -> Routes:
        return Routes(
            self._device,
            self._operator,
            access,
            self._watch,
            max_event_bytes=self._max_event_bytes,
            page=self._page,
            stops=self._stops,
            large=self._large,
        )

    async def _open(
        self, routes: Routes, clients: Clients, host: str, port: int, passed: list[socket.socket]
    ) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        if passed:
            for family, _, _, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                if sock := take_passed(passed, family, address):
                    return await self._serve(routes, clients, sock)
        return await loop.create_server(
            lambda: HttpConnection(routes.plan, clients, self._timeouts), host, port, backlog=_BACKLOG
        )

    async def _serve(self, routes: Routes, clients: Clients, sock: socket.socket) -> asyncio.Server:
        """Accept on a socket that listens already, of any family. A file that it has stays when it is closed."""
        return await asyncio.get_running_loop().create_server(
            lambda: HttpConnection(routes.plan, clients, self._timeouts), sock=sock, backlog=_BACKLOG
        )

    async def start_unix(self, path: Path, passed: Sequence[socket.socket] = ()) -> None:
        """Listen on a Unix socket of mode 0660; the file of an agent that is gone is replaced.

        `passed`: the socket that listens there already, with the mode that it has, whose file stays; or nothing.

        Raises:
            ListenFailed: another agent listens there, or the file cannot be made, or a socket is of another path; says
                what to do.
        """
        left = list(passed)
        taken = take_passed(left, socket.AF_UNIX, str(path))
        refuse_left(left, "socket", "http.socket")
        routes = self._routes(None)
        clients = Clients(self._max_connections, self._budget, is_local=True)
        if taken is not None:
            self._servers.append(await self._serve(routes, clients, taken))
            self._clients.append(clients)
            return
        try:
            sock = _bind_unix(path)
        except OSError as exc:
            raise _listen_failed(str(path), exc, "http.socket") from exc
        self._socket_file = path, path.stat().st_ino  # noqa: ASYNC240  once, at start
        server = await asyncio.get_running_loop().create_unix_server(
            lambda: HttpConnection(routes.plan, clients, self._timeouts), sock=sock, backlog=_BACKLOG
        )
        self._servers.append(server)
        self._clients.append(clients)

    async def close(self, deadline_s: float) -> None:
        """Stop listening, let running requests finish for at most `deadline_s` seconds, then close everything.

        Requests that only wait for a trigger are answered 503 at once. The events of a request that is cut off may have
        been stored.
        """
        await close_servers(self._servers)
        self._servers.clear()
        if self._socket_file is not None:
            path, inode = self._socket_file
            with contextlib.suppress(OSError):
                if path.lstat().st_ino == inode:  # never remove the file of a successor
                    path.unlink()
            self._socket_file = None
        await asyncio.gather(*(clients.close(deadline_s) for clients in self._clients))
        self._clients.clear()
        self._budget.close()
        if self._large is not None:
            self._large.close()


def _large_events(device: DevicePort, large: LargeDataPort) -> LargeEvents:
    from edgeagent.httpapi.large import LargeEvents  # noqa: PLC0415  only for those who use it

    return LargeEvents(device, large)


def _is_missing(exc: OSError | UnicodeError) -> bool:
    """Whether this machine lacks the address: its kernel, or its container, is without one of the two families."""
    return isinstance(exc, OSError) and exc.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


def _bind_unix(path: Path) -> socket.socket:
    """A socket bound to the path, not yet listening, so that no client can connect before its mode is set."""
    with contextlib.suppress(FileNotFoundError):
        _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        path.chmod(_SOCKET_MODE)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: Path) -> None:
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise OSError(errno.EEXIST, "exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except TimeoutError:
            pass  # another agent listens there, and is busy
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _listen_failed(address: str, exc: OSError | UnicodeError, key: str) -> ListenFailed:
    number = exc.errno if isinstance(exc, OSError) else None
    if number == errno.EADDRINUSE:
        return ListenFailed(address, "address already in use", f"another agent runs, or set {key}")
    if number == errno.EEXIST:
        return ListenFailed(address, "exists and is not a socket", f"remove it, or set {key}")
    # asyncio wraps the system's text in its own, so the text is made again from the number. Names that do not resolve
    # have a negative one.
    reason = os.strerror(number).lower() if number is not None and number > 0 else str(exc)
    return ListenFailed(address, reason, f"set {key}")


def _shown(address: object) -> str:
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return str(address)
