"""The triggers in flight: what each waits for, and what to do next. A state machine without I/O.

A trigger is added when it has been leased. It is `ready` until it is sent, `sent` until the broker acknowledges it,
`waiting` until the engine answers (`settle = "engine"` only), `resting` until it is tried again, and `ending` while the
caller moves it elsewhere. Each method takes the time and returns what the caller must do; times are seconds of one
monotonic clock.

Invariants
* At most `limit` triggers are in flight; the caller takes up no more than `vacancy`.
* Triggers are first sent in the order of `add`. A trigger that is tried again does not hold up others, except those of
  the same rule and source when the rule's order is strict.
* The response timeout runs only while connected.
* A resting trigger is tried when its own wait is over, when a success shows that its cause is gone, or when it is the
  one member of its cause's group that is tried while the others wait (`agent.resting`). That last kind of try does not
  count against its patience, because nothing suggested that it would succeed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from heapq import heappop, heappush
from typing import Generic, TypeVar

import msgspec

from edgeagent.agent.causes import SILENT, Cause
from edgeagent.agent.resting import Resting
from edgeagent.common.backoff import full_jitter
from edgeagent.outbox.records import PARKED, Leased
from edgeagent.rules.ruleset import Rule

T = TypeVar("T")

# The wait between tries of one trigger: 2 to 4 s at first, then longer, up to an hour (contract section 3).
_RETRY_BASE_S = 2.0
_RETRY_CAP_S = 3600.0
# Of the triggers that rest for one cause, one is tried at least this often.
PROBE_S = 60.0
# A trigger that failed although a success woke it is not woken again at once: after 4 s, then longer, up to this.
_WAKE_CAP_S = 600.0


class FlightPhase(Enum):
    """What a trigger in flight waits for."""

    READY = "ready"
    SENT = "sent"
    WAITING = "waiting"
    RESTING = "resting"
    ENDING = "ending"


# Module names: looking a member up in its class takes 0.1 us on Python 3.11 (`benchmarks path`, CPU an event).
_READY, _SENT, _WAITING, _RESTING, _ENDING = FlightPhase


class InFlight(msgspec.Struct, Generic[T], eq=False, gc=False):
    """One trigger in flight. `item` belongs to the caller. `attempt` is 0 when earlier tries are not known.

    `left_s`: what was left of the timeout when the connection ended. `free`: how many of the `tries` do not count.
    `wakes`: how often a success woke it. `due`, `cause`, `wake_at` as in `resting.Sleeper`. `probing`: it is tried for
    its group, while its own time stays `due`. `sent_at`: when it last became due. `topic`: set by the caller, the topic
    on which it was last sent. `said`: set by the caller, in what words it was put off last.
    """

    token: int
    correlation_id: str
    item: T
    lane: str | None
    attempt: int
    patience: int
    tries: int = 0
    phase: FlightPhase = _READY
    deadline: float = 0.0
    left_s: float = 0.0
    free: int = 0
    wakes: int = 0
    cause: Cause | None = None
    due: float = 0.0
    wake_at: float = 0.0
    probing: bool = False
    sent_at: float = 0.0
    topic: str = ""
    said: str = ""


TriggerInFlight = InFlight[Leased]


def lane_of(leased: Leased, rule: Rule) -> str | None:
    """The key of a trigger's strict order; None if it has none."""
    return f"{leased.rule}\0{leased.record.source}" if rule.strict and leased.log != PARKED else None


