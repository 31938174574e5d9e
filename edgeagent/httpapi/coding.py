"""Decodes compressed bodies (`Content-Encoding`), within the limits of an uncompressed body."""

from __future__ import annotations

import zlib
from typing import Final

from edgeagent.errors import MessageError
from edgeagent.httpapi.problem import Refused, too_large

ACCEPTED: Final = ((b"accept-encoding", b"gzip, deflate"),)

# A gzip file may have several members. An empty one of 20 bytes costs as much time as a whole one.
_MAX_MEMBERS: Final = 1000
# The decoder gets this much at a time: it copies what it leaves after a member.
_PIECE_BYTES: Final = 64 << 10
_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS
_CODINGS: Final = {b"gzip": "gzip", b"x-gzip": "gzip", b"deflate": "deflate", b"identity": "", b"": ""}


def coding_of(header: bytes) -> str:
    """The compression of a body: `gzip`, `deflate`, or "" for none.

    Raises:
        Refused: 415, it is another one, or several; the answer names those that are accepted.
    """
    coding = _CODINGS.get(header.strip().lower())
    if coding is None:
        raise Refused(415, "Content-Encoding: must be gzip or deflate, or absent", ACCEPTED)
    return coding


def uncompressed(coding: str, body: bytes, max_bytes: int) -> bytes:
    """The decompressed body, which never grows beyond `max_bytes`, whatever was sent.

    Raises:
        Refused: 413, it would be larger.
        MessageError: it is damaged, incomplete, or followed by something.
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
        raise MessageError("request", "body", f"is not valid {coding} data") from exc
    if not decoder.eof:
        raise MessageError("request", "body", f"the {coding} data ends before it is complete")
    return bytes(result)


def _window_bits(coding: str, body: bytes) -> int:
    """`deflate` means zlib's format (RFC 9110 8.4.1.2), but some send the bare stream: the first two bytes show it."""
    if coding == "gzip":
        return _GZIP
    has_header = len(body) > 1 and body[0] & 0x0F == zlib.DEFLATED and (body[0] << 8 | body[1]) % 31 == 0
    return _ZLIB if has_header else _RAW
