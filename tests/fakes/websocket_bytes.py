"""WebSocket written byte by byte, as RFC 6455 shows it, also such as nobody should send."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

CONTINUED, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = base64.b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())  # noqa: S324  RFC 6455
_MASK = b"\x37\xfa\x21\x3d"


def upgrade(target: str = "/mqtt", subprotocols: str = "mqtt", **headers: str) -> bytes:
    """The request that opens a connection; a header with the value "" is left out, and `_` in its name is `-`."""
    fields = {
        "Host": "127.0.0.1:9001",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY.decode(),
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": subprotocols,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    """One frame of a client."""
    if masked:
        payload = bytes(byte ^ _MASK[place % 4] for place, byte in enumerate(payload))
    return announced(opcode, len(payload), fin=fin, masked=masked, reserved=reserved) + payload


def announced(opcode: int, size: int, *, fin: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    """The head of a frame that is so long."""
    first, mask = fin << 7 | reserved << 4 | opcode, masked << 7
    if size < 126:
        length = bytes((mask | size,))
    elif size < 1 << 16:
        length = bytes((mask | 126,)) + size.to_bytes(2, "big")
    else:
        length = bytes((mask | 127,)) + size.to_bytes(8, "big")
    return bytes((first,)) + length + (_MASK if masked else b"")


def frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The frames of a server: opcode and payload of each. They must be whole, and not masked."""
    while data:
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(data[2:10], "big"), 10
        assert size < 1 << 32, "a masked frame"
        assert data[0] & 0xF0 == 0x80, "not one whole message without extensions"
        assert len(data) >= start + size, "a frame without its end"
        yield data[0] & 0x0F, data[start : start + size]
        data = data[start + size :]


def closing(code: int) -> bytes:
    """The beginning of what a frame that closes says."""
    return code.to_bytes(2, "big")
