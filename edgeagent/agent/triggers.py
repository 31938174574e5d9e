"""Triggers in flight, from their lease out of the outbox to their end (contract section 3).

The sender and the answers are equals over this owner. It uses the set of triggers in flight (`agent.inflight`, without
I/O), the ways out of it (`agent.releases`), the timing of parked triggers (`agent.parked`) and the ledger notes
(`agent.notes`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Protocol

import msgspec

from edgeagent.agent import causes, notices
from edgeagent.agent.causes import Cause
from edgeagent.agent.chores import Chores
from edgeagent.agent.counts import TriggerCounters
from edgeagent.agent.inflight import FlightPhase, InFlightSet, TriggerInFlight, lane_of
from edgeagent.agent.notes import LedgerNotes, correlation_of
from edgeagent.agent.parked import ParkedTriggers
from edgeagent.agent.releases import Releases
from edgeagent.common.foreign import line
from edgeagent.common.histogram import Histogram
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import DEAD, EXPIRED, MERGED, PARKED, SETTLED, WINDOWS, Leased
from edgeagent.outbox.search import find
from edgeagent.rules.ruleset import Rule
from edgeagent.rules.trigger import correlation_id
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import Report, State

_SUCCESS = 200
# How much is kept of the reason for giving up a trigger, in the dead letter and in the ledger: an answer's error and
# detail.
_MAX_REASON_CHARS = 2100
# Of the histogram of how long answers take, in seconds.
_ANSWER_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class TakesUp(Protocol):
    """What leased triggers are given to when nothing else holds them: `Triggers`, or what stands before it."""

    def take_up(self, leased: Leased, rule: Rule | None) -> TriggerInFlight | None:
        """Take up a leased trigger; None if it is not in flight now, and is looked after all the same."""

    def is_lane_free(self, lane: str) -> bool:
        """Whether no trigger of this strict order was taken up and has not ended."""

    def seqs_of(self, log: str) -> frozenset[int]:
        """The seqs of the triggers that were taken up and have not ended, and are in this log."""


class Triggers:
    """Every trigger in flight. Whatever ends a trigger, or lets it rest, goes through here.

    Owns the set of them, their release from the outbox, the counts of each rule, and the ledger notes. Promises that a
    trigger is in flight once, and that it is released once, only when what stands for it is synced. What must wait for
    the disk is left as a chore; until that is done the trigger is neither sent nor moved, and may only be settled. Must
    never publish: it knows of the connection only whether there is one.

    Attributes:
        more_to_send: the hook that is called when something other than sending made room, or made a trigger ready. The
            composition root connects it with `Sender.wake`.
        answer_times: how long the engine took to answer, in seconds from the sending.
        published_at: when a broker last took a trigger, in the loop's time; None if none did yet.
    """

    def __init__(
        self,
        in_flight: InFlightSet[Leased],
        releases: Releases,
        parked: ParkedTriggers,
        notes: LedgerNotes,
        outbox: Outbox,
        chores: Chores,
        counts: TriggerCounters,
        *,
        park_after: int,
        ends_published: bool,
    ) -> None:
        """`park_after`: tries without an answer. `ends_published`: the broker's acknowledgement settles a trigger."""
        self.more_to_send: Callable[[], None] = lambda: None
        self.answer_times = Histogram(_ANSWER_BOUNDS_S)
        self.published_at: float | None = None
        self._in_flight = in_flight
        self._releases = releases
        self._parked = parked
        self._notes = notes
        self._outbox = outbox
        self._chores = chores
        self._counts = counts
        self._park_after = park_after
        self._ends_published = ends_published
        self._now = asyncio.get_running_loop().time

    def __len__(self) -> int:
        """How many are in flight."""
        return len(self._in_flight)

    @property
    def vacancy(self) -> int:
        """How many more may be in flight."""
        return self._in_flight.vacancy

    @property
    def unacknowledged(self) -> int:
        """How many wait for the broker's acknowledgement."""
        return self._in_flight.sent

    @property
    def unanswered(self) -> int:
        """How many wait for the engine's answer."""
        return self._in_flight.unanswered

    def find(self, correlation_id: str) -> TriggerInFlight | None:
        """The trigger with this correlation id, if it is in flight."""
        return self._in_flight.find(correlation_id)

    def goes_behind(self, entry: TriggerInFlight) -> str:
        """The correlation id of the trigger that goes before this one because their order is strict; "" if none."""
        first = self._in_flight.goes_behind(entry)
        return first.correlation_id if first is not None else ""

    def is_lane_free(self, lane: str) -> bool:
        """Whether no trigger of this strict order is in flight."""
        return self._in_flight.is_lane_free(lane)

    def seqs_of(self, log: str) -> frozenset[int]:
        """The seqs of the triggers in flight that are in this log."""
        return frozenset([entry.item.seq for entry in self._in_flight if entry.item.log == log])

    def begun(self, entry: TriggerInFlight | None) -> Life | None:
        """The life of a published trigger; None if it is not in flight, or not followed in the ledger."""
        return self._notes.begun(entry)

    @property
    def forwarded(self) -> int:
        """How many triggers were published since the start, each counted once."""
        return self._counts.total.published - self._counts.total.republished

    def stats(self) -> dict[str, Any]:
        """The counts, ready for JSON."""
        return {**msgspec.to_builtins(self._counts.total), "in_flight": len(self._in_flight)}

    # For the sender, which checks by itself afterwards whether there is more to send.

    def take_up(self, leased: Leased, rule: Rule | None) -> TriggerInFlight | None:
        """Take up a leased trigger; None if the very same one is in flight already."""
        record, log = leased.record, leased.log
        entry = self._in_flight.add(
            correlation_id(record.agent, record.source, record.id, leased.rule),
            leased,
            lane=lane_of(leased, rule) if rule is not None else None,
            known=(leased.moved is None or log == WINDOWS) and leased.seq >= self._outbox.reopened_seq[log],
            patience=1 if log == PARKED else self._park_after,
        )
        if entry is None:
            # The same trigger twice (a replay of one in flight): one workflow, so one of the two is settled here.
            self._outbox.release([leased], SETTLED)
        return entry

    def due(self, now: float, room: int) -> list[TriggerInFlight]:
        """What to send now, at most `room`; it counts as sent. Triggers whose patience is used up are moved away."""
        due = self._in_flight.due(now, room)
        for entry in self._in_flight.tired():
            if entry.item.log == PARKED:
                self._releases.put_back(entry)
            else:
                self._put_away(entry)
        return due

    def next_deadline(self) -> float | None:
        """When `due` will return something even if nothing happens; None: never."""
        return self._in_flight.next_deadline()

    def connected(self, carried: Iterable[int]) -> None:
        """A new connection. `carried`: tokens whose first publication is still being completed."""
        self._in_flight.reconnected(self._now(), carried)

    def disconnected(self) -> None:
        """The connection is gone: what was not acknowledged is ready again."""
        self._in_flight.disconnected(self._now())

    def without_acknowledgement(self) -> list[TriggerInFlight]:
        """Those that wait for the broker's acknowledgement, oldest first."""
        return self._in_flight.out()

    def suspected(self, entry: TriggerInFlight) -> None:
        """Let a trigger rest over which connections seem to end; others go first."""
        self._parked.suspected(entry)
        notices.suspected(entry, self._in_flight.rest(entry, self._now()))

    def by_tokens(self, tokens: Iterable[int]) -> list[TriggerInFlight | None]:
        """The triggers of these publications, None for each that is not in flight."""
        return [*map(self._in_flight.by_token, tokens)]

    def published(self, entries: Collection[TriggerInFlight]) -> None:
        """Note that the broker took these and has a subscriber for them. With settle = "broker" they end here."""
        now = self.published_at = self._now()
        published = self._in_flight.acknowledged(entries, now)
        self._counts.total.published += len(published)
        rules = Counter([entry.item.rule for entry in published])
        for rule, count in rules.items():
            self._counts.of(rule).published += count
        if any(map(self._notes.tracks, rules)):
            self._notes.published(published)
        if self._ends_published:
            self._releases.settle(published)
            self._parked.heard(now)

    def disproved(self, cause: Cause, successes: int) -> None:
        """Make some triggers ready that rest for a cause which `successes` show to be gone."""
        self._in_flight.heard(cause, self._now(), successes)

    def expire(self, entry: TriggerInFlight) -> None:
        """End a trigger that is too old to be sent."""
        self._releases.expire(entry)
        self._chores.leave(lambda: self._notes.ended(entry, State.EXPIRED, "older than its ttl"))

    def take_out(self, entry: TriggerInFlight) -> None:
        """Take a trigger out of flight that was not sent, and must wait elsewhere first."""
        self._in_flight.remove([entry])

    def merge(self, entry: TriggerInFlight, into: str) -> None:
        """End a trigger for which a newer one, with the correlation id `into`, stands."""
        self._releases.merge(entry)
        self._chores.leave(lambda: self._notes.merged(entry.item, into))

    # For the sender and the answers.

    def settle(self, entry: TriggerInFlight) -> None:
        """End a trigger that the engine has: it leaves the outbox."""
        self._releases.settle([entry])
        self.more_to_send()

    def rest(self, entry: TriggerInFlight, cause: Cause, at_least_s: float = 0.0, *, said: str = "") -> float | None:
        """Let a trigger rest for this cause; returns the seconds until its next try, None if it is being moved.

        `said`: in what words the broker or the engine put it off.
        """
        if entry.phase is FlightPhase.ENDING:
            return None
        entry.said = line(said)
        delay_s = self._in_flight.rest(entry, self._now(), at_least_s, cause)
        self.more_to_send()
        return delay_s

    def resend(self, entry: TriggerInFlight) -> None:
        """Send a trigger again at once, in its old place: its last try went where nobody could take it."""
        self._in_flight.resend(entry)
        self.more_to_send()

    def give_up(self, entry: TriggerInFlight, reason: str, code: int) -> None:
        """Make a trigger a dead letter, with the reason; it stays in flight until that is synced."""
        if entry.phase is FlightPhase.ENDING:
            return
        self._in_flight.ending(entry)
        cut = line(reason, _MAX_REASON_CHARS)

        async def bury() -> None:
            try:
                if await self._releases.bury(entry, cut, code):
                    await self._notes.ended(entry, State.REJECTED, cut)
            finally:
                self.more_to_send()

        self._chores.leave(bury)

    # For the answers.

    def answer_came(self, entry: TriggerInFlight) -> None:
        """Note how long the engine took to answer a trigger."""
        took_s = self._in_flight.answered_after(entry, self._now())
        if took_s is not None:
            self.answer_times.observe(took_s)

    def answered(self, code: int, rule: str, namespace: str, *, rehearsal: bool) -> None:
        """Note that the engine answered a trigger of this rule: triggers whose causes that disproves may wake.

        `rehearsal`: the answer is a dry-run dispatcher's, and disproves nothing about the engine.
        """
        now = self._now()
        heard = self._in_flight.heard
        woken = sum([heard(cause, now) for cause in causes.disproved_by(code, namespace, rule, rehearsal=rehearsal)])
        if code == _SUCCESS and not rehearsal:
            self._parked.heard(now)
            woken += self._parked.wanted(now)
        if woken:
            self.more_to_send()

    async def late(self, report: Report) -> None:
        """Correct the account for a trigger that had ended without a workflow, and has one after all."""
        if report.state in {State.EXPIRED, State.MERGED}:
            way = EXPIRED if report.state is State.EXPIRED else MERGED
            await self._outbox.beside(lambda store: store.late(way))
        elif report.state is State.REJECTED:
            for log in (DEAD, PARKED):  # parked: there was no place among the dead letters
                found = await find(self._outbox, log, lambda leased: _is(leased, report), 1)
                self._outbox.release(found, SETTLED)

    # For the windows of rules.

    def gathered(self, members: Sequence[Leased]) -> None:
        """Count the members of a released window: they ended in the trigger that bears the first one's name."""
        counts = self._counts.of(members[0].rule)
        counts.gathered += len(members)
        counts.merged += len(members) - 1
        self._counts.total.merged += len(members) - 1
        self.note_gathered(members)

    def note_gathered(self, members: Sequence[Leased]) -> None:
        """Write to the ledger about the members of a window, which were counted before."""

        async def note() -> None:
            into = correlation_of(members[0])
            for leased in members[1:]:
                await self._notes.merged(leased, into)

        self._chores.leave(note)

    def _put_away(self, entry: TriggerInFlight) -> None:
        async def park() -> None:
            await self._releases.park(entry)
            self.more_to_send()

        self._chores.leave(park)


def _is(leased: Leased, report: Report) -> bool:
    record = leased.record
    return (record.source, record.id, leased.rule) == (report.source, report.event_id, report.rule)
