"""Paths into an event's envelope: its members, and a hint about a path that begins with none of them."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import Final

from edgeagent.common.names import nearest
from edgeagent.lang.gjson.path import Path, compile_path

_FIRST_NAME: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)[.|]")
_BODY: Final = "body"
# The members of an event's envelope that filters can use.
FILTER_MEMBERS: Final = frozenset(
    {"id", "source", "type", "subject", "time", "time_quality", "datacontenttype", "topic", _BODY}
)
# Those that are known, or of use, only when a trigger is sent.
SENT_MEMBERS: Final = frozenset({"age_s", "late", "traceparent"})


def compile_event_path(text: str, members: AbstractSet[str]) -> Path:
    """Compile a path into an event's envelope, which has only these members.

    Raises:
        ValueError: as `compile_path`; or no event has the member with which the path begins.
    """
    path = compile_path(text)
    begins = _FIRST_NAME.match(text)
    first = path.names[0] if path.names else begins[1] if begins else None
    if first in SENT_MEMBERS - members:
        raise ValueError(
            f"{text!r}: {first!r} is known when a trigger is sent, so only arguments and parameters have it"
        )
    if first is not None and first not in members:
        rest = text[len(first) :] if nearest(first, [_BODY]) else f".{text}"
        raise ValueError(f"{text!r}: an event has no {first!r}, its data is in {_BODY}: did you mean {_BODY}{rest}?")
    return path


def is_in_body(path: Path) -> bool:
    """Whether a path needs only the data of an envelope."""
    return path.find is None and path.names[0] == _BODY
