"""Begins the uploads of large data when its event is stored, whatever the uplink does (contract section 10).

A trigger that is taken up waits for its upload (`agent.uploading`). But none is taken up while the uplink is down, or
all places in flight are taken, or its rule has no permit for it. So pending events with large data are looked for in
the outbox, ahead of their triggers' turn, and their uploads asked for: a limited number at a time, behind those for
which a trigger waits.

With `coalesce` an upload is not made ahead: a newer event may stand for this one by the time that it could go.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from edgeagent.agent.ahead import MAX_OPEN, Ahead, Place
from edgeagent.agent.clock import Clock, Moment
from edgeagent.agent.lifetime import Lifetime
from edgeagent.agent.uploading import Uploading, is_high, name_of
from edgeagent.errors import OutboxError
from edgeagent.outbox.ahead import ENOUGH, AheadPart, AheadReader
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import Leased
from edgeagent.ports.artifacts import Turn
from edgeagent.rules.ruleset import RuleSet

# How often it is looked again, while there is something to look at: what was asked for may not be needed any more.
_RECHECK_S: Final = 30.0
# And how soon after other triggers came or went.
_LOOK_S: Final = 1.0


class UploadsAhead:
    """Asks for uploads ahead of their triggers' turn; `run` must be running. Must be made in the running loop.

    Promises that at most `MAX_OPEN` of them are known in memory, and a bounded number on disk (`outbox.ahead`).
    """

    def __init__(
        self,
        outbox: Outbox,
        uploading: Uploading,
        rules: RuleSet,
        lifetime: Lifetime,
        clock: Clock,
        all_noted: Callable[[], Awaitable[None]],
    ) -> None:
        """`all_noted`: returns when the spool knows which records refer to its files."""
        self._outbox = outbox
        self._uploading = uploading
        self._rules = rules
        self._lifetime = lifetime
        self._clock = clock
        self._all_noted = all_noted
        self._reader = AheadReader()
        self._seen = -1  # the spool's references when it was looked last
        self._has_more = True
        self._later: asyncio.TimerHandle | None = None
        self._work = asyncio.Event()

    @property
    def _ahead(self) -> Ahead:
        return self._uploading.ahead

    def changed(self) -> None:
        """Note that the outbox has changed; nothing is done if no large data came, and none is known that may go."""
        if self._references != self._seen:
            self._work.set()
        elif self._ahead and self._later is None:
            self._later = asyncio.get_running_loop().call_later(_LOOK_S, self._work.set)

    def ended(self, name: str) -> None:
        """Note that an upload has ended, after `Uploading` did."""
        if self._ahead.ended(name):
            self._uploading.leave(name)
            self._work.set()

    async def run(self) -> None:
        """Look for uploads until cancelled."""
        await self._all_noted()
        while True:
            self._work.clear()
            with contextlib.suppress(OutboxError):  # told where the log is read to be sent
                await self._look()
            if self._has_more and self._has_room:
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RECHECK_S if self._ahead or self._has_more else None):
                    await self._work.wait()

    @property
    def _references(self) -> int:
        return self._outbox.spool.references if self._outbox.spool is not None else 0

    @property
    def _has_room(self) -> bool:
        return len(self._ahead) <= MAX_OPEN - ENOUGH

    async def _look(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        on, places, seen = self._has_room, self._ahead.places(), self._references
        self._ahead.looking()
        part: AheadPart = await self._outbox.when_released(lambda store: self._reader.look(store, places, on=on))
        if on:
            self._seen, self._has_more = seen, part.has_more
        moment = self._clock.moment()
        for event in part.events:
            self._ask(event, moment)
        self._sift(part.released, moment)

    def _ask(self, event: Sequence[Leased], moment: Moment) -> None:
        wanted = [one for one in event if self._is_needed(one, moment) and not self._is_coalesced(one)]
        if not wanted or self._uploading.is_of_another(wanted[0]):
            return
        if not self._ahead.add(name_of(wanted[0].record), wanted):
            return
        is_first = any(is_high(one, self._rules.get(one.rule)) for one in wanted)
        self._uploading.want_ahead(wanted[0], Turn.AHEAD_HIGH if is_first else Turn.AHEAD)

    def _sift(self, released: frozenset[Place], moment: Moment) -> None:
        """Forget what nobody needs any more. A trigger whose rule has a rate may have moved to another log."""

        def is_wanted(one: Leased) -> bool:
            if not self._is_needed(one, moment):
                return False
            rule = self._rules.get(one.rule)
            return (one.log, one.seq) not in released or (rule is not None and rule.rate is not None)

        for name in self._ahead.sift(is_wanted):
            self._uploading.forget_ahead(name)

    def _is_needed(self, leased: Leased, moment: Moment) -> bool:
        """Whether a trigger will be sent, as far as is known."""
        rule = self._rules.get(leased.rule)
        return rule is not None and self._lifetime.left_s(leased, rule, moment) > 0

    def _is_coalesced(self, leased: Leased) -> bool:
        rule = self._rules.get(leased.rule)
        return rule is not None and rule.coalesce
