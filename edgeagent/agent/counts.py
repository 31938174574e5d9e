"""What the parts of the agent count, for the statistics."""

from __future__ import annotations

import msgspec


class RuleCounts(msgspec.Struct):
    """What a rule did since the agent started, in triggers (`errors` in events)."""

    matched: int = 0
    errors: int = 0
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
    parked: int = 0
