"""The socket below `paho`: it avoids the traps of how paho reads and writes.

* It reads all that is there: paho asks for single bytes, and would be called once for each packet.
* It refuses a packet that is too large as soon as its length is known; paho would keep up to 256 MB.
* It keeps what a WebSocket takes only in part; paho would forget the packet and break the stream.
"""

from __future__ import annotations

import ssl
from typing import Any

_READ_BYTES = 1 << 16
# How much is read before other tasks run, if TLS holds more than the socket shows.
_READ_MAX_BYTES = 1 << 18

_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class GuardedSocket:
    """The socket that paho gets: it reads as much as there is, and refuses what is too large.

    It owns the socket below, and remembers what ended it. It must never pass on a packet that is larger than allowed,
    nor report that nothing was written if a part was.

    Attributes:
        error: what the socket raised, None if it has not.
        fault: the forbidden thing that the broker sent, "" if it has not.
        ended: whether nothing more can be read from the socket.
    """

    def __init__(self, sock: Any, max_packet_bytes: int) -> None:
        self.error: OSError | None = None
        self.fault = ""
        self.ended = False
        self._is_ended_by_us = False
        self._sock = sock
        self._max_packet_bytes = max_packet_bytes
        self._data = b""
        self._position = 0

    def end(self) -> None:
        """Write and read nothing more, not even what is buffered: paho closes the socket at its next write."""
        self.ended, self._data, self._position = True, b"", 0
        self._is_ended_by_us = True

    def refill(self) -> bool:
        """Read what there is; returns whether TLS holds more, which the socket will not show."""
        parts: list[bytes] = []
        more = True
        while more and sum(map(len, parts)) < _READ_MAX_BYTES:
            data = self._read()
            parts.append(data)
            more = bool(data) and hasattr(self._sock, "pending") and self._sock.pending() > 0
        self._data, self._position = self._data[self._position :] + b"".join(parts), 0
        return more

    def _read(self) -> bytes:
        try:
            data: bytes = self._sock.recv(_READ_BYTES)
        except _NOT_NOW:
            return b""
        except OSError as exc:
            self.error = exc
            data = b""
        self.ended = not data
        return data

    def pending(self) -> int:
        """How many bytes wait for paho."""
        return len(self._data) - self._position

    def recv(self, wanted_bytes: int) -> bytes:
        """At most `wanted_bytes` bytes. What paho asks for at once is the length of its packet."""
        if wanted_bytes > self._max_packet_bytes:
            self.fault = f"a packet of {wanted_bytes} bytes, where {self._max_packet_bytes} were allowed"
            raise ConnectionAbortedError(self.fault)
        if self._position < len(self._data):
            data = self._data[self._position : self._position + wanted_bytes]
            self._position += len(data)
            return data
        if self.ended:
            return b""
        raise BlockingIOError

    def send(self, data: bytes | bytearray) -> int:
        """Write; returns how much was written: all or a part, never nothing."""
        if self._is_ended_by_us:
            raise ConnectionAbortedError
        try:
            sent_bytes: int = self._sock.send(data)
        except _NOT_NOW:
            raise
        except OSError as exc:
            self.error = exc
            raise
        if not sent_bytes:  # a part of a WebSocket frame: paho must offer the same packet again, as it does after this
            raise BlockingIOError
        return sent_bytes

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def fileno(self) -> int:
        """The socket's number, -1 if it is closed."""
        number: int = self._sock.fileno()
        return number

    def setblocking(self, flag: bool) -> None:
        """Like the socket's."""
        self._sock.setblocking(flag)
