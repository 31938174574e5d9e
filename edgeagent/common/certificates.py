"""Reads until when certificates are valid, and no more of X.509 than that takes (RFC 5280, section 4.1). Pure.

The standard library reports it only for loaded authorities and for the peer of a connection.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from datetime import UTC, datetime

_PEM = re.compile(rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----(.*?)-----END", re.DOTALL)
_SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x30, 0x17, 0x18, 0xA0
_LONG_LENGTH = 0x80
_MAX_LENGTH_BYTES = 4
# A UTCTime has a year of two digits; those below 50 belong to this century.
_CENTURY_BORDER = 50


def first_to_end(ends: Sequence[datetime], now: datetime) -> datetime | None:
    """Of authorities in one file, when the first ends that has not ended yet; if all have, when the last did.

    One that has ended beside others is what a replacement leaves behind.
    """
    return min((end for end in ends if end > now), default=max(ends, default=None))


def expiries(pem: bytes) -> list[datetime]:
    """When each certificate in a PEM file expires (UTC), in the order of the file; other blocks are skipped.

    Raises:
        ValueError: one of them is not a certificate.
    """
    return [_expiry(_decoded(match[1])) for match in _PEM.finditer(pem)]


def _decoded(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(b"".join(text.split()))
    except binascii.Error as exc:
        raise ValueError("a certificate in it is not base64") from exc


def _expiry(der: bytes) -> datetime:
    """`notAfter`: the second part of the validity, which comes after version, serial, algorithm and issuer."""
    certificate, _ = _enter(der, _SEQUENCE)
    rest, _ = _enter(certificate, _SEQUENCE)
    if rest[:1] == bytes([_VERSION]):
        rest = _skip(rest)
    for _ in range(3):
        rest = _skip(rest)
    validity, _ = _enter(rest, _SEQUENCE)
    tag, value, _ = _element(_skip(validity))
    return _time(tag, value)


def _enter(data: bytes, wanted: int) -> tuple[bytes, bytes]:
    tag, value, rest = _element(data)
    if tag != wanted:
        raise ValueError("a certificate in it is malformed")
    return value, rest


def _skip(data: bytes) -> bytes:
    return _element(data)[2]


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """The tag and the value of the first element, and what comes after it."""
    if len(data) < 2:  # noqa: PLR2004  a tag and a length
        raise ValueError("a certificate in it is cut off")
    length, start = data[1], 2
    if length >= _LONG_LENGTH:
        length_bytes = length - _LONG_LENGTH
        if not 0 < length_bytes <= _MAX_LENGTH_BYTES:
            raise ValueError("a certificate in it is malformed")
        start += length_bytes
        length = int.from_bytes(data[2:start])
    end = start + length
    if end > len(data):
        raise ValueError("a certificate in it is cut off")
    return data[0], data[start:end], data[end:]


def _time(tag: int, value: bytes) -> datetime:
    text = value.decode("ascii", "replace")
    if tag == _UTC_TIME:
        text = ("20" if text[:2] < f"{_CENTURY_BORDER}" else "19") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("a certificate in it is malformed")
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as exc:
        raise ValueError(f"a certificate in it ends at {text!r}, which is not a time") from exc
