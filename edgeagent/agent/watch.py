"""What a person who watches is told, live (`/v1/stream`): each change of a trigger, and the figures when they changed.

Nothing is kept for a subscriber. It has a place in the latest changes, which all share, and takes what follows that
place when its connection has room; one that reads too slowly is told that there is a gap. So a subscriber costs the
same however slowly it reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from edgeagent.agent.clock import Clock
from edgeagent.agent.prepared import Prepared
from edgeagent.agent.recent_changes import Change, RecentChanges
from edgeagent.agent.traces import UNSAMPLED, Traces
from edgeagent.ports.watch import StreamQuery, StreamUpdate
from edgeagent.rules.ruleset import RuleSet
from edgeagent.rules.trigger import correlation_id
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import Report, State

# Changes that come within this time are told together.
_GATHER_S: Final = 0.05
# The figures are told no more often than this, except at a change of the link.
_STATS_S: Final = 1.0
# What changes unheard, such as a disk that fails, is looked for this often while somebody subscribes.
_LOOK_S: Final = 5.0
# After the last subscriber went, changes are kept for this long, for one that comes back.
_REMEMBER_S: Final = 300.0
# How much a subscriber takes at a time.
_TAKE_BYTES: Final = 64 << 10
# Numbers begin with the time, so that those of a later process are higher: so many changes a millisecond for all time.
_NUMBERS_PER_MS: Final = 64


class Watch:
    """Owns the subscriptions and the latest changes. Listens to the ledger, the intake and the links.

    Promises each subscriber every change of a trigger that is followed, in order and once, or a gap. While nobody
    subscribes, and for some minutes before that nobody did, it only counts.
    """

    def __init__(
        self,
        agent: str,
        rules: RuleSet,
        clock: Clock,
        stats: Callable[[], dict[str, Any]],
        traces: Traces = UNSAMPLED,
    ) -> None:
        """`stats`: the figures, as `/v1/stats` shows them. `traces`: what reports say of them."""
        self._agent = agent
        self._rules = rules
        self._clock = clock
        self._stats = stats
        self._trace = traces.told
        self._changes = RecentChanges(clock.now_ms() * _NUMBERS_PER_MS)
        self._subscribers: set[Subscriber] = set()
        self._keeps_until: float | None = None  # None: nothing is kept; for ever while somebody subscribes
        self._encoded = b""
        self._stats_number = 0
        self._stats_at = -_STATS_S
        self._telling: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None

    # What happens in the agent.

    def changed(self, life: Life) -> None:
        """Note that a trigger has a new state."""
        if self._keeps():
            self._keep(life.report)
        else:
            self._changes.skip()

    def stored(self, events: Sequence[Prepared]) -> None:
        """Note that events were accepted: their triggers are buffered now."""
        if not self._keeps():
            self._changes.skip()
            return
        at = self._clock.now()
        for event in events:
            record = event.record
            for name in event.rules:
                rule = self._rules.get(name)
                if record is not None and rule is not None and rule.track:
                    correlation = correlation_id(self._agent, event.source, event.event_id, name)
                    self._keep(
                        Report(
                            correlation,
                            event.event_id,
                            event.source,
                            name,
                            State.BUFFERED,
                            at,
                            namespace=rule.namespace,
                            traceparent=self._trace(record, correlation),
                        )
                    )
        self._tell_soon(_GATHER_S)  # events that no rule wants change the figures too

    def link_changed(self) -> None:
        """Note that a link is up, or down: that is told at once."""
        self._stats_at = -_STATS_S
        self._tell_soon(0.0)

    # Who watches.

    def subscribe(self, query: StreamQuery, wake: Callable[[], None]) -> Subscriber:
        """Begin to tell; see `WatchPort`."""
        self._keeps_until = float("inf")
        subscriber = Subscriber(self, query, wake)
        self._subscribers.add(subscriber)
        if self._looking is None:
            self._look()
        return subscriber

    def forget(self, subscriber: Subscriber) -> None:
        """Tell this one nothing more."""
        self._subscribers.discard(subscriber)
        if not self._subscribers:
            self._keeps_until = asyncio.get_running_loop().time() + _REMEMBER_S
            for timer in (self._telling, self._looking):
                if timer is not None:
                    timer.cancel()
            self._telling = self._looking = None

    @property
    def changes(self) -> RecentChanges:
        """The latest changes."""
        return self._changes

    def stats(self) -> tuple[int, bytes]:
        """The figures, encoded, at most a second old; and a number that is another one when they changed."""
        now = asyncio.get_running_loop().time()
        if now - self._stats_at >= _STATS_S:
            self._stats_at = now
            encoded = msgspec.json.encode(self._stats())
            if encoded != self._encoded:
                self._encoded = encoded
                self._stats_number += 1
        return self._stats_number, self._encoded

    def _keeps(self) -> bool:
        if self._keeps_until is None:
            return False
        if not self._subscribers and asyncio.get_running_loop().time() > self._keeps_until:
            self._keeps_until = None
            return False
        return True

    def _keep(self, report: Report) -> None:
        self._changes.add(Change(report.source, msgspec.json.encode(report)))
        self._tell_soon(_GATHER_S)

    def _tell_soon(self, delay_s: float) -> None:
        if not self._subscribers:
            return
        loop = asyncio.get_running_loop()
        if self._telling is not None:
            if self._telling.when() <= loop.time() + delay_s:
                return
            self._telling.cancel()
        self._telling = loop.call_later(delay_s, self._tell)

    def _tell(self) -> None:
        """Wake every subscriber; and once more when the figures may be told again."""
        self._telling = None
        now = asyncio.get_running_loop().time()
        due_s = self._stats_at + _STATS_S - now
        for subscriber in list(self._subscribers):
            subscriber.wake()
        if due_s > 0:  # they are older than what has just happened
            self._tell_soon(due_s)

    def _look(self) -> None:
        self._looking = asyncio.get_running_loop().call_later(_LOOK_S, self._look)
        self._tell_soon(0.0)


class Subscriber:
    """One subscription; see `ports.watch.WatchPlace`. `wake`: is called when there may be something to take."""

    def __init__(self, watch: Watch, query: StreamQuery, wake: Callable[[], None]) -> None:
        self.wake = wake
        self._watch = watch
        self._source = query.source
        self._at = query.after if query.after is not None else watch.changes.newest
        self._told_stats = -1

    def take(self) -> Sequence[StreamUpdate]:
        """What is to be told now; see `WatchPlace`."""
        changes = self._watch.changes
        news: list[StreamUpdate] = []
        if changes.lacks(self._at):
            gap = msgspec.json.encode({"after": self._at, "resumed": changes.before_oldest})
            self._at = changes.before_oldest
            news.append(StreamUpdate("gap", self._at, gap))
        told = changes.after(self._at, self._source, _TAKE_BYTES)
        news += [StreamUpdate("trigger", number, data) for number, data in told.changes]
        self._at = told.up_to
        number, stats = self._watch.stats()
        if number != self._told_stats:
            self._told_stats = number
            news.append(StreamUpdate("stats", self._at, stats))
        return news

    def close(self) -> None:
        """Tell nothing more; see `WatchPlace`."""
        self._watch.forget(self)
