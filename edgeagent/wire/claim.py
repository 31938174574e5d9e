"""The claim of an artifact: what a trigger carries in place of large data (contract section 10)."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from edgeagent.wire.messages import decoded

MAX_CLAIM_BYTES: Final = 64 << 10  # far more than the longest url needs
MAX_CLAIM_URL_CHARS: Final = 4096
_MAX_CONTENT_TYPE_CHARS = 255

Sha256Text = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
ArtifactBytes = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class Claim(msgspec.Struct, frozen=True, rename={"content_type": "contentType"}):
    """Where an artifact is, and what it must be. `size`: in bytes; `sha256`: 64 lower-case hexadecimal digits."""

    url: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CLAIM_URL_CHARS)]
    size: ArtifactBytes
    sha256: Sha256Text
    content_type: Annotated[str, msgspec.Meta(max_length=_MAX_CONTENT_TYPE_CHARS)] = ""


def parse_claim(payload: bytes) -> Claim:
    """Read a claim; members that it does not have are ignored. Where its url leads is not checked.

    Raises:
        MessageError: it is none.
    """
    return decoded(Claim, payload, "claim", MAX_CLAIM_BYTES)
