"""TLS of one accepted connection, which counts among the connections from its first moment on.

`asyncio.create_server` tells of a connection when its handshake is done: a client that begins handshakes and never ends
them would not be counted. So the listener's servers accept plain connections, and TLS begins here.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol

from edgeagent.listener.client import ConnectedDevice


class TlsHandshake(SSLProtocol):
    """Between the socket and the device. It tells the device of the socket, and later of the connection within TLS."""

    def __init__(
        self,
        device: ConnectedDevice,
        within: asyncio.Protocol,
        context: ssl.SSLContext,
        *,
        handshake_s: float,
        shutdown_s: float,
    ) -> None:
        """`within`: takes what comes by TLS. `handshake_s`, `shutdown_s`: how long its beginning and end may take."""
        # typeshed knows neither that nobody has to wait for the handshake, nor parts of a second.
        super().__init__(
            asyncio.get_running_loop(),
            within,
            context,
            None,  # type: ignore[arg-type]
            server_side=True,
            ssl_handshake_timeout=handshake_s,  # type: ignore[arg-type]
            ssl_shutdown_timeout=shutdown_s,
        )
        self._device = device
        self._has_heard = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  what create_server hands to a protocol
        self._device.arrived(transport)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        self._device.departed(exc, has_spoken=self._has_heard)

    def buffer_updated(self, nbytes: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._has_heard = True
        super().buffer_updated(nbytes)
