"""WebSocket between a socket, or TLS, and a device's connection: to the one a protocol, to the other a transport."""

from __future__ import annotations

import asyncio
from typing import Any

from edgeagent.listener.client import ConnectedDevice
from edgeagent.listener.websocket import Brought, WebSocket, WebSocketEnd


class WebSocketTransport(asyncio.Protocol, asyncio.Transport):
    """Hands a device the bytes that binary frames bring, and makes a frame of whatever it writes at once.

    The device knows of the connection from its first moment on: what it allows for the CONNECT to come, and where it is
    counted, includes the opening of the WebSocket.
    """

    _below: asyncio.Transport
    _websocket: WebSocket

    def __init__(self, device: ConnectedDevice, names: frozenset[str]) -> None:
        """`names`: by which clients of this machine may call it. Others have to say who they are (`Door`)."""
        super().__init__()
        self._device = device
        self._names = names
        self._loop = asyncio.get_running_loop()
        self._is_wanted = True  # the device wants to hear more
        self._is_closing = False  # by the device
        self._is_half = False  # the client closed its half of the connection
        self._goes_on = False  # frames that are here are looked at in the next turn of the loop

    # What the socket tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  what create_server hands to a protocol
        self._below = transport
        self._device.connection_made(self)
        self._websocket = WebSocket(None if self._device.place else self._names)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._take(self._websocket.feed(data))
        if self._websocket.has_more:
            self._device.waits_in_frames(len(data))

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`."""
        self._is_half = True
        self._read_out()
        return not self._is_closing and self._device.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._read_out()
        self._device.connection_lost(exc)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._device.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._device.resume_writing()

    # What the device says.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See `asyncio.Transport`."""
        return self._below.get_extra_info(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See `asyncio.Transport`."""
        self._below.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """See `asyncio.Transport`."""
        return self._below.get_write_buffer_size()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See `asyncio.Transport`: the bytes become one frame."""
        self._below.write(self._websocket.send(bytes(data)))

    def pause_reading(self) -> None:
        """See `asyncio.Transport`."""
        self._is_wanted = False
        self._settle()

    def resume_reading(self) -> None:
        """See `asyncio.Transport`."""
        self._is_wanted = True
        self._settle()

    def is_closing(self) -> bool:
        """See `asyncio.Transport`."""
        return self._is_closing or self._below.is_closing()

    def close(self) -> None:
        """See `asyncio.Transport`: say that it is over, and wait for the client to say so, until the device aborts."""
        if self._is_closing:
            return
        self._is_closing = True
        self._below.write(self._websocket.close())
        if self._websocket.waits and not self._is_half:
            self.resume_reading()
        else:
            self._below.close()

    def abort(self) -> None:
        """See `asyncio.Transport`."""
        self._is_closing = True
        self._below.abort()

    # Inside.

    def _take(self, brought: Brought) -> None:
        """Answer what is for the WebSocket itself, and hand on the rest."""
        if brought.answer and not self._below.is_closing():
            self._below.write(brought.answer)
        if not self._is_closing:
            if brought.payload:
                self._device.data_received(brought.payload)
            if brought.ending is not None:
                self._end(brought.ending)
        elif brought.ending is not None:
            self._below.close()
        self._settle()

    def _end(self, ending: WebSocketEnd) -> None:
        if ending.is_by_client:
            self._device.eof_received()
        elif ending.is_refusal:
            self._device.turn_away(ending.reason, ending.text)
        else:
            self._device.read_out()
            self._device.disconnect(ending.reason, ending.text)

    def _settle(self) -> None:
        """Read on or not; look at the frames that are here later in any case."""
        has_more = self._websocket.has_more
        if self._is_wanted and has_more and not self._goes_on:
            self._goes_on = True
            self._loop.call_soon(self._go_on)
        if self._is_wanted and not has_more:
            self._below.resume_reading()
        else:
            self._below.pause_reading()

    def _go_on(self) -> None:
        self._goes_on = False
        if self._is_wanted and self._websocket.has_more:
            self._take_more()

    def _take_more(self) -> None:
        self._take(self._websocket.go_on())
        if not self._websocket.has_more:
            self._device.waits_in_frames(0)

    def _read_out(self) -> None:
        """Take all frames that are here, wanted or not."""
        while self._websocket.has_more:
            self._device.read_out()
            self._take_more()
