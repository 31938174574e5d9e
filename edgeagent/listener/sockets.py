"""The sockets that the listener has: bound and not yet listening, or listening before it."""

from __future__ import annotations

import errno
import os
import socket

from edgeagent.common.passed_sockets import take_passed
from edgeagent.config.addresses import ListenAddress
from edgeagent.errors import ListenFailed


def bound_sockets(address: ListenAddress, passed: list[socket.socket]) -> list[socket.socket]:
    """One for each address that the name has; a name is looked up here, which may take its time.

    `passed`: sockets that listen already; those of these addresses are taken out and used.

    Raises:
        OSError: it cannot be listened on.
    """
    # As bytes it needs no encoding of international names, whose tables take 0.3 MiB.
    host = address.host.encode() if address.host.isascii() else address.host
    found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, name in dict.fromkeys((family, name) for family, _, _, _, name in found):
            if taken := take_passed(passed, family, name):
                sockets.append(taken)
                continue
            sock = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(name)
            sock.setblocking(False)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def shown_address(address: ListenAddress, sock: socket.socket) -> str:
    """Where it listens, as a client writes it."""
    host, port = sock.getsockname()[:2]
    scheme = ("ws" if address.is_websocket else "mqtt") + "s" * address.is_tls
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def listen_failed(listen: str, exc: OSError | UnicodeError) -> ListenFailed:
    """Why it cannot be listened on, and what to do."""
    number = exc.errno if isinstance(exc, OSError) else None
    if number == errno.EADDRINUSE:
        remedy = "a Mosquitto or another agent runs there: stop it, or set mqtt.listen"
        return ListenFailed(listen, "address already in use", remedy)
    # Names that do not resolve have negative numbers.
    reason = os.strerror(number).lower() if number is not None and number > 0 else str(exc)
    return ListenFailed(listen, reason, "set mqtt.listen")
