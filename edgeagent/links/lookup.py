"""Looks up a host's addresses without holding up anything else.

The loop's own pool of threads has few, and other parts use it; a name server that does not answer would take them all.
So each lookup has a thread, at most one for each host that is asked for.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from ipaddress import ip_address

from edgeagent.common.hosts import Address, address_of, plain


class HostLookup:
    """The addresses of one host. Requests that ask at the same time share a lookup."""

    def __init__(self, host: str, port: int) -> None:
        """Nothing is looked up yet."""
        self._host = host
        self._port = port
        self._running: asyncio.Future[list[Address]] | None = None

    async def addresses(self) -> Sequence[Address]:
        """The host's addresses as they are now.

        Raises:
            OSError: it has none, or nobody can tell.
        """
        if (literal := address_of(self._host)) is not None:
            return [literal]
        if self._running is None:
            self._running = asyncio.get_running_loop().create_future()
            threading.Thread(target=self._look, args=(self._running,), name="lookup", daemon=True).start()
        return await asyncio.shield(self._running)

    def _look(self, found: asyncio.Future[list[Address]]) -> None:
        result: list[Address] | OSError
        try:
            infos = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            # Without the zone of a link-local address, which is refused anyway.
            texts = dict.fromkeys(str(info[4][0]).partition("%")[0] for info in infos)
            result = [plain(ip_address(text)) for text in texts]
        except OSError as exc:
            result = exc
        except ValueError as exc:  # a label of more than 63 characters
            result = OSError(str(exc))
        loop = found.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._found, found, result)

    def _found(self, found: asyncio.Future[list[Address]], result: list[Address] | OSError) -> None:
        self._running = None
        if found.done():
            return
        if isinstance(result, OSError):
            found.set_exception(result)
            found.exception()  # marks it as retrieved: who asked may have given up
        else:
            found.set_result(result)
