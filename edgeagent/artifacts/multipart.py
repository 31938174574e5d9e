"""A multipart upload of S3: how an object is cut, what the service says of its parts, and how it is completed. Pure.

The answers are XML. Only a few elements of it are read, by their names: there is no parser that an answer could lead
astray, and whoever answers is bounded by the size that is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import unescape
from typing import Annotated, Final, NamedTuple
from xml.sax.saxutils import escape

import msgspec

PART_BYTES: Final = 8 << 20
_MIB = 1 << 20
# The service's own bound.
MAX_PARTS: Final = 10_000
_MAX_UPLOAD_ID_CHARS = 2048
_MAX_ETAG_CHARS = 256
_ELEMENT = r"<{0}>([^<]{{0,4096}})</{0}>"
_PART: Final = "<Part>"
_PART_END: Final = "</Part>"
_COMPLETED: Final = "CompleteMultipartUploadResult>"


class PartOfObject(NamedTuple):
    """A part that the service has. `etag`: its name for the content, as it must be given back."""

    size: int
    etag: str


class OpenUpload(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What must be known to continue a multipart upload (msgpack array; members are only ever added at the end)."""

    upload_id: Annotated[str, msgspec.Meta(min_length=1, max_length=_MAX_UPLOAD_ID_CHARS)]
    part_bytes: Annotated[int, msgspec.Meta(ge=1)]


class ListedParts(NamedTuple):
    """A page of the parts by their numbers. `after`: the number that the next page begins after, 0 at the end."""

    parts: Mapping[int, PartOfObject]
    after: int


def part_bytes(size: int) -> int:
    """How large the parts of an object are, all but the last."""
    least = -(-size // MAX_PARTS)
    return max(PART_BYTES, -(-least // _MIB) * _MIB)


def sizes(size: int, each_bytes: int) -> list[int]:
    """The sizes of an object's parts; the first is number 1."""
    count = -(-size // each_bytes)
    return [min(each_bytes, size - index * each_bytes) for index in range(count)]


def upload_id(answer: str) -> str | None:
    """The id of a new multipart upload; None if the answer has none that can be used."""
    found = _text(answer, "UploadId")
    return found if found and len(found) <= _MAX_UPLOAD_ID_CHARS and found.isprintable() else None


def listed(answer: str) -> ListedParts:
    """The parts in an answer to ListParts; what is no part is left out."""
    parts: dict[int, PartOfObject] = {}
    for piece in answer.split(_PART)[1:]:  # a pattern over all of it could take minutes
        part, end, _ = piece.partition(_PART_END)
        number, size, etag = (_text(part, name) for name in ("PartNumber", "Size", "ETag"))
        if end and _is_number(number) and int(number) <= MAX_PARTS and _is_number(size) and is_etag(etag):
            parts[int(number)] = PartOfObject(int(size), etag)
    after = _text(answer, "NextPartNumberMarker") if _text(answer, "IsTruncated") == "true" else ""
    return ListedParts(parts, int(after) if _is_number(after) and int(after) < MAX_PARTS else 0)


def completion(etags: Sequence[str]) -> bytes:
    """The body of the request that makes an object of its parts, of which these are the ETags in order."""
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag></Part>"
        for number, etag in enumerate(etags, 1)
    )
    return f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()


def is_completed(answer: str) -> bool:
    """Whether the answer to `completion` says that there is an object now: the status comes before that is known."""
    return _COMPLETED in answer and "<Error>" not in answer


def error_of(answer: str) -> tuple[str, str]:
    """The code and the message of an error; "" for what is not there."""
    if "<Error>" not in answer:
        return "", ""
    return _text(answer, "Code"), _text(answer, "Message")


def is_etag(text: str) -> bool:
    """Whether this can be an ETag."""
    return 0 < len(text) <= _MAX_ETAG_CHARS and text.isascii() and text.isprintable()


def _text(answer: str, element: str) -> str:
    match = re.search(_ELEMENT.format(element), answer)
    return unescape(match[1]).strip() if match else ""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 18  # noqa: PLR2004  fits 63 bits
