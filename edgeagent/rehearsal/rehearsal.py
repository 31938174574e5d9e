"""A rehearsal: what rules would do with recorded events, counted. Pure: events and rules in, counts and examples out.

A `RulesTally` counts what one set of rules decides (`rehearsal.judge`), a `Comparison` counts where two sets differ; a
`Rehearsal` feeds them as an agent is fed. None of them grows with the number of events.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from edgeagent.common.elapsed import is_set
from edgeagent.common.times import instant
from edgeagent.errors import MessageError
from edgeagent.events.dedupe import Dedupe, DedupeVerdict, data_digest, event_key
from edgeagent.events.event import Draft, check
from edgeagent.events.time_quality import SYNCHRONIZED
from edgeagent.rehearsal.judge import PASSED, Ended, Judge, Outcome, Ruling, Seen
from edgeagent.rules.spec import RuleSpec

_COLUMNS = 40
_MAX_TOLD = 3
_NO_TIME_MS = -(1 << 63)
_BARS = "▁▂▃▄▅▆▇█"
_LEADING = frozenset({Outcome.TRIGGERED, Outcome.GATHERED})  # outcomes that lead to a trigger


class Examples:
    """The first and the latest of many events."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def add(self, seen: Seen) -> None:
        """Add one."""
        self.seen = [*self.seen[:1], seen]


