"""The kind of a device's data: JSON, text or opaque, by its subscription or its content type (contract section 2).

Text is kept as a JSON text, so that filters and parameters see it as it was sent, and not as base64.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from edgeagent.errors import MessageError

# What a subscription says about its payloads.
Form = Literal["auto", "json", "text", "bytes"]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Matches the texts of JSON (even without their end, so that no byte is scanned twice) to skip them, and between them
# what Python, C and Java write for NaN and Infinity.
_NO_NUMBERS = re.compile(
    rb'"(?:[^"\\]|\\.)*+"?+|(?<![\w.])([-+]?(?:nan|inf(?:inity)?))(?![\w.])', re.IGNORECASE | re.DOTALL
)
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Data(msgspec.Struct, frozen=True, gc=False):
    """The data for a `Draft`: the bytes, whether they are JSON, and if so their decoded value."""

    data: bytes
    is_json: bool
    value: Any


def trimmed(payload: bytes) -> bytes:
    """The payload without what programs leave around a text: a byte-order mark before it, NULs (of C) after it."""
    return payload.removeprefix(_BYTE_ORDER_MARK).rstrip(b"\0")


def as_json(payload: bytes) -> Data | None:
    """The payload as JSON, None if it is not JSON."""
    try:
        return Data(payload, True, _decode(payload))
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        pass
    inner = trimmed(payload)
    if len(inner) == len(payload):
        return None
    try:
        return Data(inner, True, _decode(inner))
    except (ValueError, RecursionError):
        return None


def as_text(payload: bytes) -> Data | None:
    """The payload as text, None if it is not UTF-8."""
    try:
        text = trimmed(payload).decode()
    except UnicodeDecodeError:
        return None
    return Data(_encode(text), True, text)


def opaque(payload: bytes) -> Data:
    """The payload as bytes that filters and parameters see only as base64."""
    return Data(payload, False, msgspec.UNSET)


def read(payload: bytes, form: Form, *, nan_is_null: bool) -> Data:
    """The payload in the form that its subscription says; "auto": JSON if it is JSON, otherwise opaque.

    Raises:
        MessageError: the payload is not in that form.
    """
    if form == "auto":
        return as_json(payload) or opaque(payload)
    if form == "bytes":
        return opaque(payload)
    if form == "text":
        found = as_text(payload)
        if found is None:
            raise MessageError("event", "data", 'is not text: it is not UTF-8 (data = "text")')
        return found
    found = as_json(payload)
    if found is None and nan_is_null:
        found = as_json(_NO_NUMBERS.sub(_null, trimmed(payload)))
    if found is None:
        raise MessageError("event", "data", f'is not JSON (data = "json"){no_number_hint(payload)}')
    return found


def no_number_hint(payload: bytes) -> str:
    """The text to add after "is not JSON" if it contains an invalid number (NaN, Infinity), otherwise ""."""
    for match in _NO_NUMBERS.finditer(payload):
        if word := match[1]:
            return f": {word.decode()} at byte {match.start()} is not a number in JSON; send null in its place"
    return ""


def _null(match: re.Match[bytes]) -> bytes:
    return b"null" if match[1] else match[0]
