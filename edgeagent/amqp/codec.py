"""Frames from bytes and back, on the codec `pamqp`, with bounds."""

from __future__ import annotations

import struct

from pamqp import base, body, commands, exceptions, frame, header, heartbeat

# What RabbitMQ proposes, and the most that we take. A frame has seven bytes before its payload and one behind.
FRAME_MAX_BYTES = 131_072
# The specification forbids less.
FRAME_MIN_BYTES = 4096
OVERHEAD_BYTES = 8
PROTOCOL_HEADER = header.ProtocolHeader().marshal()
HEARTBEAT = heartbeat.Heartbeat().marshal()

# What a method, a content header and a piece of a body are, by the first byte of their frame.
_METHOD, _HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
_TYPES = frozenset({_METHOD, _HEADER, _BODY, _HEARTBEAT})
_HEAD = struct.Struct(">BHI")
_FRAME_END = 0xCE
_HEADER_START = struct.Struct(">HHQ")
_DELIVER_START = struct.pack(">I", commands.Basic.Deliver.index)
_TAG = struct.Struct(">Q?")
# Whatever the codec may raise over bytes that are no frame; deep nesting ends in a RecursionError.
_MALFORMED = (
    exceptions.UnmarshalingException,
    ValueError,
    struct.error,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    OSError,
    RecursionError,
)

# A piece of a body is only bytes.
Frame = base.Frame | header.ContentHeader | heartbeat.Heartbeat | bytes


class UnreadableHeader(header.ContentHeader):
    """The header of a message whose properties the codec cannot read: only the size of its body is known."""


class FrameReader:
    """Cuts what a socket brings into frames. It never keeps more than one frame and what came with it.

    Attributes:
        frame_max_bytes: the largest frame to take, as negotiated.
    """

    def __init__(self) -> None:
        self.frame_max_bytes = FRAME_MAX_BYTES
        self._rest = b""

    def take(self, data: bytes) -> tuple[list[tuple[int, Frame]], str]:
        """All complete frames with their channels, and what is wrong with the bytes after them; "" if nothing is."""
        data = self._rest + data if self._rest else data
        frames: list[tuple[int, Frame]] = []
        at, end = 0, len(data)
        while end - at >= _HEAD.size:
            kind, channel, size_bytes = _HEAD.unpack_from(data, at)
            if data.startswith(b"AMQP", at):
                return frames, "the header of another version of AMQP"
            if kind not in _TYPES:
                return frames, "something that is no frame of AMQP"
            if size_bytes + OVERHEAD_BYTES > self.frame_max_bytes:
                return frames, f"a frame of {size_bytes} bytes, more than agreed"
            last = at + _HEAD.size + size_bytes
            if last >= end:
                break
            if data[last] != _FRAME_END:
                return frames, "a frame without its end"
            try:
                frames.append((channel, _frame(kind, data, at, last)))
            except _MALFORMED as exc:
                return frames, f"a malformed frame ({type(exc).__name__})"
            at = last + 1
        self._rest = data[at:]
        return frames, ""


def _frame(kind: int, data: bytes, at: int, last: int) -> Frame:
    if kind == _BODY:
        return data[at + _HEAD.size : last]
    if kind == _HEARTBEAT:
        return heartbeat.Heartbeat()
    try:
        found = frame.unmarshal(data[at : last + 1])[2]
    except _MALFORMED:
        return _of_publisher(kind, data[at + _HEAD.size : last])
    if not isinstance(found, base.Frame | header.ContentHeader):
        raise TypeError(type(found).__name__)
    return found


def _of_publisher(kind: int, payload: bytes) -> Frame:
    """The frame of a delivery with values that the codec refuses. The broker passes on what a publisher has written.

    A time after the year 9999 or a text that is not UTF-8 is nothing that the broker looks at. If such a message ended
    the connection, the broker would deliver it again on the next one, and to every other consumer.

    Raises:
        ValueError, struct.error: it is no such frame.
    """
    if kind == _HEADER:
        class_id, _, body_bytes = _HEADER_START.unpack_from(payload)
        if class_id == commands.Basic.frame_id:
            return UnreadableHeader(0, body_bytes)
    elif payload.startswith(_DELIVER_START):
        consumer_tag, rest = _short(payload[len(_DELIVER_START) :])
        delivery_tag, redelivered = _TAG.unpack_from(rest)
        _, rest = _short(rest[_TAG.size :])
        key, _ = _short(rest)
        return commands.Basic.Deliver(consumer_tag, delivery_tag, redelivered, routing_key=key)
    raise ValueError("neither a header nor a delivery")


def _short(data: bytes) -> tuple[str, bytes]:
    """A short text, whatever its bytes are, and what follows it."""
    end = 1 + data[0]
    if end > len(data):
        raise ValueError("a text is cut off")
    return data[1:end].decode("utf-8", "replace"), data[end:]


def method(channel: int, command: base.Frame) -> bytes:
    """The frame of a method.

    Raises:
        ValueError, TypeError: a value that the method cannot have, such as a name over 255 bytes.
    """
    return frame.marshal(command, channel)


def content(
    channel: int, publish: commands.Basic.Publish, properties: commands.Basic.Properties, payload: bytes, max_bytes: int
) -> bytes:
    """The frames of a message.

    Raises:
        ValueError, TypeError, struct.error: it cannot be written, such as properties over the size of a frame.
    """
    head = frame.marshal(header.ContentHeader(0, len(payload), properties), channel)
    if len(head) > max_bytes:
        raise ValueError(f"its properties have {len(head)} bytes, more than a frame")
    pieces = [method(channel, publish), head]
    piece_bytes = max_bytes - OVERHEAD_BYTES
    pieces.extend(
        frame.marshal(body.ContentBody(payload[start : start + piece_bytes]), channel)
        for start in range(0, len(payload), piece_bytes)
    )
    return b"".join(pieces)
