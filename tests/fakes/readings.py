"""Events as the tests of rules draw them."""

from __future__ import annotations

from typing import Any

import msgspec

from edgeagent.events.event import Record

_READING = Record(
    agent="gw-042",
    source="boiler-1",
    id="018f-7",
    type="reading",
    time="2026-03-20T11:00:00.250Z",
    data=b'{"temp":97.1}',
    is_json=True,
    rules=("overheat",),
    accepted_ms=1_774_004_400_250,
    uptime_ms=5,
)


def reading(**members: Any) -> Record:
    """The temperature of a boiler that rule overheat wants, with other members."""
    return msgspec.structs.replace(_READING, **members)
