"""Decides about which silent triggers the engine is asked, and when (contract section 5). A state machine without I/O.

A trigger is followed from its first publish until it is final. When nothing was heard of it for `interval_s`, the
engine is asked about it, and again after each further `interval_s`. After as many unanswered questions as make up
`give_up_after` it is given up: its state becomes `unknown`. Time without a connection does not count, because nothing
can be asked then.

When the broker has lost our session, the messages that it kept for us are lost too. Then all triggers are asked about
at once, and the silent ones a few times more, because a dispatcher may come back later than the agent.

Times are seconds of one monotonic clock. The caller must keep how often a trigger was asked about in vain.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from edgeagent.wire.messages import MAX_QUERY_IDS

# Each query makes the engine list workflows: a gateway with 10,000 unfinished ones takes five minutes to ask. If the
# timeout is less than a minute, this many queries may go out in each timeout.
MAX_QUERIES_A_MINUTE: Final = 4
# How many are followed at once: about 5 MB. The rest is taken up when there is room again.
MAX_FOLLOWED: Final = 20_000
# How often all are asked about after a lost session.
_AGAIN_S: Final = (0.0, 5.0, 30.0, 300.0)
# After a connect the broker first delivers what it has kept for us.
_SETTLING_S: Final = 10.0
_MINUTE_S: Final = 60.0


class DueQueries(NamedTuple):
    """What to do now. `ask`: correlation ids for one query. `asks`: how often each was asked about in vain, to be kept.

    `give_up`: those about which nobody answered.
    """

    ask: Sequence[str]
    asks: dict[str, int]
    give_up: Sequence[str]


class _Silence(msgspec.Struct, gc=False):
    """Since when nothing was heard of a trigger, or since when it was asked about; and how often that was in vain."""

    since: float
    asks: int


class QuerySchedule:
    """The triggers that are followed, and how long nothing was heard of each.

    Owns the order of silences and the rate of queries. Promises to follow at most `MAX_FOLLOWED` triggers and to ask at
    most `MAX_QUERIES_A_MINUTE`. Must never give up a trigger that was not asked about often enough.
    """

    def __init__(self, status_timeout_s: float, give_up_after_s: float) -> None:
        """Start with nothing followed. Both arguments are in seconds."""
        self.interval_s = min(status_timeout_s, give_up_after_s)
        self._patience = max(1, math.ceil(give_up_after_s / self.interval_s))
        self._silent: dict[str, _Silence] = {}  # the longest silence first
        self._lost_at = -math.inf
        self._again_at: deque[float] = deque()
        self._at_once: deque[str] = deque()
        self._quiet_until = -math.inf
        self._queries: deque[float] = deque(maxlen=MAX_QUERIES_A_MINUTE)

    def __len__(self) -> int:
        """How many triggers are followed."""
        return len(self._silent)

    @property
    def is_half_empty(self) -> bool:
        """Whether there is room enough to look for others to follow."""
        return 2 * len(self._silent) < MAX_FOLLOWED

    def follow(self, correlation_id: str, now: float, asks: int = 0) -> bool:
        """Follow a trigger that is not final: it was heard of, or is an old one. False: there is no room."""
        if self._silent.pop(correlation_id, None) is None and len(self._silent) >= MAX_FOLLOWED:
            return False
        self._silent[correlation_id] = _Silence(now, asks)
        return True

    def is_followed(self, correlation_id: str) -> bool:
        """Whether this trigger is followed already."""
        return correlation_id in self._silent

    def heard(self, correlation_id: str, now: float) -> bool:
        """Note that a trigger was heard of, unchanged. True if it had been asked about: its count is 0 again."""
        silence = self._silent.pop(correlation_id, None)
        if silence is None:
            return False
        self._silent[correlation_id] = _Silence(now, 0)
        return silence.asks > 0

    def ended(self, correlation_id: str) -> None:
        """Stop following a trigger that is final or given up."""
        self._silent.pop(correlation_id, None)

    def connected(self, now: float, *, session_lost: bool) -> None:
        """Start a connection. What the broker kept for us comes first; if it kept nothing, all are asked about."""
        self._quiet_until = now + min(_SETTLING_S, self.interval_s)
        if session_lost:
            self._lost_at = now
            self._again_at = deque(now + wait_s for wait_s in _AGAIN_S)
            self._at_once.clear()

    def due(self, now: float) -> DueQueries:
        """What to do now, while connected. The triggers to ask about count as asked."""
        self._begin_round(now)
        ask: list[str] = []
        asks: dict[str, int] = {}
        give_up: list[str] = []
        may_ask = now >= self._next_query(now)
        while may_ask and self._at_once and len(ask) < MAX_QUERY_IDS:
            correlation_id = self._at_once.popleft()
            silence = self._silent.get(correlation_id)
            if silence is not None and silence.since <= self._lost_at:
                ask.append(correlation_id)
        if now >= self._quiet_until:
            self._take_silent(now, MAX_QUERY_IDS - len(ask) if may_ask else 0, ask, asks, give_up)
        if ask:
            self._queries.append(now)
        return DueQueries(ask, asks, give_up)

    def next_due(self, now: float) -> float:
        """When `due` will return something if nothing else happens; infinity: never."""
        times = [math.inf]
        if self._at_once:
            times.append(self._next_query(now))
        if self._again_at:
            times.append(self._again_at[0])
        if self._silent:
            first = next(iter(self._silent.values()))
            times.append(max(first.since + self.interval_s, self._quiet_until, self._next_query(now)))
        return min(times)

    def _begin_round(self, now: float) -> None:
        while self._again_at and now >= self._again_at[0]:
            self._again_at.popleft()
            waiting = frozenset(self._at_once)
            for correlation_id, silence in self._silent.items():
                if silence.since > self._lost_at:
                    break
                if correlation_id not in waiting:
                    self._at_once.append(correlation_id)

    def _take_silent(self, now: float, room: int, ask: list[str], asks: dict[str, int], give_up: list[str]) -> None:
        """Take those whose silence has lasted long enough: they are asked about once more, or given up."""
        while self._silent:
            correlation_id, silence = next(iter(self._silent.items()))
            if silence.since + self.interval_s > now:
                return
            if silence.asks >= self._patience:
                if len(give_up) == MAX_QUERY_IDS:
                    return
                del self._silent[correlation_id]
                if correlation_id in ask:  # asked just now, since the session was lost: that answer is waited for
                    self._silent[correlation_id] = _Silence(now, silence.asks)
                else:
                    give_up.append(correlation_id)
            elif room > 0:
                room -= 1
                del self._silent[correlation_id]
                silence.since, silence.asks = now, silence.asks + 1
                self._silent[correlation_id] = silence
                asks[correlation_id] = silence.asks
                if correlation_id not in ask:
                    ask.append(correlation_id)
            else:
                return

    def _next_query(self, now: float) -> float:
        """When the next query may go out."""
        if len(self._queries) < MAX_QUERIES_A_MINUTE:
            return now
        return max(now, self._queries[0] + min(_MINUTE_S, self.interval_s))
