"""The forwarder: leased triggers go to the uplink's broker, and leave the outbox when they are final.

Decisions are the window's (`agent.inflight`); here they meet the outbox, the link and the clock. What the engine
answers comes through `agent.downlink`, which calls `settled`, `again` and `give_up`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import msgspec

from edgeagent.agent import causes, told
from edgeagent.agent.causes import Cause
from edgeagent.agent.chores import Chores
from edgeagent.agent.clock import Clock, Moment
from edgeagent.agent.congestion import FIRST_WINDOW, Pace
from edgeagent.agent.counts import ForwarderCounts, RuleCounts
from edgeagent.agent.endings import Endings
from edgeagent.agent.inflight import Phase, Window
from edgeagent.agent.lives import Lives, Out
from edgeagent.agent.parking import ParkedLane
from edgeagent.agent.poison import Suspicion
from edgeagent.agent.puback import BrokerAnswers
from edgeagent.agent.route import Asked
from edgeagent.agent.supply import Supply
from edgeagent.agent.trouble import Trouble
from edgeagent.agent.uplink import Addressing, age_s
from edgeagent.agent.windows import Windows
from edgeagent.common.elapsed import Instant, is_later
from edgeagent.config.tables import Uplink
from edgeagent.errors import MessageError, StorageFailed
from edgeagent.ledger.ledger import Ledger
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import PARKED, SETTLED, WINDOWS, Leased
from edgeagent.ports.link import Ack, Link, Publication
from edgeagent.rules.firing_limits import FiringLimits
from edgeagent.rules.ruleset import Rule, RuleSet
from edgeagent.rules.trigger import correlation_id

_SUCCESS = 200


class Forwarder:
    """See the module. `run` feeds the window; everything else happens in the link's callbacks."""

    def __init__(
        self,
        addressing: Addressing,
        uplink: Uplink,
        rules: RuleSet,
        outbox: Outbox,
        ledger: Ledger,
        chores: Chores,
        clock: Clock,
        *,
        max_age_s: float,
        max_event_bytes: int,
        park_after: int,
        rule_counts: dict[str, RuleCounts],
        firing_limits: FiringLimits,
    ) -> None:
        self.counts = ForwarderCounts()
        self.trouble = Trouble()
        self._addressing = addressing
        self._rules = rules
        self._outbox = outbox
        self._chores = chores
        self._clock = clock
        self._max_age_s = max_age_s
        self._park_after = park_after
        self._firing_limits = firing_limits
        self._pace = Pace(uplink.max_inflight)
        self._suspicion = Suspicion()
        by_broker = uplink.settle == "broker"
        self._qos = uplink.qos
        self.window: Window[Leased] = Window(
            uplink.max_inflight if by_broker else uplink.max_unanswered,
            wait_for_engine=not by_broker,
            response_timeout_s=uplink.response_timeout,
            random=random.random,
        )
        self.lives = Lives(ledger, rules, clock, chores, ends_published=by_broker)
        self._parked = ParkedLane(outbox)
        self._endings = Endings(
            self.window, outbox, self._parked, self.lives, chores, self.counts, rule_counts, self._pump
        )
        self._answers = BrokerAnswers(
            self.window,
            self._endings,
            self._parked,
            self.lives,
            self.counts,
            trouble=self.trouble,
            route=addressing.route,
            by_broker=by_broker,
        )
        self._link: Link | None = None
        self._wake = asyncio.Event()
        self._supply = Supply(outbox, self._pump_soon)
        self._windows = Windows(
            outbox,
            self._supply,
            rules,
            self.lives,
            chores,
            clock,
            max_event_bytes=max_event_bytes,
            counts=self.counts,
            rule_counts=rule_counts,
        )
        self._window_due_at: float | None = None  # when an open window closes, if nothing comes before
        self._soon: asyncio.Handle | None = None
        self._drained = asyncio.Event()
        self._draining = False
        self._timer: asyncio.TimerHandle | None = None

    def up(self, link: Link) -> None:
        """The uplink is there: send again what was not acknowledged, then the rest."""
        self._link = link
        self._pace.begin(1 if self._suspicion.is_raised else FIRST_WINDOW)
        self.window.reconnected(self._now(), link.carried)
        self._pump()

    def down(self) -> None:
        """The uplink is gone; nothing is sent until `up`."""
        if self._link is not None and (suspect := self._suspicion.ended(self.window.out())) is not None:
            self._let_rest(suspect)
        self._link = None
        self._addressing.route.disconnected(self._now())
        self.window.disconnected(self._now())
        self._set_timer()
        self._check_drained()

    def room(self) -> None:
        """The link takes more."""
        self._pump()

    def acknowledged(self, acks: Sequence[Ack]) -> None:
        """The broker answered publications."""
        now = self._now()
        answered = self._answers.take(acks, now)
        if answered:
            self._pace.acknowledged(answered, now)
            self._suspicion.acknowledged()
        self._pump()
        self._check_drained()

    def answered(self, code: int, rule: str, namespace: str, *, rehearsal: bool = False) -> None:
        """The engine answered a trigger of this rule: that may wake others, which waited for what it shows to be over.

        `rehearsal`: it was a dry-run dispatcher, whose answers do not count.
        """
        if not rehearsal:
            self.trouble.over()
        now = self._now()
        woken = sum(
            [self.window.heard(cause, now) for cause in causes.disproved_by(code, namespace, rule, rehearsal=rehearsal)]
        )
        if code == _SUCCESS and not rehearsal:
            self._parked.heard(now)
            woken += self._parked.wanted(now)
        if woken:
            self._pump_soon()

    def settled(self, entry: Out) -> None:
        """The engine has it: it leaves the outbox."""
        self._endings.settle([entry])
        self._pump()

    def again(self, entry: Out, at_least_s: float, cause: Cause) -> None:
        """The engine asks for another try, for this cause."""
        if entry.phase is Phase.ENDING:
            return
        self.window.rest(entry, self._now(), at_least_s, cause)
        self._set_timer()

    def redirected(self, entry: Out | None, wanted: str) -> Asked:
        """The engine asks for this trigger on another topic: if we go there, it is sent again at once."""
        route = self._addressing.route
        asked = route.asked(wanted, entry.topic if entry is not None else "", self._now())
        if asked is Asked.MOVED:
            told.topic_learned(route.topic)
        if entry is not None and asked in {Asked.MOVED, Asked.LATE}:
            self.window.resend(entry)
            self._pump_soon()
        return asked

    def give_up(self, entry: Out, reason: str, code: int) -> None:
        """Move it to the dead letters; it stays in the window until that is synced."""
        self._endings.give_up(entry, reason, code)

    async def run(self) -> None:
        """Read what is not in memory, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                if self._may_add and self._supply.unread:
                    await self._supply.read()
                    self._pump()
                await self._feed_parked()
            except StorageFailed as exc:
                self._supply.unreadable(exc)

    async def drain(self) -> None:
        """Send nothing new; return when the broker has acknowledged what was sent, or the connection is gone."""
        self._draining = True
        self._check_drained()
        await self._drained.wait()

    @property
    def _may_add(self) -> bool:
        return self._link is not None and not self._draining and self.window.vacancy > self._windows.closing

    async def _feed_parked(self) -> None:
        """Let the next parked trigger go, if it is time."""
        if self._link is None or self._draining or not self._parked.wanted(self._now()):
            return
        leased = await self._parked.next()
        entry = self._add(leased, self._rules.get(leased.rule)) if leased is not None else None
        if entry is None:
            self._parked.wait(self._now())
        else:
            self._parked.sent(entry)
            if entry.item.is_doomed and entry.item.moved is not None:
                self.give_up(entry, entry.item.moved.reason, entry.item.moved.code)
        self._pump()

    def _take(self, leased: Leased, moment: Moment) -> None:
        """Take up a leased trigger: on its own, or into a window of its rule."""
        rule = self._rules.get(leased.rule)
        window = rule.window if rule is not None else None
        if window is not None and rule is not None and not leased.record.events:
            left_s = self._left_s(leased, rule, moment)
            if left_s > 0:
                self._windows.take(leased, rule, window, moment)
                return
        if leased.log == WINDOWS:
            self._windows.resumed(leased)
        self._add(leased, rule)  # with `window`: it expires, alone

    def _add(self, leased: Leased, rule: Rule | None) -> Out | None:
        """Take a leased trigger into the window; None if the very same one is out already."""
        record, log = leased.record, leased.log
        entry = self.window.add(
            correlation_id(record.agent, record.source, record.id, leased.rule),
            leased,
            lane=f"{leased.rule}\0{record.source}" if rule is not None and rule.strict and log != PARKED else None,
            known=(leased.moved is None or log == WINDOWS) and leased.seq >= self._outbox.reopened_seq[log],
            patience=1 if log == PARKED else self._park_after,
        )
        if entry is None:
            # The same trigger twice (a replay of one that is out): one workflow, so one of the two is settled by it.
            self._outbox.release([leased], SETTLED)
        return entry

    def _pump_soon(self) -> None:
        """Look for what is due in the next turn of the loop: who was just answered goes on first."""
        if self._soon is None and self._link is not None:
            self._soon = asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """Take up what is leased, send what is due, and see when to look again."""
        self._soon = None
        link = self._link
        if link is not None:
            now = self._now()
            moment = self._clock.moment()
            publications: list[Publication] = []
            self._fill(moment)
            while self._render(publications, link, now, moment):
                self._fill(moment)  # what ended without being sent left its place
            if publications:
                link.publish(publications)
                self._pace.sent(self.window.sent, now)
                if not self._qos:
                    # The link tells in the next turn what it could not write, which is before this.
                    asyncio.get_running_loop().call_soon(self._written, link, publications)
            if (self._may_add and self._supply.unread) or (not self._draining and self._parked.wanted(now)):
                self._wake.set()
        for entry in self.window.tired():
            self._endings.tire(entry)
        self._set_timer()

    def _fill(self, moment: Moment) -> None:
        """Take up what is leased, as far as there are places."""
        leased: Leased | None = None
        while self._may_add and (taken := self._supply.take(self.window.vacancy - self._windows.closing)):
            for leased in taken:
                self._take(leased, moment)
        if leased is not None:
            self._windows.passed(leased)
        self._window_due_at = None
        if self._may_add and not self._supply.unread:
            left_s = self._windows.caught_up(moment)
            self._window_due_at = self._now() + left_s if left_s is not None else None

    def _render(self, publications: list[Publication], link: Link, now: float, moment: Moment) -> int:
        """Add what is due to the publications; returns how many triggers ended instead."""
        room = min(link.room - len(publications), self._pace.window - self.window.sent)
        due = self.window.due(now, room)
        before = len(publications)
        for entry in due:
            publication = self._publication(entry, moment)
            if publication is not None:
                publications.append(publication)
                if entry.tries > 1:
                    self.counts.republished += 1
        return len(due) - (len(publications) - before)

    def _written(self, link: Link, publications: Sequence[Publication]) -> None:
        """At QoS 0 the broker says nothing: what is written is published, if the connection is still there."""
        if link is self._link:
            self.acknowledged([Ack(publication.token) for publication in publications])

    def _publication(self, entry: Out, moment: Moment) -> Publication | None:
        """The trigger as a publication; None when it ends here instead."""
        leased = entry.item
        rule = self._rules.get(leased.rule)
        if rule is None:
            self.give_up(entry, "rule removed", 0)
            return None
        left_s = self._left_s(leased, rule, moment)
        if left_s <= 0:
            self._endings.expire(entry)
            return None
        if rule.coalesce and entry.tries == 1 and (newer := self._newer(leased)):
            self._endings.merge(entry, newer)
            return None
        entry.topic = self._addressing.route.topic
        try:
            return self._addressing.publication(
                entry.token, rule, leased, entry.correlation_id, entry.attempt, left_s, self._qos
            )
        except MessageError as exc:
            self.give_up(entry, str(exc), 0)
            return None

    def _left_s(self, leased: Leased, rule: Rule, moment: Moment) -> float:
        """How long it may still be sent."""
        return min(rule.ttl_s, self._max_age_s) - age_s(leased, self._clock.boot, moment)

    def _newer(self, leased: Leased) -> str:
        """The correlation id of the trigger that stands for this one, which was never published; empty if none does."""
        record = leased.record
        newest = self._firing_limits.newest(leased.rule, record.source)
        if newest is None or newest.event_id == record.id or leased.moved is not None:
            return ""
        accepted = Instant(record.accepted_ms, record.uptime_ms, leased.boot)
        if not is_later(newest.at, accepted, self._clock.boot):
            return ""
        return correlation_id(record.agent, record.source, newest.event_id, leased.rule)

    def _let_rest(self, suspect: Out) -> None:
        self._parked.suspected(suspect)
        delay_s = self.window.rest(suspect, self._now())
        told.suspected(suspect, delay_s)

    def _check_drained(self) -> None:
        if self._draining and (self._link is None or not self.window.sent):
            self._drained.set()

    def stats(self) -> dict[str, Any]:
        """What is counted, and how things stand, ready for JSON."""
        topic, out = self._addressing.route.topic, len(self.window)
        trouble = {"trouble": self.trouble.what, "remedy": self.trouble.remedy}
        return {**msgspec.to_builtins(self.counts), "in_flight": out, "trigger_topic": topic, **trouble}

    def _set_timer(self) -> None:
        deadlines = (self.window.next_deadline(), self._parked.next_deadline(), self._window_due_at)
        deadline = None if self._link is None else min((at for at in deadlines if at is not None), default=None)
        if self._timer is not None:
            if self._timer.when() == deadline:
                return
            self._timer.cancel()
        self._timer = None if deadline is None else asyncio.get_running_loop().call_at(deadline, self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        self._pump()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
