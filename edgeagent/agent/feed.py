"""Brings triggers into flight: leased ones, through the windows and rates of rules, and parked ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from edgeagent.agent.clock import Moment
from edgeagent.agent.leases import Leases
from edgeagent.agent.lifetime import Lifetime
from edgeagent.agent.limited import LimitedTriggers
from edgeagent.agent.parked import ParkedTriggers
from edgeagent.agent.triggers import Triggers
from edgeagent.agent.windows import Windows
from edgeagent.errors import StorageFailed
from edgeagent.outbox.records import WINDOWS, Leased
from edgeagent.rules.ruleset import RuleSet

if TYPE_CHECKING:
    from edgeagent.agent.uploaded_first import UploadedFirst


class Feed:
    """Takes up as many triggers as there are places in flight.

    Owns the time at which the next window closes, or the next limited trigger may go, by itself. Promises that each
    leased trigger goes one way: into flight, into a window of its rule, or behind those that wait for its rate. Must
    never take up more than there are places, less those that closed windows will need.
    """

    def __init__(
        self,
        triggers: Triggers,
        leases: Leases,
        windows: Windows,
        limited: LimitedTriggers,
        parked: ParkedTriggers,
        rules: RuleSet,
        lifetime: Lifetime,
        uploads: UploadedFirst | None = None,
    ) -> None:
        """`uploads`: takes up what `limited` and this let go; None: `triggers` does, because no data is large."""
        self._triggers = triggers
        self._leases = leases
        self._windows = windows
        self._limited = limited
        self._parked = parked
        self._rules = rules
        self._lifetime = lifetime
        self._uploads = uploads
        self._take_up = triggers.take_up if uploads is None else uploads.take_up
        self._window_due_at: float | None = None  # when an open window closes, if no event closes it before
        self._limited_due_at: float | None = None
        self._now = asyncio.get_running_loop().time

    @property
    def is_short(self) -> bool:
        """Whether `read` may bring triggers."""
        return (self._places > 0 and self._leases.unread) or self._limited.unread

    @property
    def _places(self) -> int:
        if self._limited.is_full or (self._uploads is not None and self._uploads.is_full):
            return 0
        return self._triggers.vacancy - self._windows.closing

    def fill(self, now: float, moment: Moment) -> None:
        """Take up leased triggers while there are places, and close the windows that are due."""
        limited_s: float | None = None
        anything_waits = self._limited.anything_waits
        if self._uploads is not None:
            limited_s = self._fill_uploads(self._uploads, now, moment)
        elif anything_waits:  # hardly ever: an agent without a rate has nothing to look for, at each turn
            limited_s = self._limited.fill(max(self._triggers.vacancy - self._windows.closing, 0), moment)
        self._limited_due_at = now + limited_s if limited_s is not None else None
        leased: Leased | None = None
        while (places := self._places) > 0 and (taken := self._leases.take(places)):
            for leased in taken:
                self._take(leased, moment, anything_waits)
        if leased is not None:
            self._windows.passed(leased)
        self._window_due_at = None
        if self._places > 0 and not self._leases.unread:
            left_s = self._windows.caught_up(moment)
            self._window_due_at = now + left_s if left_s is not None else None
            self._limited.caught_up()

    async def read(self) -> None:
        """Lease triggers from the disk that are not in memory. A disk that cannot be read is tried again later."""
        if self._places > 0 and self._leases.unread:
            await self._leases.read()
        if self._limited.unread:
            await self._limited.read()

    def wants_parked(self, now: float) -> bool:
        """Whether it is time to try the next parked trigger."""
        return self._parked.wanted(now)

    async def take_parked(self) -> None:
        """Take up the next parked trigger; one that is final is moved to the dead letters instead of being sent."""
        try:
            leased = await self._parked.next()
        except StorageFailed as exc:
            self._leases.unreadable(exc)
            return
        entry = self._take_up(leased, self._rules.get(leased.rule)) if leased is not None else None
        if entry is None:
            self._parked.wait(self._now())
            return
        self._parked.sent(entry)
        if entry.item.is_doomed and entry.item.moved is not None:
            self._triggers.give_up(entry, entry.item.moved.reason, entry.item.moved.code)

    def next_deadline(self, now: float) -> float | None:
        """When there is something to do even if nothing happens; a parked trigger that is due is being read already."""
        deadlines = [
            self._window_due_at,
            self._limited_due_at,
            self._uploads.recheck_at if self._uploads is not None else None,
        ]
        parked_at = self._parked.next_deadline()
        if parked_at is not None and parked_at > now:
            deadlines.append(parked_at)
        return min((at for at in deadlines if at is not None), default=None)

    def _fill_uploads(self, uploads: UploadedFirst, now: float, moment: Moment) -> float | None:
        """Take up what was uploaded, then limited triggers; those that wait for their upload leave their places."""
        uploads.take_uploaded(max(self._triggers.vacancy - self._windows.closing, 0), now, moment)
        while True:
            places = 0 if uploads.is_full else max(self._triggers.vacancy - self._windows.closing, 0)
            taken = uploads.taken
            limited_s = self._limited.fill(places, moment)
            if uploads.taken == taken:
                return limited_s

    def _take(self, leased: Leased, moment: Moment, anything_waits: bool) -> None:
        """Take up a leased trigger: by itself, into a window of its rule, or to wait for its rate.

        `anything_waits`: that may concern rules that have no rate any more.
        """
        rule = self._rules.get(leased.rule)
        if rule is not None and rule.window is not None and self._may_join(leased):
            if self._lifetime.left_s(leased, rule, moment) > 0:
                self._windows.take(leased, rule, rule.window, moment)
            else:
                self._take_up(leased, rule)  # it expires by itself, outside a window
            return
        if leased.log == WINDOWS:
            self._windows.resumed(leased)
        if rule is None or not (anything_waits or rule.rate is not None):
            self._take_up(leased, rule)
        elif not self._limited.holds(leased, rule, moment):
            self._limited.goes(leased, rule, moment)

    def _may_join(self, leased: Leased) -> bool:
        """Whether a trigger may be a member of a window. Without a store, large data has one of its own, which ends."""
        return not leased.record.events and (leased.record.artifact is None or self._uploads is not None)
