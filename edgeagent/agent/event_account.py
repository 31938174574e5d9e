"""The account of events: what happened to each, for the agent and for every rule (promise P2)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence

from edgeagent.agent.counts import RuleCounts
from edgeagent.agent.prepared import Prepared
from edgeagent.common.foreign import shown
from edgeagent.errors import EventConflict, MessageError
from edgeagent.events.event import Draft
from edgeagent.ports.account import EventCounts, EventWay
from edgeagent.rules.firing_limits import FiringVerdict
from edgeagent.rules.ruleset import RuleSet

# A reason may quote a part of the event: after this many different reasons a rule's further ones are not logged.
_MAX_LOGGED_REASONS = 16

_log = logging.getLogger(__name__)


class EventAccount:
    """Counts every event once, when its fate is known: stored, duplicate, filtered, throttled or refused.

    It owns the rules' counters of events. It shares `EventCounts` with the outbox, which alone counts stored events, at
    the moment when they are. An event that will be offered again must not be counted here. `by_way`: the same since the
    agent started, by the way in which the events came; there `received` is not counted.
    """

    def __init__(self, rules: RuleSet, events: EventCounts, now: Callable[[], str]) -> None:
        """`now`: the time, RFC 3339."""
        self.rule_counts = {rule.name: RuleCounts() for rule in rules}
        self.by_way = {way: EventCounts() for way in EventWay}
        self._events = events
        self._now = now
        self._logged: dict[str, set[tuple[str, str]]] = {}  # by rule: the reasons that were logged

    def stored(self, prepared: Sequence[Prepared], way: EventWay, events: int) -> None:
        """Count the triggers of these events, of which so many were stored; those are synced."""
        self.by_way[way].stored += events
        for rules, matched in Counter([event.rules for event in prepared if event.record is not None]).items():
            for rule in rules:
                self.rule_counts[rule].matched += matched

    def taken(self, prepared: Sequence[Prepared], way: EventWay) -> None:
        """Count these events, which are acknowledged."""
        duplicate = throttled = filtered = 0
        for event in prepared:
            if event.undecided or event.decision is not None:
                self._judged(event)
            if event.record is not None:
                continue
            if event.duplicate:
                duplicate += 1
            elif event.decision is not None and event.decision.swallowed:
                throttled += 1
            else:
                filtered += 1
        if unstored := duplicate + throttled + filtered:
            self._events.received += unstored
            for counts in (self._events, self.by_way[way]):
                counts.duplicate += duplicate
                counts.throttled += throttled
                counts.filtered += filtered

    def refused(self, error: Exception, way: EventWay, events: int = 1) -> None:
        """Count `events` that are refused together because of one of them."""
        conflicts = isinstance(error, EventConflict)
        self._events.received += events
        for counts in (self._events, self.by_way[way]):
            counts.conflict += conflicts
            counts.refused += events - conflicts

    def undecided(self, event_id: str, source: str, errors: Sequence[tuple[str, MessageError]]) -> None:
        """Count and log rules that cannot be decided for an event.

        Each reason is logged once per rule, because a topic with mixed messages gives it often.
        """
        for rule, error in errors:
            counts = self.rule_counts[rule]
            counts.errors += 1
            counts.last_error = shown(f"event {event_id} of {source}: {error}")
            counts.last_error_at = self._now()
            logged = self._logged.setdefault(rule, set())
            if len(logged) >= _MAX_LOGGED_REASONS or (reason := (error.member, error.reason)) in logged:
                continue
            logged.add(reason)
            _log.warning(
                "rule %s cannot be decided, and so does not match: %s; more like it are only counted (/v1/stats)",
                rule,
                counts.last_error,
                extra=_about(rule, source, event_id),
            )

    def untraced(self, draft: Draft) -> None:
        """Drop what came as a `traceparent` and is none: W3C says to go on as if it had not come."""
        draft.traceparent = None
        _log.debug(
            "the traceparent of event %s of %s is malformed and ignored",
            draft.id,
            draft.source,
            extra={"event": "traceparent_ignored", "foreign": True, "source": draft.source, "event_id": draft.id},
        )

    def _judged(self, event: Prepared) -> None:
        """Count for the rules what they decided about an event, beside what is stored."""
        self.undecided(event.event_id, event.source, event.undecided)
        if event.decision is None:
            return
        for name, verdict in event.decision.swallowed:
            counts = self.rule_counts[name]
            if verdict is FiringVerdict.THROTTLED:
                counts.throttled += 1
            else:
                counts.disarmed += 1
        for rule, error in event.decision.unarmed:
            self.rule_counts[rule].errors += 1
            _log.warning(
                "rule %s cannot be rearmed by event %s of %s, because its rearm filters cannot be decided: %s",
                rule,
                event.event_id,
                event.source,
                error,
                extra=_about(rule, event.source, event.event_id),
            )


def _about(rule: str, source: str, event_id: str) -> dict[str, str | bool]:
    return {"event": "rule_error", "foreign": True, "rule": rule, "source": source, "event_id": event_id}
