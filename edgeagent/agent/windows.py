"""Windows: triggers of a rule with `window` are gathered as they are leased, and sent as one (contract section 11).

Until a window closes, each member is kept in the outbox by itself. Then the trigger that they make together is synced
in the log `windows`, and only from there it is leased and published. So after a crash before that the members are
found, and after a later crash the very same window.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from edgeagent.agent.chores import Chores
from edgeagent.agent.clock import Clock, Moment
from edgeagent.agent.leases import Leases
from edgeagent.agent.lifetime import Lifetime
from edgeagent.agent.triggers import Triggers
from edgeagent.common.elapsed import Instant
from edgeagent.errors import OutboxError
from edgeagent.events.event import Record, gathered, member_size
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import EVENT_LOGS, WINDOWS, Closing, Leased
from edgeagent.rules.gathering import Closed, Gathering
from edgeagent.rules.ruleset import Rule, RuleSet
from edgeagent.rules.spec import Window

if TYPE_CHECKING:
    from edgeagent.agent.window_uploads import WindowUploads

# While the disk refuses closed windows, it is tried again this often.
_RETRY_S = 1.0

_log = logging.getLogger(__name__)


class Windows:
    """The open windows of rules, and those that have closed and are not synced yet.

    Owns the members of a window until it closes; meanwhile each is kept in the outbox by itself, leased. Promises that
    the members are released only when the trigger that they make is synced. Must never publish: a closed window is
    leased from the log `windows` like any other trigger.

    Attributes:
        take_up: the hook that is called for a member whose data the store can never have, and which goes by itself.
            The composition root connects it.
    """

    def __init__(
        self,
        outbox: Outbox,
        leases: Leases,
        triggers: Triggers,
        rules: RuleSet,
        chores: Chores,
        clock: Clock,
        lifetime: Lifetime,
        *,
        max_event_bytes: int,
        uploads: WindowUploads | None = None,
    ) -> None:
        """`uploads`: of members with large data; None: there are none."""
        self.take_up: Callable[[Leased, Rule | None], object] = triggers.take_up
        self._lifetime = lifetime
        self._uploads = uploads
        self._outbox = outbox
        self._leases = leases
        self._triggers = triggers
        self._rules = rules
        self._chores = chores
        self._clock = clock
        # Each log is leased in the order of acceptance, but `high` overtakes `normal`.
        self._gatherings: dict[str, Gathering[Leased]] = {name: Gathering(max_event_bytes) for name in EVENT_LOGS}
        self._closed: list[Closed[Leased]] = []
        self._failing = False

    @property
    def closing(self) -> int:
        """How many have closed and are not in the log `windows` yet: each will need a place in flight."""
        return len(self._closed)

    @property
    def members(self) -> int:
        """How many triggers are in windows, open ones and those that are not in the log `windows` yet."""
        return sum([gathering.members for gathering in self._gatherings.values()]) + sum(
            [len(closed.members) for closed in self._closed], start=self._uploads.members if self._uploads else 0
        )

    def open_for(self, leased: Leased) -> tuple[int, int] | None:
        """When the open window that has this trigger is due, by the clock of this boot, and how many it has."""
        gathering, rule = self._gatherings.get(leased.log), self._rules.get(leased.rule)
        if gathering is None or rule is None or rule.window is None:
            return None
        place = (leased.log, leased.seq)
        return gathering.holding(rule.name, rule.window, leased.record.source, lambda one: (one.log, one.seq) == place)

    def take(self, leased: Leased, rule: Rule, window: Window, moment: Moment) -> None:
        """Take up a leased trigger whose event goes into a window of this rule."""
        record = leased.record
        at = Instant(record.accepted_ms, record.uptime_ms, leased.boot)
        now = Instant(moment.now_ms, moment.uptime_ms, self._clock.boot)
        gathering = self._gatherings[leased.log]
        if self._uploads is not None:
            record = self._uploads.join(leased, rule).record
        self._close(gathering.add(rule.name, window, record.source, leased, member_size(record), at, now))

    def resumed(self, leased: Leased) -> None:
        """Note that a window was leased: one from an earlier process may be missing from the ledger after a crash."""
        record = leased.record
        rule = self._rules.get(leased.rule)
        if leased.seq >= self._outbox.reopened_seq[WINDOWS] or rule is None or rule.window is None:
            return
        if rule.window.by == "source":  # otherwise the sources of its events are not known
            others = [msgspec.structs.replace(record, id=event_id) for event_id in record.events]
            members = [msgspec.structs.replace(leased, record=other) for other in others]
            self._triggers.note_gathered(members)

    def passed(self, leased: Leased) -> None:
        """Note that everything accepted before this trigger, in its log, was leased."""
        gathering = self._gatherings.get(leased.log)
        if gathering and leased.boot == self._clock.boot:
            self._close(gathering.due(leased.record.uptime_ms))

    def caught_up(self, moment: Moment) -> float | None:
        """Close the windows that are due, as no trigger waits to be leased; returns the seconds until the next."""
        deadlines_ms: list[int] = []
        for gathering in self._gatherings.values():
            self._close(gathering.due(moment.uptime_ms))
            deadline_ms = gathering.next_deadline_ms()
            deadlines_ms += [deadline_ms] if deadline_ms is not None else []
        self._go_on(moment)
        return max(min(deadlines_ms) - moment.uptime_ms, 0) / 1000 if deadlines_ms else None

    def uploaded(self) -> None:
        """Note that an upload has ended, for which a closed window may have waited."""
        if self._uploads is not None and self._uploads.members:
            self._go_on(self._clock.moment())

    def _close(self, closed: Sequence[Closed[Leased]]) -> None:
        if self._uploads is None:
            self._keep(closed)
        elif closed:
            for one in closed:
                self._uploads.wait(one)
            self._go_on(self._clock.moment())

    def _go_on(self, moment: Moment) -> None:
        """Let go of closed windows whose data is in the store, and of those that are too old to be sent."""

        def is_over(first: Leased) -> bool:
            rule = self._rules.get(first.rule)
            return rule is None or self._lifetime.left_s(first, rule, moment) <= 0

        if self._uploads is None or not self._uploads.members:
            return
        for one in self._uploads.ready(is_over):
            refused = self._uploads.refused(one.members)
            members = [leased for leased in one.members if leased not in refused]
            if members:
                self._keep([Closed(one.rule, members)])
            for leased in refused:
                self.take_up(leased, self._rules.get(leased.rule))

    def _keep(self, closed: Sequence[Closed[Leased]]) -> None:
        for one in closed:
            rule = self._rules.get(one.rule)
            if rule is None or rule.window is None:  # changed by a reload
                self._left(one.members, for_good=False)
                self._leases.put_back(one.members)
                continue
            self._closed.append(one)
            if len(self._closed) == 1:
                self._chores.leave(self._store)

    def _left(self, members: Sequence[Leased], *, for_good: bool) -> None:
        if self._uploads is not None:
            self._uploads.left(members, for_good=for_good)

    def _record(self, leased: Leased) -> Record:
        return leased.record if self._uploads is None else self._uploads.with_claim(leased).record

    async def _store(self) -> None:
        """Sync the closed windows; then their members are released, and they are leased from the log `windows`."""
        closed = self._closed[:]
        closings = [
            Closing(one.rule, one.members, gathered([*map(self._record, one.members)], one.rule)) for one in closed
        ]
        try:
            await self._outbox.gather(closings)
        except OutboxError as exc:
            if not self._failing:
                _log.warning("windows stay open, trying again: %s", exc, extra={"event": "windows_unkept"})
            self._failing = True
            asyncio.get_running_loop().call_later(_RETRY_S, self._chores.leave, self._store)
            return
        self._failing = False
        del self._closed[: len(closed)]
        if self._closed:
            self._chores.leave(self._store)
        for one in closed:
            self._triggers.gathered(one.members)
            self._left(one.members, for_good=True)
        self._leases.closed()
