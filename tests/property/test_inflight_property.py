"""The invariants of the set in flight, over any sequence of what may happen to it."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edgeagent.agent.causes import SILENT, UNHEARD, Cause, CauseKind
from edgeagent.agent.inflight import PROBE_S, FlightPhase, InFlight, InFlightSet
from edgeagent.agent.resting import WOKEN_BY_SUCCESS
from tests.profiles import examples

LIMIT = 6
TIMEOUT_S = 60.0
SLACK_S = 1e-6
CAUSES = [UNHEARD, SILENT, Cause(CauseKind.FORBIDDEN, "plant"), Cause(CauseKind.FORBIDDEN, "mill")]


class InFlightLife(RuleBasedStateMachine):
    """What the sender and the answers do to the set, in any order; `item` is the place in the order of `add`."""

    wait_for_engine = True

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.in_flight: InFlightSet[int] = InFlightSet(
            LIMIT, wait_for_engine=self.wait_for_engine, response_timeout_s=TIMEOUT_S, random=lambda: 0.5
        )
        self.entries: dict[int, InFlight[int]] = {}
        self.first_sends: list[InFlight[int]] = []
        self.waited_s: dict[int, float] = {}
        self.seen_at: dict[Cause, float] = {}  # when a cause was met last, and how long nobody is to be tried then
        self.pause_s: dict[Cause, float] = {}
        self.added = 0

    @precondition(lambda self: self.in_flight.vacancy > 0)
    @rule(lane=st.sampled_from([None, None, "a", "b"]), known=st.booleans())
    def add(self, lane: str | None, known: bool) -> None:
        """Take up a trigger that was leased."""
        self.added += 1
        entry = self.in_flight.add(f"c{self.added}", self.added, lane=lane, known=known, patience=1000)
        assert entry is not None
        assert self.in_flight.find(f"c{self.added}") is entry
        assert self.in_flight.by_token(entry.token) is entry
        self.entries[entry.token] = entry
        assert self.in_flight.add(f"c{self.added}", 0, lane=lane, known=known, patience=1000) is None

    @precondition(lambda self: self.in_flight.connected)
    @rule(room=st.integers(0, LIMIT + 1))
    def due(self, room: int) -> None:
        """Send what is due: strict lanes hold their order, nothing ready is left while there is room."""
        resting = {token: entry.due for token, entry in self.entries.items() if entry.phase is FlightPhase.RESTING}
        sent = self.in_flight.due(self.now, room)
        self.see_who_was_tried_early(resting)
        assert len(sent) <= room
        for entry in sent:
            if entry.lane is not None:
                older = [other for other in self.entries.values() if other.lane == entry.lane]
                assert entry.item == min(other.item for other in older), "a strict lane has one in flight, the oldest"
            assert entry.attempt in {0, entry.tries}
            if entry.tries == 1:
                self.first_sends.append(entry)
        if len(sent) < room:
            for entry in self.entries.values():
                if entry.phase is FlightPhase.READY:
                    assert entry.lane is not None, "there was room, and it was ready"
        for token, entry in self.entries.items():
            if entry.phase is FlightPhase.RESTING and token not in resting:
                assert self.waited_s.pop(token) >= TIMEOUT_S - SLACK_S, "timed out before its time"
                self.rests(entry, 0.0)
            elif entry.phase is FlightPhase.WAITING:
                assert self.waited_s[token] < TIMEOUT_S + SLACK_S, "its time-out is over"
        deadline = self.in_flight.next_deadline()
        assert deadline is None or deadline > self.now

    @precondition(lambda self: any(entry.phase is FlightPhase.SENT for entry in self.entries.values()))
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        """The broker takes one, once."""
        entry = self.choose(data, FlightPhase.SENT)
        assert self.in_flight.acknowledged([entry], self.now)
        if self.wait_for_engine:
            self.waited_s[entry.token] = 0.0
        else:
            self.in_flight.remove([entry])
            del self.entries[entry.token]
        assert not self.in_flight.acknowledged([entry], self.now)

    @precondition(lambda self: any(entry.tries for entry in self.entries.values()))
    @rule(data=st.data(), at_least_s=st.sampled_from([0.0, 30.0, 7200.0]), cause=st.sampled_from([None, *CAUSES]))
    def rest(self, data: st.DataObject, at_least_s: float, cause: Cause | None) -> None:
        """One that was sent is to be tried again later."""
        entry = data.draw(st.sampled_from([entry for entry in self.entries.values() if entry.tries]))
        delay_s = self.in_flight.rest(entry, self.now, at_least_s, cause)
        assert delay_s >= min(at_least_s, 3600.0)
        assert entry.cause == cause
        self.rests(entry, min(at_least_s, 3600.0))
        self.waited_s.pop(entry.token, None)

    @rule(cause=st.sampled_from(CAUSES), successes=st.integers(1, 2))
    def heard(self, cause: Cause, successes: int) -> None:
        """Something shows that a cause is gone: it wakes the first of those who rest for it, no more than it may."""
        before = [entry for entry in self.entries.values() if entry.phase is FlightPhase.RESTING]
        mine = [entry for entry in before if entry.cause == cause and entry.wake_at <= self.now]
        count = self.in_flight.heard(cause, self.now, successes)
        woken = [entry for entry in before if entry.phase is FlightPhase.READY]
        assert woken == sorted(mine, key=lambda entry: entry.token)[: successes * WOKEN_BY_SUCCESS]
        assert count == len(woken)

    def rests(self, entry: InFlight[int], pause_s: float) -> None:
        """One rests from now on; its group, too, is left alone for so long at least."""
        if entry.cause is not None:
            self.seen_at[entry.cause], self.pause_s[entry.cause] = self.now, pause_s

    def see_who_was_tried_early(self, resting: dict[int, float]) -> None:
        """Before its own time goes one of each cause, when nobody of that cause was tried for long."""
        early = [
            self.entries[token]
            for token, due in resting.items()
            if self.entries[token].phase is not FlightPhase.RESTING and due > self.now
        ]
        causes = [entry.cause for entry in early]
        assert len(causes) == len(set(causes)), "one of each"
        for cause in causes:
            assert cause is not None
            assert self.now - self.seen_at[cause] >= max(PROBE_S / 2, self.pause_s[cause]), "not so soon"

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """One is being put away."""
        entry = self.choose(data, *FlightPhase)
        self.in_flight.ending(entry)
        self.waited_s.pop(entry.token, None)

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        """One is final; removing it again changes nothing."""
        entry = self.choose(data, *FlightPhase)
        for _ in range(2):
            self.in_flight.remove([entry])
            assert self.in_flight.find(entry.correlation_id) is None
            assert self.in_flight.by_token(entry.token) is None
        self.waited_s.pop(entry.token, None)
        del self.entries[entry.token]

    @rule()
    def disconnect(self) -> None:
        """The connection ends; nothing stays sent."""
        self.in_flight.disconnected(self.now)
        assert not any(entry.phase is FlightPhase.SENT for entry in self.entries.values())

    @rule()
    def reconnect(self) -> None:
        """The connection is there."""
        self.in_flight.reconnected(self.now)

    @rule(seconds=st.sampled_from([0.5, 10.0, 59.0, 61.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds
        if self.in_flight.connected:
            self.waited_s = {token: waited + seconds for token, waited in self.waited_s.items()}

    def choose(self, data: st.DataObject, *phases: FlightPhase) -> InFlight[int]:
        """One that is in one of these phases."""
        return data.draw(st.sampled_from([entry for entry in self.entries.values() if entry.phase in phases]))

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        """Every trigger that was added is in flight until it is removed."""
        assert {entry.token: entry for entry in self.in_flight} == self.entries
        assert len(self.in_flight) == len(self.entries) <= LIMIT
        assert self.in_flight.vacancy == LIMIT - len(self.entries)
        assert self.in_flight.sent == sum(entry.phase is FlightPhase.SENT for entry in self.entries.values())

    @invariant()
    def first_sends_leave_in_the_order_of_add(self) -> None:
        """Strict lanes aside, whose triggers wait for each other."""
        lanes: dict[str | None, list[int]] = {}
        for entry in self.first_sends:
            lanes.setdefault(entry.lane, []).append(entry.item)
        for items in lanes.values():
            assert items == sorted(items)

    @invariant()
    def the_next_deadline_is_that_of_the_first_whose_clock_runs(self) -> None:
        """Time-outs run only while connected. Of those that rest for a cause somebody is tried soon."""
        running = [
            entry.deadline
            for entry in self.entries.values()
            if entry.phase is FlightPhase.RESTING or (entry.phase is FlightPhase.WAITING and self.in_flight.connected)
        ]
        deadline = self.in_flight.next_deadline()
        assert (deadline is None) == (not running)
        if deadline is not None:
            assert deadline <= min(running)
        for entry in self.entries.values():
            if entry.phase is FlightPhase.RESTING and entry.cause is not None:
                assert deadline is not None
                assert deadline <= max(self.now, self.seen_at[entry.cause]) + max(PROBE_S, self.pause_s[entry.cause])


class WindowOfABroker(InFlightLife):
    """With `settle = "broker"` an acknowledgement is the end."""

    wait_for_engine = False


TestWindowForAnEngine = InFlightLife.TestCase
TestWindowForABroker = WindowOfABroker.TestCase
TestWindowForAnEngine.settings = settings(max_examples=examples(80), stateful_step_count=60)
TestWindowForABroker.settings = settings(max_examples=examples(40), stateful_step_count=40)
