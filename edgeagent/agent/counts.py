"""What the parts of the agent count, for the statistics."""

from __future__ import annotations

from typing import Any

import msgspec

from edgeagent.outbox.outbox import Outbox


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


def outbox_stats(outbox: Outbox) -> dict[str, Any]:
    """The account and the outbox, ready for JSON."""
    health = outbox.health
    return {
        "account": {
            "events": msgspec.to_builtins(outbox.events),
            "triggers": msgspec.to_builtins(health.account),
            "balanced": not [*health.account.problems()],
        },
        "outbox": {
            "used_bytes": health.used_bytes,
            "max_bytes": health.max_bytes,
            "accepting": health.accepting and not health.failure,
            "failure": health.failure,
            "parked": health.parked,
            "dead": msgspec.to_builtins(health.dead),
            "hours_left": outbox.hours_left(),
            "lost": msgspec.to_builtins(health.losses),
        },
    }
