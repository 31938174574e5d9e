"""The head of a request, as routes and checks use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from edgeagent.errors import MessageError

MAX_HEAD_BYTES: Final = 16 << 10


class Request(msgspec.Struct, frozen=True):
    """Method, target and headers. `path` and `query` are as sent, still percent-encoded.

    `headers`: names in lower case; the values of a repeated header are joined with a comma.
    """

    method: str
    path: str
    query: str
    headers: Mapping[bytes, bytes]

    def text(self, name: str) -> str | None:
        """A header's value as text, None if it is absent.

        Raises:
            MessageError: the value is not UTF-8.
        """
        value = self.headers.get(name.lower().encode())
        return None if value is None else utf8(value, name)


def request_head(method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Request:
    """The head of a request, from the target (visible ASCII) and the headers (names in any case) that h11 parsed."""
    path, _, query = target.decode("latin-1").partition("?")
    values: dict[bytes, bytes] = {}
    for name, value in headers:
        key = name.lower()
        values[key] = values[key] + b", " + value if key in values else value
    if path[:7].lower() == "http://":  # the absolute form, as sent to proxies: RFC 9112 3.2.2 requires to accept it,
        authority, _, path = path[7:].partition("/")  # and to use its host instead of the Host header
        values[b"host"], path = authority.encode("latin-1"), "/" + path
    return Request(method.decode("latin-1"), path, query, values)


def percent_decoded(text: str, member: str) -> str:
    """The text with percent-encoding undone.

    Raises:
        MessageError: the encoded bytes are not UTF-8; names `member`.
    """
    return utf8(unquote_to_bytes(text), member) if "%" in text else text


def utf8(value: bytes, member: str) -> str:
    """Bytes from outside as text.

    Raises:
        MessageError: the bytes are not UTF-8; names `member`.
    """
    try:
        return value.decode()
    except UnicodeDecodeError as exc:
        raise MessageError("request", member, "is not UTF-8") from exc
