"""Decides what an agent's rules would do with events, one after the other, up to the rendered triggers. Pure.

It uses the agent's own matching, firing limits, gathering and rendering. Its clock follows the events.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from edgeagent.common.elapsed import Instant
from edgeagent.errors import MessageError
from edgeagent.events.dedupe import event_key
from edgeagent.events.event import Draft, Record, envelope, gathered, member_size, record
from edgeagent.rehearsal.waits import RateWaits
from edgeagent.rules.firing_limits import FiringLimits, FiringVerdict
from edgeagent.rules.firings import Firing
from edgeagent.rules.gathering import Closed, Gathering
from edgeagent.rules.ruleset import Rule, RuleSet
from edgeagent.rules.spec import RuleSpec, Window
from edgeagent.rules.trigger import correlation_id, render

_MAX_WANTING = 4096
_BOOT = b"recording"  # all events count as of one boot


class Outcome(StrEnum):
    """What one rule makes of one event."""

    PASSED = "no trigger"
    TRIGGERED = "trigger"
    FAILED = "error"
    THROTTLED = "throttled"
    DISARMED = "disarmed"
    GATHERED = "gathered"


class Ruling(NamedTuple):
    """The decision of one rule about one event.

    `reason`: why it cannot be decided or rendered. `message`: the trigger; for an event that goes into a window, a text
    that identifies the window. `unarmed`: why `rearm` cannot be decided for this event.
    """

    outcome: Outcome
    matched: bool
    reason: str = ""
    message: bytes = b""
    unarmed: str = ""


PASSED = Ruling(Outcome.PASSED, matched=False)
_VERDICTS = {FiringVerdict.THROTTLED: Outcome.THROTTLED, FiringVerdict.DISARMED: Outcome.DISARMED}


class Seen(NamedTuple):
    """One event of the recording: where it is there, and why it is shown."""

    where: str
    event: Draft
    reason: str = ""


class Ended(NamedTuple):
    """A window that closed, and the outcome of its trigger. `seen`: its first event, and what its window is."""

    rule: str
    seen: Seen
    outcome: Outcome


class _Member(NamedTuple):
    seen: Seen
    record: Record


class Judge:
    """A set of rules and its state: firings and open windows; it owns both. Feed it events in their order.

    `ended`: the windows that closed; the caller empties it. `waits`: of the rules with a `rate`. It must never send
    anything, nor write to disk.
    """

    def __init__(self, specs: Sequence[RuleSpec], *, max_event_bytes: int) -> None:
        """`specs`: rules without problems; disabled ones are left out."""
        self._rules = RuleSet(specs)
        self.names = tuple(rule.name for rule in self._rules)
        self.ended: list[Ended] = []
        self._wanting = lru_cache(_MAX_WANTING)(self._want)
        self.waits = {
            rule.name: RateWaits(rule.rate, round(rule.ttl_s * 1000)) for rule in self._rules if rule.rate is not None
        }
        self._limits = FiringLimits()
        self._gathering: Gathering[_Member] = Gathering(max_event_bytes)

    def rulings(self, agent: str, seen: Seen, at_ms: int) -> dict[str, Ruling]:
        """The decisions of each rule whose source and type match a complete event of this agent at this time."""
        event = seen.event
        match = self._rules.match(event)
        errors = {name: Ruling(Outcome.FAILED, matched=False, reason=str(error)) for name, error in match.errors}
        stored = record(event, agent, match.rules, at_ms, at_ms)
        unarmed, armed = self._rearmed(event)
        result: dict[str, Ruling] = {}
        for rule in self._wanting(event.source, event.type):
            ruling = errors.get(rule.name, PASSED)
            if rule.name in match.rules:
                ruling = self._matched(rule, _Member(seen, stored), Instant(at_ms, at_ms, _BOOT))
            if ruling.outcome is Outcome.TRIGGERED and rule.rate is not None:
                self.waits[rule.name].add(at_ms)
            result[rule.name] = ruling._replace(unarmed=unarmed.get(rule.name, ""))
        for name in armed:
            step = self._limits.arm(name, event.source)
            if step is not None:
                self._limits.stored(step)
        return result

    def end(self) -> None:
        """Close the open windows, because there are no more events."""
        self._close(self._gathering.due(float("inf")))

    def _rearmed(self, event: Draft) -> tuple[dict[str, str], list[str]]:
        """Of the rules that wait for their `rearm`: why it cannot be decided for this event, and which ones it arms."""
        unarmed: dict[str, str] = {}
        armed: list[str] = []
        for rule in self._rules.rearming(event.source):
            if self._limits.waits(rule, event.source):
                try:
                    armed += [rule.name] if rule.rearm is not None and rule.rearm(envelope(event)) else []
                except MessageError as exc:
                    unarmed[rule.name] = f"rearm: {exc}"
        return unarmed, armed

    def _matched(self, rule: Rule, member: _Member, at: Instant) -> Ruling:
        source = member.record.source
        if rule.remembers:
            verdict = self._limits.ask(rule, source, at).verdict
            if verdict is not FiringVerdict.FIRES:
                return Ruling(_VERDICTS[verdict], matched=True)
            self._limits.stored(self._limits.fire(Firing(rule.name, source, member.record.id, *at)))
        if rule.window is not None:
            return self._gathered(rule, rule.window, member, at)
        return _rendered(rule, member.record)

    def _gathered(self, rule: Rule, window: Window, member: _Member, at: Instant) -> Ruling:
        """Add an event to its window. Its first event, and what that would start alone, identify the window."""
        source = member.record.source
        closed = self._gathering.add(rule.name, window, source, member, size=member_size(member.record), at=at, now=at)
        first = self._gathering.first(rule.name, window, source)
        if first is None:
            first = next(one.members[0] for one in closed if one.members[-1] is member)
        self._close(closed)
        if first is not member:
            return Ruling(Outcome.GATHERED, matched=True, message=event_key(first.record.source, first.record.id))
        alone = _rendered(rule, gathered([member.record], rule.name))
        return Ruling(Outcome.GATHERED, matched=True, message=alone.message or alone.reason.encode())

    def _close(self, closed: Sequence[Closed[_Member]]) -> None:
        for name, members in closed:
            rule = self._rules.get(name)
            if rule is not None:
                ruling = _rendered(rule, gathered([member.record for member in members], name))
                first, last = members[0].seen, members[-1].seen
                window = f"{len(members)} events, to {last.where}" if len(members) > 1 else "1 event"
                reason = f"{window}: {ruling.reason}" if ruling.reason else window
                if ruling.outcome is Outcome.TRIGGERED and rule.rate is not None:
                    self.waits[name].add(members[-1].record.accepted_ms)
                self.ended.append(Ended(name, first._replace(reason=reason), ruling.outcome))

    def _want(self, source: str, event_type: str) -> tuple[Rule, ...]:
        return tuple(rule for rule in self._rules if rule.wants(source, event_type))


def _rendered(rule: Rule, stored: Record) -> Ruling:
    correlation = correlation_id(stored.agent, stored.source, stored.id, rule.name)
    try:
        message = render(rule, stored, correlation, 1, "")
    except MessageError as exc:
        return Ruling(Outcome.FAILED, matched=True, reason=str(exc))
    return Ruling(Outcome.TRIGGERED, matched=True, message=message)
