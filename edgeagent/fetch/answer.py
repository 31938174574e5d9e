"""What an HTTP answer to the request for an artifact, or for the rest of one, means. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final, NamedTuple

from edgeagent.common.foreign import shown

_OK, _PARTIAL, _NOT_SATISFIABLE = 200, 206, 416
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_LATER: Final = frozenset({408, 425, 429})
_SERVER_ERRORS: Final = range(500, 600)
_MEANING: Final = {
    401: "it needs credentials, or refuses those that it got",
    403: "it refuses access, or what allowed it has expired",
    404: "nothing is there",
    410: "nothing is there any more",
}
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,19}", re.ASCII)


class Meaning(Enum):
    """What to do: read the body, follow, try again later, give up, or give up because it is another content."""

    BODY = auto()
    REDIRECT = auto()
    LATER = auto()
    REFUSED = auto()
    WRONG = auto()


class FetchAnswer(NamedTuple):
    """`offset`: where the body begins. `text`: where a redirect leads, or why there is no body."""

    meaning: Meaning
    offset: int = 0
    text: str = ""


def meaning_of(status: int, headers: Mapping[str, str], offset: int, size: int) -> FetchAnswer:
    """What an answer means.

    Args:
        status: its status.
        headers: its headers, by names in lower case.
        offset: the first byte that was asked for; 0: the whole artifact.
        size: how many bytes the claim says.
    """
    if status in _REDIRECTS and headers.get("location"):
        return FetchAnswer(Meaning.REDIRECT, text=headers["location"])
    if status in {_OK, _PARTIAL}:
        coding = headers.get("content-encoding", "identity")
        if coding != "identity":
            return FetchAnswer(Meaning.REFUSED, text=f"it answers in the coding {shown(coding)}, not as it was asked")
        return _whole(headers, size) if status == _OK else _part(headers, offset, size)
    if status == _NOT_SATISFIABLE:
        return FetchAnswer(Meaning.WRONG, text=f"it has no byte {offset}, and the claim says {size} bytes")
    text = f"it answers {status}" + (f": {_MEANING[status]}" if status in _MEANING else "")
    later = status in _LATER or status in _SERVER_ERRORS
    return FetchAnswer(Meaning.LATER if later else Meaning.REFUSED, text=text)


def _whole(headers: Mapping[str, str], size: int) -> FetchAnswer:
    length = headers.get("content-length", "")
    if _NUMBER.fullmatch(length) and int(length) != size:
        return FetchAnswer(Meaning.WRONG, text=f"it has {int(length)} bytes, the claim says {size}")
    return FetchAnswer(Meaning.BODY, 0)


def _part(headers: Mapping[str, str], offset: int, size: int) -> FetchAnswer:
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    if found is None or int(found[1]) != offset:
        return FetchAnswer(Meaning.REFUSED, text=f"it answers with another range than that from byte {offset} on")
    if found[3] != "*" and int(found[3]) != size:
        return FetchAnswer(Meaning.WRONG, text=f"it has {int(found[3])} bytes, the claim says {size}")
    return FetchAnswer(Meaning.BODY, offset)
