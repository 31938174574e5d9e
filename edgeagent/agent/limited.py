"""Triggers that wait for the `rate` of their rule (contract section 11), outside of what is in flight.

A leased trigger that may not go now moves to the log `limited`, so that it neither takes a place in flight nor keeps
what was accepted after it on disk. There it waits in its line (`agent.lines`) until its rule has a permit for it. One
that had its permit before a restart (`agent.permits`) does not wait again, in whichever log it is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from edgeagent.agent.chores import Chores
from edgeagent.agent.clock import Clock, Moment
from edgeagent.agent.inflight import lane_of
from edgeagent.agent.lifetime import Lifetime
from edgeagent.agent.lines import LineKey, LineToRead, RateLines, RateWait, Resuming, key_of, keys_of
from edgeagent.agent.notices import limited_unkept, limited_unreadable
from edgeagent.agent.permits import Permits, shown
from edgeagent.agent.successors import Successors
from edgeagent.agent.triggers import TakesUp
from edgeagent.common.times import rfc3339
from edgeagent.errors import OutboxError
from edgeagent.outbox import limited
from edgeagent.outbox.limited import Condensing, HeldBack, LinePart
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import HIGH, LIMITED, WINDOWS, Leased
from edgeagent.outbox.store import Store
from edgeagent.rules.ruleset import Rule, RuleSet

# While so many wait for the disk to move them, nothing is leased; an event counts with its data.
_MAX_HELD: Final = 1000
_MAX_HELD_BYTES: Final = 1 << 20
# While the disk refuses to move them, it is tried again this often.
_RETRY_S: Final = 1.0


class LimitedTriggers:
    """Decides which triggers of rules with a `rate` go, and keeps the others waiting.

    Owns the triggers on their way to the log `limited`, the lines there, and how far that log is read. Promises that
    within one line triggers go in the order in which they were accepted, that one of normal priority goes only if none
    of high priority waits, and that no rule waits for another one. Must never lose a trigger: one is in its own log, or
    in `limited`.

    Attributes:
        more_to_send: the hook that is called when a trigger may go that could not before. The composition root
            connects it with `Sender.wake`.
        is_full: whether nothing may be leased for now, because too many wait for the disk.
    """

    def __init__(
        self,
        outbox: Outbox,
        triggers: TakesUp,
        permits: Permits,
        rules: RuleSet,
        lifetime: Lifetime,
        successors: Successors,
        chores: Chores,
        clock: Clock,
    ) -> None:
        self.more_to_send: Callable[[], None] = lambda: None
        self.is_full = False
        self._outbox = outbox
        self._triggers = triggers
        self._permits = permits
        self._rules = rules
        self._lifetime = lifetime
        self._successors = successors
        self._chores = chores
        self._clock = clock
        self._lines = RateLines()
        self._resuming = Resuming()
        self._held: list[HeldBack] = []
        self._held_by: Counter[LineKey] = Counter()
        self._moved_by: set[LineKey] = set()  # lines of which something may be in the log that was not read yet
        self._held_bytes = 0
        self._moving = self._failing = False
        self._unread = bool(outbox.limited)
        self._is_known = not self._unread  # the log was read to its end
        self._is_checked = self._is_known  # whether a crash interrupted its condensing
        self._is_sparse = False
        self._is_caught_up = False  # whatever was pending at the start was leased from the other logs
        self._pausing = False  # the disk could not be read
        self._condensing: Condensing | None = None
        self._copied_seq = 0  # of the first copy, when that was done last

    @property
    def unread(self) -> bool:
        """Whether `read` has something to do."""
        if self._pausing:
            return False
        return self._unread or self._condensing is not None or self._lines.short() is not None

    @property
    def anything_waits(self) -> bool:
        """Whether triggers wait here, or may; perhaps of rules that have no rate any more."""
        return not self._is_known or bool(self._held or self._moved_by or self._lines or self._resuming)

    def holds(self, leased: Leased, rule: Rule, moment: Moment) -> bool:
        """Keep a leased trigger waiting, True; or let it go at once: then `goes` must be called."""
        if self._had_permit(leased, rule, moment):
            return False
        high = leased.log == HIGH or (leased.log == WINDOWS and rule.high)
        waits = self._waits_before(rule, high=high)
        if rule.rate is None and not waits:
            return False
        if self._is_over(leased, rule, moment):
            return False  # it ends when it is rendered
        if not waits and self._has_permit(rule, moment) and self._is_first(leased, rule):
            return False
        self._held.append(HeldBack(leased, high))
        self._held_by[LineKey(rule.name, high)] += 1
        self._held_changed(len(leased.record.data))
        self._move_soon()
        return True

    def goes(self, leased: Leased, rule: Rule, moment: Moment) -> None:
        """Take up a trigger that `holds` lets go; it counts for its rule, unless it did before the start."""
        if self._had_permit(leased, rule, moment):
            self._resume(leased, rule)
        else:
            self._take_up(leased, rule, permitted=True)

    def caught_up(self) -> None:
        """Note that nothing is left to be leased from the other logs for now."""
        if not self._is_caught_up:
            self._is_caught_up = True
            if self.anything_waits:
                self.more_to_send()

    def fill(self, places: int, moment: Moment) -> float | None:
        """Take up what may go, at most so many; returns after how many seconds more may go, or end, by themselves."""
        if self._condensing is not None:
            return None
        places = self._fill_resumed(places, moment)
        left_s: list[float] = []
        for name in self._lines.rules():
            for key in keys_of(name):
                places = self._fill_line(key, places, moment)
                if not places:
                    return None  # until one ends
                if (wait_s := self._next_s(key, moment)) is not None:
                    left_s.append(wait_s)
                if self._waits_in(key):
                    break  # those of normal priority wait for them
        return min(left_s, default=None)

    async def read(self) -> None:
        """Read a part of the log from the disk, or condense a part of it. If the disk refuses, it is tried again."""
        try:
            await self._read()
        except OutboxError as exc:
            self._pausing = True
            asyncio.get_running_loop().call_later(_RETRY_S, self._go_on)
            if not self._failing:
                limited_unreadable(exc)
            self._failing = True
            return
        self._failing = self._failing and self._moving

    def _go_on(self) -> None:
        self._pausing = False
        self.more_to_send()

    async def _read(self) -> None:
        if not self._is_checked:
            self._condensing = await self._outbox.beside(limited.interrupted)
            self._is_checked = True
            self._move_soon()
        if self._condensing is not None:
            await self._condense(self._condensing)
        elif self._unread:
            await self._lease()
        elif (part := self._lines.short()) is not None:
            await self._read_on(part)
        if self._is_sparse and self._condensing is None and not self._unread:
            await self._begin_condensing()

    async def _lease(self) -> None:
        self._unread = False  # until more is moved there, perhaps while we read
        try:
            leased = await self._outbox.lease(LIMITED)
        except OutboxError:
            self._unread = True
            raise
        moment = self._clock.moment()
        for one in leased:
            if self._had_permit(one, self._rules.get(one.rule), moment):
                self._resuming.join(one)
            else:
                self._lines.join(one)
        if not leased and not self._unread:
            self._is_known = True
            self._moved_by.clear()
        self._unread = self._unread or bool(leased)

    def wait_of(self, leased: Leased) -> RateWait | None:
        """What a trigger in the log `limited`, which is not in flight, waits for; None if it needs no permit."""
        rule = self._rules.get(leased.rule)
        if leased.log != LIMITED or rule is None or rule.rate is None or leased.seq in self._resuming:
            return None
        high, normal = keys_of(leased.rule)
        key = key_of(leased)
        line = self._lines.get(key)
        ahead = (line.ahead(leased.seq) if line is not None else 0) + (
            self._lines.waiting(high) if key == normal else 0
        )
        wait_s = self._permits.wait_s(leased.rule, rule.rate, ahead, self._clock.moment())
        return RateWait(ahead, wait_s, rule.rate.triggers, rule.rate.time_ms / 1000)

    def stats(self) -> dict[str, Any]:
        """For each rule with a rate: the rate, how many wait, and about when the next and the last go (RFC 3339)."""
        moment = self._clock.moment()
        result: dict[str, Any] = {}
        for rule in self._rules:
            if rule.rate is None:
                continue
            waiting = self._waiting(rule.name)
            waits_s = [self._permits.wait_s(rule.name, rule.rate, ahead, moment) for ahead in (0, waiting - 1)]
            # To the second, so that who looks for changes finds none while only time passes.
            next_at, last_at = [rfc3339(round(moment.now_ms / 1000 + wait_s) * 1000) for wait_s in waits_s]
            times = {"next_at": next_at, "last_at": last_at} if waiting else {"next_at": None, "last_at": None}
            result[rule.name] = {**shown(rule.rate), "waiting": waiting, **times}
        return result

    def _waiting(self, name: str) -> int:
        """How many triggers of a rule wait, as far as the log is read."""
        return sum([self._lines.waiting(key) + self._held_by[key] for key in keys_of(name)])

    def _waits_before(self, rule: Rule, *, high: bool) -> bool:
        """Whether a trigger of this rule and priority has to go behind others, or may have to."""
        if (not self._is_known and rule.rate is not None) or self._resuming.has(rule.name):
            return True
        return any(self._waits_in(key) for key in keys_of(rule.name) if key.high or not high)

    def _waits_in(self, key: LineKey) -> bool:
        return bool(self._lines.waiting(key) or self._held_by[key]) or key in self._moved_by

    def _had_permit(self, leased: Leased, rule: Rule | None, moment: Moment) -> bool:
        """Whether it had a permit before the start, which counts still."""
        return rule is not None and rule.rate is not None and self._permits.had(leased, rule.rate, moment)

    def _has_permit(self, rule: Rule, moment: Moment) -> bool:
        return rule.rate is None or self._permits.free(rule.name, rule.rate, moment) > 0

    def _is_first(self, leased: Leased, rule: Rule) -> bool:
        """Whether no earlier trigger of its source goes before it because their order is strict."""
        lane = lane_of(leased, rule)
        return lane is None or self._triggers.is_lane_free(lane)

    def _is_over(self, leased: Leased, rule: Rule, moment: Moment) -> bool:
        """Whether it will not be sent: it is too old, or a newer one stands for it. So it needs no permit."""
        if self._lifetime.left_s(leased, rule, moment) <= 0:
            return True
        return rule.coalesce and bool(self._successors.of(leased))

    def _may_be_behind(self, rule: Rule, moment: Moment) -> bool:
        """Whether triggers that go first, because the order is strict, may not have been read since the start."""
        if not rule.strict or rule.rate is None or (self._is_caught_up and self._is_known):
            return False
        return self._permits.expects(rule.name, rule.rate, moment)

    def _take_up(self, leased: Leased, rule: Rule | None, *, permitted: bool) -> None:
        """`permitted`: it will be published, and counts for the rate of its rule."""
        entry = self._triggers.take_up(leased, rule)
        if entry is not None and permitted and rule is not None and rule.rate is not None:
            self._permits.give(entry)

    def _resume(self, leased: Leased, rule: Rule | None) -> None:
        entry = self._triggers.take_up(leased, rule)
        if entry is not None:
            self._permits.resume(entry)

    def _fill_resumed(self, places: int, moment: Moment) -> int:
        """Take up those that had a permit before the start; returns the places that are left."""
        for leased in self._resuming.in_order() if self._resuming else ():
            if not places:
                break
            rule = self._rules.get(leased.rule)
            if rule is None or not self._may_be_behind(rule, moment):
                self._resuming.take(leased)
                self._resume(leased, rule)
                places -= 1
        return places

    def _fill_line(self, key: LineKey, places: int, moment: Moment) -> int:
        """Take up what may go of a line; returns the places that are left."""
        rule = self._rules.get(key.rule)
        if rule is not None and self._may_be_behind(rule, moment):
            return places
        while places > 0 and (line := self._lines.get(key)) is not None and line.ready:
            index, permitted = 0, False
            if rule is not None and not self._is_over(line.ready[0], rule, moment):
                if not self._has_permit(rule, moment):
                    break
                index = next((at for at, one in enumerate(line.ready) if self._is_first(one, rule)), -1)
                if index < 0:
                    break
                permitted = True
            self._take_up(self._lines.take(key, index), rule, permitted=permitted)
            places -= 1
        return places

    def _next_s(self, key: LineKey, moment: Moment) -> float | None:
        """When the first of a line may go, or is too old."""
        rule, line = self._rules.get(key.rule), self._lines.get(key)
        if rule is None or rule.rate is None or line is None or not line.ready:
            return None
        wait_s = self._permits.wait_s(key.rule, rule.rate, 0, moment)
        left_s = self._lifetime.left_s(line.ready[0], rule, moment)
        return min(wait_s, left_s) if wait_s > 0 else left_s

    def _held_changed(self, more_bytes: int) -> None:
        self._held_bytes += more_bytes
        self.is_full = len(self._held) >= _MAX_HELD or self._held_bytes >= _MAX_HELD_BYTES

    def _move_soon(self) -> None:
        if self._held and self._is_checked and not self._moving and self._condensing is None:
            self._moving = True
            self._chores.leave(self._move)

    async def _move(self) -> None:
        """Move those that are held to the log `limited`; then that is read."""
        held, now_ms = self._held[:], self._clock.now_ms()

        def work(store: Store) -> bool:
            limited.relocate(store, held, now_ms)
            return limited.is_sparse(store.log(LIMITED), self._copied_seq)

        try:
            self._is_sparse = await self._outbox.when_released(work)
        except OutboxError as exc:
            if not self._failing:
                limited_unkept(exc)
            self._failing = True
            asyncio.get_running_loop().call_later(_RETRY_S, self._chores.leave, self._move)
            return
        self._failing = self._moving = False
        del self._held[: len(held)]
        keys = [LineKey(one.leased.rule, one.high) for one in held]
        self._held_by.subtract(keys)
        self._moved_by.update(keys)
        self._held_changed(-sum([len(one.leased.record.data) for one in held]))
        self._unread = True
        self._move_soon()
        self.more_to_send()

    async def _read_on(self, part: LineToRead) -> None:
        apart = self._resuming.seqs

        def work(store: Store) -> tuple[LinePart, bool]:
            found = limited.read_line(
                store, part.seq, part.until, lambda one: key_of(one) == part.key and one.seq not in apart, part.most
            )
            return found, limited.is_sparse(store.log(LIMITED), self._copied_seq)

        read, self._is_sparse = await self._outbox.when_released(work)
        self._lines.read(part, read.found, read.next_seq)

    async def _begin_condensing(self) -> None:
        """Forget the lines, and copy the log's triggers to its end; they join their lines from there."""
        self._is_sparse = False
        begin, end = await self._outbox.beside(
            lambda store: (store.log(LIMITED).released.cursor, store.log(LIMITED).next_seq)
        )
        if not self._moving and not self._unread:  # nothing was moved there meanwhile
            self._condensing = Condensing(begin, end)
            self._lines.forget()
            self._resuming.forget()
            self._is_known = False

    async def _condense(self, at: Condensing) -> None:
        """Copy a part; after the last one, read the log from the first copy on. What is in flight is not copied."""
        kept, now_ms = self._triggers.seqs_of(LIMITED), self._clock.now_ms()
        left = await self._outbox.when_released(lambda store: limited.condense(store, at, kept, now_ms))
        self._condensing = left
        if left is None:
            await self._outbox.beside(lambda store: store.rewind(LIMITED, at.end))
            self._copied_seq = at.end
            self._unread, self._is_known = True, False
            self._move_soon()
