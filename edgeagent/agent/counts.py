"""The counters of the agent's parts, for the statistics."""

from __future__ import annotations

from typing import Any

import msgspec

from edgeagent.outbox.outbox import Outbox

# Of the account: how many triggers are in a state now, not how many came into it.
_GAUGES = frozenset({"pending", "dead"})


class RuleCounts(msgspec.Struct):
    """What happened to a rule's triggers since the agent started (`errors`, `throttled`, `disarmed` count events).

    `throttled`, `disarmed`: the rule matched but did not fire, because of its `throttle` or its `rearm`. `gathered`:
    went into a window. `merged`: ended in another trigger, that of a window or a newer one (`coalesce`). `last_error`:
    the last event for which its filters could not be decided, and why; `last_error_at`: when that was (RFC 3339).
    """

    matched: int = 0
    throttled: int = 0
    disarmed: int = 0
    errors: int = 0
    last_error: str = ""
    last_error_at: str = ""
    gathered: int = 0
    merged: int = 0
    published: int = 0
    settled: int = 0
    dead: int = 0
    expired: int = 0


class TriggerCounts(msgspec.Struct):
    """What happened to triggers since the agent started."""

    published: int = 0
    republished: int = 0
    settled: int = 0
    refused: int = 0
    unheard: int = 0
    dead: int = 0
    expired: int = 0
    merged: int = 0
    parked: int = 0


class AnswerCounts(msgspec.Struct):
    """Messages since the agent started. `replies_refused`: statuses that asked for a reply on a topic not allowed.

    `redirected`: answers that asked for triggers on our own topic; `redirects_ignored` of them answered messages that
    are not this agent's.
    """

    responses: int = 0
    statuses: int = 0
    malformed: int = 0
    dry_run: int = 0
    replies_refused: int = 0
    redirected: int = 0
    redirects_ignored: int = 0


class TriggerCounters(msgspec.Struct, frozen=True):
    """The counters of triggers: one set for all, and one for each rule, beside the counts of the rule's events."""

    total: TriggerCounts
    by_rule: dict[str, RuleCounts]

    def of(self, rule: str) -> RuleCounts:
        """The counts of a rule; new ones if the rule is gone and triggers of it are still in flight."""
        return self.by_rule.get(rule) or self.by_rule.setdefault(rule, RuleCounts())


def outbox_stats(outbox: Outbox) -> dict[str, Any]:
    """The counts of events and the state of the outbox, ready for JSON."""
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


def account_counters(outbox: Outbox) -> dict[str, int]:
    """The account's counters of events and of triggers that only rise, by their names."""
    triggers: dict[str, int] = msgspec.to_builtins(outbox.health.account)
    return {**msgspec.to_builtins(outbox.events), **{name: triggers[name] for name in triggers.keys() - _GAUGES}}
