"""The name of an event's artifact in the store: a function of the event, so that a retry overwrites itself. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

_DIGEST_CHARS: Final = 40
# What every store, file system and URL takes as it is. It has the length of the longest source and event id.
_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_DIGEST: Final = re.compile(rf"[0-9a-f]{{{_DIGEST_CHARS}}}", re.ASCII)


def object_name(agent: str, source: str, accepted_ms: int, event_id: str) -> str:
    """The artifact's name: `{agent}/{source}/{day}/{event id}`, four plain segments of a path.

    A source or an event id that is no plain name is replaced by the first 40 hexadecimal digits of its SHA-256. So is
    one that looks like such a digest, because otherwise a device could name the artifact of another event by it.

    Args:
        agent: the id of the agent that accepted the event; it is a DNS label.
        source: the event's.
        accepted_ms: when the event was accepted, in Unix milliseconds; its day in UTC is the third segment.
        event_id: the event's.
    """
    day = datetime.fromtimestamp(accepted_ms / 1000, UTC).date().isoformat()
    return f"{agent}/{_segment(source)}/{day}/{_segment(event_id)}"


def _segment(text: str) -> str:
    plain = _PLAIN.fullmatch(text) is not None and text not in {".", ".."} and _DIGEST.fullmatch(text) is None
    return text if plain else sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARS]
