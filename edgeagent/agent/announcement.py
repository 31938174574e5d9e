"""What an agent announces of itself, and when that is worth a message: pure.

A message costs little, but there are many gateways and some pay for each byte. So what changes all the time, such as
the number of pending triggers, is announced when it has changed by so much that a reader would judge otherwise.
"""

from __future__ import annotations

import msgspec

# Below half of a value that was announced, or above twice, it is another one.
_FACTOR = 2.0


class Announced(msgspec.Struct, frozen=True):
    """What is announced beside whether the agent is online; see `AgentState`. `_ms`: Unix milliseconds."""

    pending: int
    oldest_ms: int | None
    headroom_s: int | None
    reason: str
    since_ms: int = 0  # another one only when the clock was set
    config: str = ""


def is_news(announced: Announced, now: Announced, interval_s: float) -> bool:
    """Whether the facts have changed so much since they were announced that they are announced again.

    `interval_s`: how far the oldest trigger's time may be behind what was announced. It must not stay behind: an age
    that only seems to grow would look as if nothing flowed.
    """
    if (announced.reason, announced.since_ms, announced.config) != (now.reason, now.since_ms, now.config):
        return True
    if _differs(announced.pending, now.pending):
        return True
    if _differs(announced.headroom_s, now.headroom_s):
        return True
    if announced.oldest_ms is None or now.oldest_ms is None:
        return announced.oldest_ms is not now.oldest_ms
    return abs(now.oldest_ms - announced.oldest_ms) >= interval_s * 1000


def _differs(one: int | None, other: int | None) -> bool:
    if not one or not other:  # nothing, or not known
        return one != other
    return max(one, other) > _FACTOR * min(one, other)
