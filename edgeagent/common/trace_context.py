"""W3C Trace Context: what comes in as `traceparent`, and the ids that edgeagent makes.

Every id is a hash of what names the trigger. So one that is sent again, by another process too, keeps its ids, and
nothing is told twice under two names (ADR 16).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from edgeagent.common.digests import blake2b

_VERSION: Final = "00"
_SAMPLED: Final = 1
_FORM: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII | re.DOTALL
)
# Of a correlation id that both ids can be made of.
_TRACE_ID: Final = re.compile(r"(?!0{16})[0-9a-f]{32}", re.ASCII)
_SPAN_ID_CHARS: Final = 16
# The part of a trace id by which is decided whether a trace is sampled: the last 56 bits, as W3C wants them random.
_RANDOM_CHARS: Final = 14


class TraceContext(msgspec.Struct, frozen=True):
    """A trace, and the span in it that what comes next belongs to. Ids are lower-case hexadecimal digits."""

    trace_id: str
    span_id: str
    sampled: bool = True

    def __str__(self) -> str:
        """As a `traceparent`."""
        return f"{_VERSION}-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def valid_traceparent(text: object) -> str | None:
    """A `traceparent` of version 00; None if it is malformed, which W3C says to ignore.

    One of a later version is read by its first four fields, and becomes one of version 00.
    """
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    if found[1] != _VERSION:
        return "-".join((_VERSION, *found.group(2, 3, 4)))
    return None if found[5] else found[0]


def read_traceparent(*texts: object) -> str | None:
    """The first of these that is valid; "" if there are some and none is; None if there are none."""
    for text in texts:
        if (found := valid_traceparent(text)) is not None:
            return found
    return None if all(text is None for text in texts) else ""


def trace_context(text: object) -> TraceContext | None:
    """The context in a `traceparent`; None if it is malformed."""
    valid = valid_traceparent(text)
    if valid is None:
        return None
    _, trace_id, span_id, flags = valid.split("-")
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def own_context(correlation_id: str, *, sampled: bool = True) -> TraceContext:
    """The context of a trigger whose event has none: its trace id is the correlation id.

    One that is not fit for it, as another producer's may be, is hashed.
    """
    fits = _TRACE_ID.fullmatch(correlation_id) is not None
    trace_id = correlation_id if fits else blake2b(correlation_id.encode(), digest_size=16).hexdigest()
    return TraceContext(trace_id, trace_id[:_SPAN_ID_CHARS], sampled)


def span_id(correlation_id: str, name: str) -> str:
    """The id of the span of this name about a trigger."""
    return blake2b(f"{correlation_id}\0{name}".encode(), digest_size=_SPAN_ID_CHARS // 2).hexdigest()


def is_sampled(trace_id: str, ratio: float) -> bool:
    """Whether a trace is among those that are told; the same for everybody who asks with this ratio."""
    return int(trace_id[-_RANDOM_CHARS:], 16) < ratio * 16**_RANDOM_CHARS
