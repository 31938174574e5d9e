"""An artifact: the large data of one event, which is kept as a file of its own and put into a store."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

LARGEST_BYTES: Final = (1 << 63) - 1
MAX_CONTENT_TYPE_CHARS: Final = 1024


class Artifact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is known of an artifact's content (msgpack array; members are only ever added at the end).

    `sha256`: 64 hexadecimal digits. `size`: in bytes. `content_type`: as the device said, "" if it said nothing. The
    bounds hold for what is decoded.
    """

    sha256: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    size: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_BYTES)]
    content_type: Annotated[str, msgspec.Meta(max_length=MAX_CONTENT_TYPE_CHARS)] = ""
