"""Bodies that were compressed on the way (`Content-Encoding`): decoded within the bounds of a body that was not."""

from __future__ import annotations

import zlib
from typing import Final

from edgeagent.errors import MessageError
from edgeagent.httpapi.problem import Refused, too_large

ACCEPTED: Final = ((b"accept-encoding", b"gzip, deflate"),)

# A gzip file may have several members. One of 20 bytes that says nothing costs as much time as a whole one.
_MAX_MEMBERS: Final = 1000
# So much is given to the decoder at a time: what it leaves behind a member is copied.
_PIECE_BYTES: Final = 64 << 10
_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS
_CODINGS: Final = {b"gzip": "gzip", b"x-gzip": "gzip", b"deflate": "deflate", b"identity": "", b"": ""}


def coding_of(header: bytes) -> str:
    """What a body is compressed with: `gzip`, `deflate`, or "" for nothing.

    Raises:
        Refused: 415, it is something else, or several; the answer says what is understood.
    """
    coding = _CODINGS.get(header.strip().lower())
    if coding is None:
        raise Refused(415, "Content-Encoding: must be gzip or deflate, or absent", ACCEPTED)
    return coding


def uncompressed(coding: str, body: bytes, max_bytes: int) -> bytes:
    """A body as it was before it was compressed. It never becomes longer than `max_bytes`, however it was made.

    Raises:
        Refused: 413, it is longer.
        MessageError: it is broken, incomplete, or something follows it.
    """
    result = bytearray()
    decoder = zlib.decompressobj(_window_bits(coding, body))
    members = 1
    try:
        for start in range(0, len(body), _PIECE_BYTES):
            piece = body[start : start + _PIECE_BYTES]
            while piece:
                if decoder.eof:
                    members += 1
                    if coding != "gzip" or members > _MAX_MEMBERS:
                        raise MessageError("request", "body", "something follows the end of the compressed data")
                    decoder = zlib.decompressobj(_GZIP)
                result += decoder.decompress(piece, max_bytes + 1 - len(result))
                if len(result) > max_bytes:
                    raise too_large(len(result), max_bytes)
                piece = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
    except zlib.error as exc:
        raise MessageError("request", "body", f"is no valid {coding} data") from exc
    if not decoder.eof:
        raise MessageError("request", "body", f"the {coding} data ends before it is complete")
    return bytes(result)


def _window_bits(coding: str, body: bytes) -> int:
    """`deflate` means zlib's format (RFC 9110 8.4.1.2), but some send the bare stream: the first two bytes tell."""
    if coding == "gzip":
        return _GZIP
    has_header = len(body) > 1 and body[0] & 0x0F == zlib.DEFLATED and (body[0] << 8 | body[1]) % 31 == 0
    return _ZLIB if has_header else _RAW