class Strip:
    """A small chart: how often something was true along a recording of any length, in at most `_COLUMNS` columns."""

    def __init__(self) -> None:
        self._columns: list[tuple[int, int]] = []  # observations, and how many were true
        self._width = 1

    def add(self, hit: bool) -> None:
        """Add one observation."""
        if not self._columns or self._columns[-1][0] == self._width:
            if len(self._columns) == _COLUMNS:
                pairs = zip(self._columns[::2], self._columns[1::2], strict=True)
                self._columns = [(first[0] + second[0], first[1] + second[1]) for first, second in pairs]
                self._width *= 2
            self._columns.append((0, 0))
        count, hits = self._columns[-1]
        self._columns[-1] = count + 1, hits + hit

    def __str__(self) -> str:
        """One character per column: a dot for none, a bar for the part that was true."""
        return "".join(
            _BARS[min(hits * len(_BARS) // count, len(_BARS) - 1)] if hits else "·" for count, hits in self._columns
        )


class RuleTally:
    """What one rule did: `events` are those whose source and type match.

    `outcomes`: of events, and of the windows into which events were gathered.
    """

    def __init__(self) -> None:
        self.events = 0
        self.matched = 0
        self.outcomes = dict.fromkeys(Outcome, 0)
        self.examples = {outcome: Examples() for outcome in Outcome}
        self.strip = Strip()

    def count(self, outcome: Outcome, seen: Seen) -> None:
        """Count the outcome of an event or of a window."""
        self.outcomes[outcome] += 1
        self.examples[outcome].add(seen)


class RulesTally:
    """What one set of rules decided. `unwanted`: events that no rule matched."""

    def __init__(self, names: Iterable[str]) -> None:
        self.unwanted = 0
        self.rules = {name: RuleTally() for name in names}

    def add(self, seen: Seen, rulings: Mapping[str, Ruling]) -> None:
        """Count an event."""
        self.unwanted += not any(ruling.matched for ruling in rulings.values())
        for name, ruling in rulings.items():
            tally = self.rules[name]
            tally.events += 1
            tally.matched += ruling.matched
            tally.count(ruling.outcome, seen._replace(reason=ruling.reason))
            if ruling.unarmed:
                tally.count(Outcome.FAILED, seen._replace(reason=ruling.unarmed))
            tally.strip.add(ruling.outcome in _LEADING)

    def end(self, ended: Iterable[Ended]) -> None:
        """Count windows that closed."""
        for name, seen, outcome in ended:
            self.rules[name].count(outcome, seen)


class RuleChanges:
    """Where one rule decides otherwise than before, by kind such as `no trigger -> trigger`.

    `before` and `now` count triggers, including those of windows.
    """

    def __init__(self) -> None:
        self.events = 0
        self.before = 0
        self.now = 0
        self.counts: dict[str, int] = {}
        self.examples: dict[str, Examples] = {}
        self.strip = Strip()

    @property
    def changed(self) -> int:
        """How many events changed."""
        return sum(self.counts.values())


class Comparison:
    """Where two sets of rules differ. A missing rule triggers nothing."""

    def __init__(self, before: Iterable[str], now: Iterable[str]) -> None:
        self.rules = {name: RuleChanges() for name in dict.fromkeys([*now, *before])}

    def add(self, seen: Seen, before: Mapping[str, Ruling], now: Mapping[str, Ruling]) -> None:
        """Compare the decisions about an event."""
        for name in dict.fromkeys([*now, *before]):
            old, new = before.get(name, PASSED), now.get(name, PASSED)
            changes = self.rules[name]
            changes.events += 1
            changes.before += old.outcome is Outcome.TRIGGERED
            changes.now += new.outcome is Outcome.TRIGGERED
            kind = _change(old, new)
            changes.strip.add(bool(kind))
            if kind:
                changes.counts[kind] = changes.counts.get(kind, 0) + 1
                changes.examples.setdefault(kind, Examples()).add(seen._replace(reason=new.reason or old.reason))

    def end(self, before: Iterable[Ended], now: Iterable[Ended]) -> None:
        """Count windows that closed as triggers; how they differ was counted with their events."""
        for ended in before:
            self.rules[ended.rule].before += ended.outcome is Outcome.TRIGGERED
        for ended in now:
            self.rules[ended.rule].now += ended.outcome is Outcome.TRIGGERED


def _change(before: Ruling, now: Ruling) -> str:
    if before.outcome is not now.outcome:
        return f"{before.outcome} -> {now.outcome}"
    if before.message == now.message:
        return ""
    return "trigger -> other content" if now.outcome is Outcome.TRIGGERED else "gathered -> in another window"


class Rehearsal:
    """One pass over recorded events: takes them as an agent would, and counts what the rules decide.

    `events`: how many were judged. `duplicates`: how many repeated an earlier id. `unusable`: how many lines are not
    events; `faults` has the first of them, with the reason. `sources`: the first few. `span`: the first and the latest
    time of an event. `comparison`: None without rules to compare with. `waits`: of the rules with a `rate`.
    """

    def __init__(
        self,
        specs: Sequence[RuleSpec],
        against: Sequence[RuleSpec] | None,
        *,
        agent: str,
        now: str,
        max_event_bytes: int,
        dedupe_events: int,
    ) -> None:
        """`agent`: the id for events that name none; `now`: the time for events without one."""
        self.events = 0
        self.duplicates = 0
        self.unusable = 0
        self.faults: list[tuple[str, str]] = []
        self.sources: list[str] = []
        self.span = ("", "")
        self._span_ms = (math.inf, -math.inf)
        self._judge = Judge(specs, max_event_bytes=max_event_bytes)
        self._before = Judge(against, max_event_bytes=max_event_bytes) if against is not None else None
        self.tally = RulesTally(self._judge.names)
        self.comparison = Comparison(self._before.names, self._judge.names) if self._before is not None else None
        self.waits = self._judge.waits
        self._agent = agent
        self._now = now
        self._max_event_bytes = max_event_bytes
        self._dedupe = Dedupe(dedupe_events)
        self._at_ms = 0

    def take(self, where: str, agent: str, event: Draft, accepted_ms: int = 0) -> None:
        """Take an event that is at `where` and came to this agent ("": unknown).

        `accepted_ms`: when, in Unix milliseconds. Without it, or if the clock was not set, the event's own time counts,
        and without that the time of the event before it.
        """
        try:
            check(event)
        except MessageError as exc:
            self.reject(where, f"{exc.member}: {exc.reason}")
            return
        if len(event.data) > self._max_event_bytes:
            self.reject(where, f"data: has {len(event.data)} bytes, more than outbox.max_event_bytes")
        elif event.id and (known := self._known(event)) is not DedupeVerdict.NEW:
            if known is DedupeVerdict.DUPLICATE:
                self.duplicates += 1
            else:
                self.reject(where, "id: came before, with other data")
        else:
            self._count(event)
            self._at_ms = accepted_ms if is_set(accepted_ms) else _unix_ms(event.time, self._at_ms)
            event.id = event.id or where
            if not event.time:
                event.time, event.time_quality = self._now, SYNCHRONIZED
            self._compare(Seen(where, event), agent or self._agent)

    def reject(self, where: str, reason: str) -> None:
        """Count the line at `where` as unusable."""
        self.unusable += 1
        if len(self.faults) < _MAX_TOLD:
            self.faults.append((where, reason))

    def end(self) -> None:
        """Close the windows, because there are no more events."""
        self._judge.end()
        if self._before is not None:
            self._before.end()
        self._end_windows()

    def _known(self, event: Draft) -> DedupeVerdict:
        key, digest = event_key(event.source, event.id), data_digest(event.data)
        known = self._dedupe.check(key, digest)
        if known is DedupeVerdict.NEW:
            self._dedupe.add(key, digest)
        return known

    def _count(self, event: Draft) -> None:
        self.events += 1
        if event.time:
            self._extend_span(event.time)
        if len(self.sources) <= _MAX_TOLD and event.source not in self.sources:
            self.sources.append(event.source)

    def _extend_span(self, time: str) -> None:
        """Recordings need not be in the order of their times."""
        first_ms, latest_ms = self._span_ms
        if (at_ms := _unix_ms(time, _NO_TIME_MS)) == _NO_TIME_MS:
            return
        self.span = (time if at_ms < first_ms else self.span[0], time if at_ms >= latest_ms else self.span[1])
        self._span_ms = (min(first_ms, at_ms), max(latest_ms, at_ms))

    def _compare(self, seen: Seen, agent: str) -> None:
        now = self._judge.rulings(agent, seen, self._at_ms)
        self.tally.add(seen, now)
        if self._before is not None and self.comparison is not None:
            self.comparison.add(seen, self._before.rulings(agent, seen, self._at_ms), now)
        self._end_windows()

    def _end_windows(self) -> None:
        self.tally.end(self._judge.ended)
        if self._before is not None and self.comparison is not None:
            self.comparison.end(self._before.ended, self._judge.ended)
            self._before.ended.clear()
        self._judge.ended.clear()


def _unix_ms(time: str, otherwise_ms: int) -> int:
    try:
        return round(instant(time).timestamp() * 1000)
    except (ValueError, OverflowError):
        return otherwise_ms
