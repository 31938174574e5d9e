"""What the parts of the agent count, for the statistics."""

from __future__ import annotations

import msgspec


class RuleCounts(msgspec.Struct):
    """What a rule did since the agent started, in triggers (`errors`, `throttled` and `disarmed` in events).

    `throttled`, `disarmed`: it matched and did not fire, because of its `throttle`, or its `rearm`. `gathered`: went
    into a window. `merged`: ended in another trigger, a window's or a newer one (`coalesce`).
    `last_error`: the last event about which its filters could not decide, and why not.
    """

    matched: int = 0
    throttled: int = 0
    disarmed: int = 0
    errors: int = 0
    last_error: str = ""
    gathered: int = 0
    merged: int = 0
    published: int = 0
    settled: int = 0
    dead: int = 0
    expired: int = 0


class ForwarderCounts(msgspec.Struct):
    """Since the agent started, in triggers."""

    published: int = 0
    republished: int = 0
    settled: int = 0
    refused: int = 0
    unheard: int = 0
    dead: int = 0
    expired: int = 0
    merged: int = 0
    parked: int = 0
