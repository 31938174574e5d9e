"""Which trigger stands for an older one that was never published (`coalesce`). Without I/O."""

from __future__ import annotations

from edgeagent.common.elapsed import Instant, is_later
from edgeagent.outbox.records import Leased
from edgeagent.rules.firing_limits import FiringLimits
from edgeagent.rules.trigger import correlation_id


class Successors:
    """Asks for the newest trigger of a rule and source. It owns nothing. `boot`: the machine's present boot."""

    def __init__(self, firing_limits: FiringLimits, boot: bytes) -> None:
        self._firing_limits = firing_limits
        self._boot = boot

    def of(self, leased: Leased) -> str:
        """The correlation id of the trigger that stands for this one, never published before; "" if there is none."""
        record = leased.record
        newest = self._firing_limits.newest(leased.rule, record.source)
        if newest is None or newest.event_id == record.id or leased.is_replayed:
            return ""
        accepted = Instant(record.accepted_ms, record.uptime_ms, leased.boot)
        if not is_later(newest.at, accepted, self._boot):
            return ""
        return correlation_id(record.agent, record.source, newest.event_id, leased.rule)