class InFlightSet(Generic[T]):
    """The set of triggers in flight, and the only code that decides when each is tried again (`rest`).

    Owns the phase, tries and timers of each. Promises the invariants of the module. Must never carry out what it
    decides: it returns what is due, and the caller publishes, parks and releases.
    """

    def __init__(
        self, limit: int, *, wait_for_engine: bool, response_timeout_s: float, random: Callable[[], float]
    ) -> None:
        """Start with nothing in flight. `random` gives fractions from 0 to 1 for the jitter."""
        self._limit = limit
        self._wait_for_engine = wait_for_engine
        self._response_timeout_s = response_timeout_s
        self._random = random
        self._by_token: dict[int, InFlight[T]] = {}
        self._by_correlation: dict[str, InFlight[T]] = {}
        self._ready: deque[InFlight[T]] = deque()
        self._timers: list[tuple[float, int, int]] = []
        self._lanes: dict[str, deque[InFlight[T]]] = {}
        self._tired: list[InFlight[T]] = []
        self._resting: Resting[InFlight[T]] = Resting()
        self._next_token = 1
        self._timer_number = 0
        self.connected = False
        self.sent = 0  # how many wait for the broker's acknowledgement

    def __len__(self) -> int:
        """How many are in flight."""
        return len(self._by_token)

    def __iter__(self) -> Iterator[InFlight[T]]:
        return iter(self._by_token.values())

    @property
    def vacancy(self) -> int:
        """How many more may be added."""
        return self._limit - len(self._by_token)

    def find(self, correlation_id: str) -> InFlight[T] | None:
        """The trigger with this correlation id, if it is in flight."""
        return self._by_correlation.get(correlation_id)

    def goes_behind(self, entry: InFlight[T]) -> InFlight[T] | None:
        """The trigger that goes before this one because their order is strict; None if none does."""
        first = self._lanes[entry.lane][0] if entry.lane is not None and entry.lane in self._lanes else entry
        return first if first is not entry else None

    def is_lane_free(self, lane: str) -> bool:
        """Whether no trigger of this strict order is in flight."""
        return lane not in self._lanes

    def add(self, correlation_id: str, item: T, *, lane: str | None, known: bool, patience: int) -> InFlight[T] | None:
        """Take up a trigger, ready to be sent; returns None if this very trigger is in flight already.

        `lane`: the key of its strict order, None for no order. `known`: it was never sent before this process started.
        `patience`: after this many tries it is `tired` instead of resting.
        """
        if correlation_id in self._by_correlation:
            return None
        token = self._next_token
        entry = InFlight(token, correlation_id, item, lane, 1 if known else 0, patience)
        self._next_token = token + 1
        self._by_token[token] = self._by_correlation[correlation_id] = entry
        if lane is not None:
            self._lanes.setdefault(lane, deque()).append(entry)
        self._ready.append(entry)
        return entry

    def due(self, now: float, room: int) -> list[InFlight[T]]:
        """Return what to send now, at most `room`, marked as `sent`; a rest or timeout that is over makes it due."""
        if self._timers:
            self._expire(now)
        if self._resting:
            self._probe(now)
        result: list[InFlight[T]] = []
        held: list[InFlight[T]] = []
        ready, by_token = self._ready, self._by_token
        while room > 0 and ready:
            entry = ready.popleft()
            if entry.phase is not _READY or entry.token not in by_token:
                continue
            if entry.lane is not None and self._lanes[entry.lane][0] is not entry:
                held.append(entry)
                continue
            entry.phase = _SENT
            entry.sent_at = now
            if entry.tries and entry.attempt:
                entry.attempt += 1
            entry.tries += 1
            result.append(entry)
            room -= 1
        self.sent += len(result)
        ready.extendleft(reversed(held))
        return result

    def acknowledged(self, entries: Iterable[InFlight[T]], now: float) -> list[InFlight[T]]:
        """The broker took these. Returns those that waited for that; with settle = "broker", `remove` them then."""
        waited = [entry for entry in entries if entry.phase is _SENT]
        if self._wait_for_engine:
            for entry in waited:
                self._enter(entry, _WAITING)
                self._set_timer(entry, now + self._response_timeout_s)
        return waited

    def answered_after(self, entry: InFlight[T], now: float) -> float | None:
        """The seconds since it was sent, for a trigger whose answer has just come; None if it waits for none."""
        return now - entry.sent_at if entry.phase in {_SENT, _WAITING} else None

    def out(self) -> list[InFlight[T]]:
        """Those that wait for the broker's acknowledgement."""
        return [entry for entry in self._by_token.values() if entry.phase is _SENT]

    @property
    def unanswered(self) -> int:
        """How many wait for the engine's answer."""
        return sum([entry.phase is _WAITING for entry in self._by_token.values()])

    def by_token(self, token: int) -> InFlight[T] | None:
        """The trigger whose publication has this token."""
        return self._by_token.get(token)

    def rest(self, entry: InFlight[T], now: float, at_least_s: float = 0.0, cause: Cause | None = None) -> float:
        """Let a trigger rest, at least `at_least_s` (an hour at most counts); returns the seconds until its next try.

        `cause`: what it waits for; None: only for its own time.
        """
        fraction = 0.5 + self._random() / 2  # never at once: half of the wait is certain, the other half is spread
        at_least_s = min(at_least_s, _RETRY_CAP_S)
        if entry.probing and entry.due > now:
            entry.free += 1
            delay = max(at_least_s, entry.due - now)
        else:
            delay = max(
                at_least_s,
                full_jitter(entry.tries - entry.free, fraction, base_s=_RETRY_BASE_S, cap_s=_RETRY_CAP_S),
            )
            if entry.tries - entry.free >= entry.patience:
                self._enter(entry, _ENDING)
                self._tired.append(entry)
                return delay
        self._enter(entry, _RESTING)
        entry.probing, entry.cause = False, cause
        entry.wake_at = now + min(_RETRY_BASE_S * 2.0**entry.wakes, _WAKE_CAP_S) if entry.wakes else now
        entry.due = now + delay
        self._set_timer(entry, entry.due)
        self._resting.join(entry, now + max(at_least_s, PROBE_S * fraction))
        return delay

    def resend(self, entry: InFlight[T]) -> None:
        """Send it again at once, in its old place: its last try went where nobody could take it, and does not count."""
        if entry.phase in {_READY, _ENDING}:
            return
        entry.free += 1
        self._enter(entry, _READY)
        place = next((at for at, other in enumerate(self._ready) if other.token > entry.token), len(self._ready))
        self._ready.insert(place, entry)

    def heard(self, cause: Cause, now: float, successes: int = 1) -> int:
        """Make triggers ready that rest for a cause which `successes` disproved. Returns how many."""
        if not self._resting:
            return 0
        woken = list(self._resting.heard(cause, now, successes))
        for entry in woken:
            entry.wakes += 1
            self._enter(entry, _READY)
        self._ready.extend(woken)
        return len(woken)

    def tired(self) -> list[InFlight[T]]:
        """Those that used up their patience, each returned once; they are `ending`."""
        tired, self._tired = self._tired, []
        return tired

    def wake(self, entry: InFlight[T], now: float) -> None:
        """Let a trigger rest after all, because it could not be moved; after its next try it is tired again."""
        entry.patience = entry.tries - entry.free + 1
        self.rest(entry, now)

    def ending(self, entry: InFlight[T]) -> None:
        """Mark a trigger that the caller is moving, which takes time: it stays as it is until `remove` or `rest`."""
        self._enter(entry, _ENDING)

    def remove(self, entries: Iterable[InFlight[T]]) -> None:
        """Remove triggers that are final, and free the next ones of their lanes. Removing one again is harmless."""
        by_token, by_correlation, sent = self._by_token, self._by_correlation, 0
        for entry in entries:  # one loop without calls: `benchmarks path`, CPU an event
            if by_token.pop(entry.token, None) is None:
                continue
            if entry.phase is _SENT:
                sent += 1
            elif entry.phase is _RESTING:
                self._resting.leave(entry)
            entry.phase = _ENDING
            del by_correlation[entry.correlation_id]
            if entry.lane is not None:
                self._leave_lane(entry, entry.lane)
        self.sent -= sent

    def _leave_lane(self, entry: InFlight[T], name: str) -> None:
        lane = self._lanes[name]
        lane.remove(entry)
        if not lane:
            del self._lanes[name]

    def disconnected(self, now: float) -> None:
        """The connection ended: what was sent and not acknowledged is ready again, in order; timeouts stand still."""
        if not self.connected:
            return
        self.connected = False
        again = self.out()
        for entry in again:
            self._enter(entry, _READY)
        self._ready.extendleft(reversed(again))
        for entry in self._by_token.values():
            if entry.phase is _WAITING:
                entry.left_s = max(entry.deadline - now, 0.0)

    def reconnected(self, now: float, carried: Iterable[int] = ()) -> None:
        """A new connection: timeouts go on. `carried`: tokens whose first publication is still being completed."""
        if self.connected:
            return
        self.connected = True
        for token in carried:
            entry = self._by_token.get(token)
            if entry is not None and entry.phase is _READY:
                self._enter(entry, _SENT)
        for entry in self._by_token.values():
            if entry.phase is _WAITING:
                self._set_timer(entry, now + entry.left_s)

    def next_deadline(self) -> float | None:
        """When `due` will return something even if nothing happens; None: never."""
        timer, probe = self._next_timer(), self._resting.next_probe()
        return timer if probe is None or (timer is not None and timer <= probe) else probe

    def _next_timer(self) -> float | None:
        while self._timers:
            deadline, _, token = self._timers[0]
            entry = self._by_token.get(token)
            if entry is not None and self._timed(entry, deadline):
                return deadline
            heappop(self._timers)
        return None

    def _enter(self, entry: InFlight[T], phase: FlightPhase) -> None:
        self.sent += (phase is _SENT) - (entry.phase is _SENT)
        if entry.phase is _RESTING:
            self._resting.leave(entry)
        entry.phase = phase

    def _set_timer(self, entry: InFlight[T], deadline: float) -> None:
        entry.deadline = deadline
        self._timer_number += 1
        heappush(self._timers, (deadline, self._timer_number, entry.token))

    def _timed(self, entry: InFlight[T], deadline: float) -> bool:
        """Whether a timer is still valid: it is the entry's last one, and its clock runs."""
        if entry.deadline != deadline:
            return False
        return entry.phase is _RESTING or (entry.phase is _WAITING and self.connected)

    def _expire(self, now: float) -> None:
        while (deadline := self._next_timer()) is not None and deadline <= now:
            _, _, token = heappop(self._timers)
            entry = self._by_token[token]
            if entry.phase is _WAITING:
                self.rest(entry, now, cause=SILENT)
            else:
                self._enter(entry, _READY)
                self._ready.append(entry)

    def _probe(self, now: float) -> None:
        for entry in self._resting.probes(now, PROBE_S):
            entry.probing = True
            self._enter(entry, _READY)
            self._ready.append(entry)
