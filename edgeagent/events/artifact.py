"""An artifact: the large data of one event, which is kept as a file of its own and put into a store."""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec

LARGEST_BYTES: Final = (1 << 63) - 1
MAX_CONTENT_TYPE_CHARS: Final = 1024
OCTETS: Final = "application/octet-stream"  # the content type of data about which its sender said nothing

# A SHA-256 as it is written here, which is also the name of a file of the spool.
SHA256: Final = r"\A[0-9a-f]{64}\Z"
_is_sha256 = re.compile(SHA256).match


class Artifact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is known of an artifact's content (msgpack array; members are only ever added at the end).

    `sha256`: 64 hexadecimal digits. `size`: in bytes. `content_type`: as the device said, "" if it said nothing; text
    from outside, printable and nothing more. The bounds hold for what is decoded.
    """

    sha256: Annotated[str, msgspec.Meta(pattern=SHA256)]
    size: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_BYTES)]
    content_type: Annotated[str, msgspec.Meta(max_length=MAX_CONTENT_TYPE_CHARS)] = ""

    def __post_init__(self) -> None:
        """Refuse what no header may hold.

        Raises:
            ValueError: the content type is not printable (from a decoder: msgspec's ValidationError).
        """
        if not self.content_type.isprintable():
            raise ValueError("the content type must be printable")

    def claim(self) -> bytes:
        """The data of its event as filters see it, JSON text: what the trigger carries, without the URL."""
        return msgspec.json.encode({"size": self.size, "sha256": self.sha256, "contentType": self.content_type})


def is_sha256(text: str) -> bool:
    """Whether this is a SHA-256 as it is written here, which is also the name of a file of the spool."""
    return _is_sha256(text) is not None
