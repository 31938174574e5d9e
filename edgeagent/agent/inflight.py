"""Which triggers are in flight, what each waits for, and what to do next. A state machine without I/O.

A trigger is added when it was leased. It is `ready` until it is sent, `sent` until the broker acknowledges it,
`waiting` until the engine answers (`settle = "engine"` only), `resting` until it is tried again, `ending` while the
caller puts it away. Each method takes the time and returns what the caller must do; times are seconds of one
monotonic clock.

Invariants
* At most `limit` triggers are in flight; the caller takes up no more than `vacancy`.
* First sends leave in the order of `add`; a trigger that is tried again does not hold the others back, except those
  of the same rule and source when the rule's order is strict.
* The response time-out runs only while connected.
* One that rests is tried when its own wait is over, when a success shows that its cause is gone, or when it is the
  one of its cause's group that is tried while the others wait (`agent.resting`). That last try is no loss of patience:
  nothing spoke for it.
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
from edgeagent.outbox.records import Leased

T = TypeVar("T")

# Between tries of one trigger: about 2 s at first, then longer, up to an hour (contract section 3).
_RETRY_BASE_S = 2.0
_RETRY_CAP_S = 3600.0
# Of those that rest for one cause somebody is tried at least this often.
PROBE_S = 60.0
# Who failed in spite of the success that woke it is not woken again at once: after 4 s, then longer, up to this.
_WAKE_CAP_S = 600.0


class FlightPhase(Enum):
    """What a trigger in flight waits for."""

    READY = "ready"
    SENT = "sent"
    WAITING = "waiting"
    RESTING = "resting"
    ENDING = "ending"


class InFlight(msgspec.Struct, Generic[T], eq=False, gc=False):
    """One trigger in flight. `item` is the caller's. `attempt` is 0 when earlier tries are not known.

    `free`: how many of the `tries` do not count. `wakes`: how often a success woke it. `due`, `cause`, `wake_at` as in
    `resting.Sleeper`. `probing`: it is tried for its group; its own time is `due` all the same. `topic`: the caller's,
    where it was sent last.
    """

    token: int
    correlation_id: str
    item: T
    lane: str | None
    attempt: int
    patience: int
    tries: int = 0
    phase: FlightPhase = FlightPhase.READY
    deadline: float = 0.0
    free: int = 0
    wakes: int = 0
    cause: Cause | None = None
    due: float = 0.0
    wake_at: float = 0.0
    probing: bool = False
    topic: str = ""


TriggerInFlight = InFlight[Leased]


class InFlightSet(Generic[T]):
    """The set of what is in flight, and the one place that decides when each is tried again (`rest`).

    Owns each one's phase, tries and timers. Promises the invariants of the module. Must never do what it decides: it
    returns what is due, and the caller publishes, parks and releases.
    """

    def __init__(
        self, limit: int, *, wait_for_engine: bool, response_timeout_s: float, random: Callable[[], float]
    ) -> None:
        """Nothing is in flight. `random` gives the jitter's fractions, 0 to 1."""
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

    def add(self, correlation_id: str, item: T, *, lane: str | None, known: bool, patience: int) -> InFlight[T] | None:
        """Take up a trigger, ready to be sent; None when the very same one is in flight already.

        `lane`: what its strict order is kept by, None for none. `known`: it was never sent before this process.
        `patience`: after so many tries it is `tired` instead of resting.
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
        """What to send now, at most `room`: they are `sent` from here on. Whose rest or time-out is over is ready."""
        if self._timers:
            self._expire(now)
        if self._resting:
            self._probe(now)
        result: list[InFlight[T]] = []
        held: list[InFlight[T]] = []
        ready, by_token, sent = self._ready, self._by_token, FlightPhase.SENT
        while room > 0 and ready:
            entry = ready.popleft()
            if entry.phase is not FlightPhase.READY or entry.token not in by_token:
                continue
            if entry.lane is not None and self._lanes[entry.lane][0] is not entry:
                held.append(entry)
                continue
            entry.phase = sent
            if entry.tries and entry.attempt:
                entry.attempt += 1
            entry.tries += 1
            result.append(entry)
            room -= 1
        self.sent += len(result)
        ready.extendleft(reversed(held))
        return result

    def acknowledged(self, entry: InFlight[T], now: float) -> bool:
        """The broker took it; False if it was not waited for. With settle = "broker" it is final: `remove` it."""
        if entry.phase is not FlightPhase.SENT:
            return False
        if self._wait_for_engine:
            self._enter(entry, FlightPhase.WAITING)
            self._set_timer(entry, now + self._response_timeout_s)
        return True

    def out(self) -> list[InFlight[T]]:
        """Those that wait for the broker's acknowledgement."""
        return [entry for entry in self._by_token.values() if entry.phase is FlightPhase.SENT]

    def by_token(self, token: int) -> InFlight[T] | None:
        """The trigger of a publication."""
        return self._by_token.get(token)

    def rest(self, entry: InFlight[T], now: float, at_least_s: float = 0.0, cause: Cause | None = None) -> float:
        """Try it again later, at least after `at_least_s` (an hour at most counts); returns after how many seconds.

        `cause`: what it waits for; None: for its own time only.
        """
        fraction = 0.5 + self._random() / 2  # never at once: half of the wait is certain, the other half spreads
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
                self._enter(entry, FlightPhase.ENDING)
                self._tired.append(entry)
                return delay
        self._enter(entry, FlightPhase.RESTING)
        entry.probing, entry.cause = False, cause
        entry.wake_at = now + min(_RETRY_BASE_S * 2.0**entry.wakes, _WAKE_CAP_S) if entry.wakes else now
        entry.due = now + delay
        self._set_timer(entry, entry.due)
        self._resting.join(entry, now + max(at_least_s, PROBE_S * fraction))
        return delay

    def resend(self, entry: InFlight[T]) -> None:
        """Its last try went where it cannot be taken, and does not count: send it again at once, in its old place."""
        if entry.phase in {FlightPhase.READY, FlightPhase.ENDING}:
            return
        entry.free += 1
        self._enter(entry, FlightPhase.READY)
        place = next((at for at, other in enumerate(self._ready) if other.token > entry.token), len(self._ready))
        self._ready.insert(place, entry)

    def heard(self, cause: Cause, now: float, successes: int = 1) -> int:
        """So many successes disproved a cause: ready some of those that rest for it. Returns how many."""
        if not self._resting:
            return 0
        woken = list(self._resting.heard(cause, now, successes))
        for entry in woken:
            entry.wakes += 1
            self._enter(entry, FlightPhase.READY)
        self._ready.extend(woken)
        return len(woken)

    def tired(self) -> list[InFlight[T]]:
        """Those that were tried as often as their patience goes, each once; they are `ending`."""
        tired, self._tired = self._tired, []
        return tired

    def wake(self, entry: InFlight[T], now: float) -> None:
        """It could not be put away: let it rest after all, and tire again after its next try."""
        entry.patience = entry.tries - entry.free + 1
        self.rest(entry, now)

    def ending(self, entry: InFlight[T]) -> None:
        """The caller is putting it away, which takes time: nothing else happens to it until `remove` or `rest`."""
        self._enter(entry, FlightPhase.ENDING)

    def remove(self, entry: InFlight[T]) -> None:
        """It is final: let the next one of its lane go. Again is harmless."""
        if self._by_token.pop(entry.token, None) is None:
            return
        self._enter(entry, FlightPhase.ENDING)
        del self._by_correlation[entry.correlation_id]
        if entry.lane is not None:
            lane = self._lanes[entry.lane]
            lane.remove(entry)
            if not lane:
                del self._lanes[entry.lane]

    def disconnected(self, now: float) -> None:
        """The connection ended: what was sent and not acknowledged is ready again, in order; time-outs stand still."""
        if not self.connected:
            return
        self.connected = False
        again = self.out()
        for entry in again:
            self._enter(entry, FlightPhase.READY)
        self._ready.extendleft(reversed(again))
        for entry in self._by_token.values():
            if entry.phase is FlightPhase.WAITING:
                entry.deadline = max(entry.deadline - now, 0.0)  # what is left of it, until `reconnected`

    def reconnected(self, now: float, carried: Iterable[int] = ()) -> None:
        """The connection is there: time-outs run on. `carried`: tokens whose first publication still goes on."""
        if self.connected:
            return
        self.connected = True
        for token in carried:
            entry = self._by_token.get(token)
            if entry is not None and entry.phase is FlightPhase.READY:
                self._enter(entry, FlightPhase.SENT)
        for entry in self._by_token.values():
            if entry.phase is FlightPhase.WAITING:
                self._set_timer(entry, now + entry.deadline)

    def next_deadline(self) -> float | None:
        """When `due` has something new to say without anything else happening; None: never."""
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
        self.sent += (phase is FlightPhase.SENT) - (entry.phase is FlightPhase.SENT)
        if entry.phase is FlightPhase.RESTING:
            self._resting.leave(entry)
        entry.phase = phase

    def _set_timer(self, entry: InFlight[T], deadline: float) -> None:
        entry.deadline = deadline
        self._timer_number += 1
        heappush(self._timers, (deadline, self._timer_number, entry.token))

    def _timed(self, entry: InFlight[T], deadline: float) -> bool:
        """Whether a timer still means something: it is the entry's last one, and its clock runs."""
        if entry.deadline != deadline:
            return False
        return entry.phase is FlightPhase.RESTING or (entry.phase is FlightPhase.WAITING and self.connected)

    def _expire(self, now: float) -> None:
        while (deadline := self._next_timer()) is not None and deadline <= now:
            _, _, token = heappop(self._timers)
            entry = self._by_token[token]
            if entry.phase is FlightPhase.WAITING:
                self.rest(entry, now, cause=SILENT)
            else:
                self._enter(entry, FlightPhase.READY)
                self._ready.append(entry)

    def _probe(self, now: float) -> None:
        for entry in self._resting.probes(now, PROBE_S):
            entry.probing = True
            self._enter(entry, FlightPhase.READY)
            self._ready.append(entry)
