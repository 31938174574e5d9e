"""How old an event is, and how long its trigger may still be sent: the rule's `ttl`, and `outbox.max_age`."""

from __future__ import annotations

import msgspec

from edgeagent.agent.clock import Moment
from edgeagent.common.elapsed import Instant, elapsed
from edgeagent.outbox.records import Leased
from edgeagent.rules.ruleset import Rule


class Lifetime(msgspec.Struct, frozen=True):
    """How long triggers may be sent. `boot`: the machine's present boot, to which uptimes belong."""

    max_age_s: float
    boot: bytes

    def left_s(self, leased: Leased, rule: Rule, moment: Moment) -> float:
        """How many seconds this trigger may still be sent; it has expired at 0 or less."""
        return self.longest_s(rule) - age_s(leased, self.boot, moment)

    def longest_s(self, rule: Rule) -> float:
        """How old an event may be when its trigger is sent, in seconds; less than that."""
        return min(rule.ttl_s, self.max_age_s)


def age_s(leased: Leased, boot: bytes, moment: Moment) -> float:
    """How long ago the event was accepted, at least; time switched off counts if both clocks were right."""
    record = leased.record
    if leased.boot == boot:  # nearly always true, and then one clock gives the same as `elapsed`
        age_ms = moment.uptime_ms - record.uptime_ms
        return age_ms / 1000 if age_ms > 0 else 0.0
    accepted = Instant(record.accepted_ms, record.uptime_ms, leased.boot)
    return elapsed(accepted, Instant(moment.now_ms, moment.uptime_ms, boot)).s
