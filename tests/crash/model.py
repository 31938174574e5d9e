"""A store over a disk that may fail or lose power, held against a simple model of what it has promised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from random import Random

from edgeagent.core.account import Account, event_problems
from edgeagent.errors import OutboxError, OutboxFull, StorageFailed
from edgeagent.outbox.records import (
    DEAD,
    DEAD_WAY,
    DISCARDED,
    HIGH,
    LOGS,
    NORMAL,
    PARKED,
    PARKED_WAY,
    REPLAYED,
    Group,
    Leased,
    Limits,
)
from tests.fakes.crash_filesystem import CrashFilesystem, Fate, PowerCut
from tests.fakes.stores import BOOT, group, open_store, record

SEGMENT_BYTES = 1536
LIMITS = Limits(max_bytes=12 * SEGMENT_BYTES, segment_bytes=SEGMENT_BYTES, dedupe_events=50)
_ATTEMPTS = 10

Trigger = tuple[str, str]  # event id and rule


class State(Enum):
    """Where the model sees a trigger that was acknowledged."""

    PENDING = "pending"
    DEAD = "dead"
    FINAL = "final"  # kept only with the next checkpoint
    KEPT = "kept"  # final, and a checkpoint says so


class Model:
    """See the module. Each step does something to the store and notes what it promised; `check` compares."""

    def __init__(self, random: Random) -> None:
        self.filesystem = CrashFilesystem(random)
        self.store = open_store(self.filesystem, LIMITS)
        self.states: dict[Trigger, State] = {}
        self.in_doubt: set[Trigger] = set()  # not acknowledged, and may be there after a crash
        self.moving: set[Trigger] = set()  # a move failed half-way: after a crash it may have happened
        self.given: dict[tuple[str, int], Trigger] = {}  # who has which seq
        self.leased: dict[Trigger, Leased] = {}
        self.refusals: list[OutboxError] = []
        self._next_id = 1

    def append(self, sizes: Sequence[tuple[str, int, int]]) -> None:
        """Append one group for each (log, number of records, number of rules), in one commit."""
        groups: list[Group] = []
        for log, count, rules in sizes:
            names = [f"r{number}" for number in range(rules)]
            records = [record(f"e{self._next_id + number}", names, b"x" * (7 * number)) for number in range(count)]
            self._next_id += count
            groups.append(group(log, *records))
        triggers = [[(entry.id, rule) for entry in one.events for rule in entry.rules] for one in groups]
        self.in_doubt.update(*triggers)
        outcomes = self.store.append(groups)
        for one, outcome, wanted in zip(groups, outcomes, triggers, strict=True):
            if isinstance(outcome, int):
                self.in_doubt.difference_update(wanted)
                for seq, trigger in enumerate(wanted, outcome):
                    self.states[trigger] = State.PENDING
                    self._take_seq(one.log, seq, trigger)
                continue
            self.refusals.append(outcome)
            if isinstance(outcome, OutboxFull):
                self.in_doubt.difference_update(wanted)

    def read(self, log: str) -> None:
        """Lease what comes next: only pending triggers, each once, in order of their seqs."""
        read: list[Leased] = []
        self._succeeds(lambda: read.extend(self.store.read(log)))
        assert [leased.seq for leased in read] == sorted({leased.seq for leased in read})
        for leased in read:
            trigger = trigger_of(leased)
            assert self.states.get(trigger) is State.PENDING, f"{trigger} is read, and is {self.states.get(trigger)}"
            assert trigger not in self.leased, f"{trigger} is read twice"
            assert leased.boot == BOOT
            self.leased[trigger] = leased

    def release(self, trigger: Trigger, way: str) -> None:
        """A leased trigger is final."""
        leased = self.leased.pop(trigger)
        assert self.store.release(leased.log, leased.seq, way)
        assert not self.store.release(leased.log, leased.seq, way)
        self.states[trigger] = State.FINAL

    def bury(self, trigger: Trigger) -> None:
        """A leased trigger becomes a dead letter."""
        leased = self.leased[trigger]
        if self._move(trigger, leased, DEAD, DEAD_WAY):
            del self.leased[trigger]
            self.states[trigger] = State.DEAD

    def park(self, trigger: Trigger) -> None:
        """A leased trigger is parked: it is pending all the same."""
        leased = self.leased[trigger]
        if leased.log != PARKED and self._move(trigger, leased, PARKED, PARKED_WAY):
            del self.leased[trigger]

    def replay(self, leased: Leased) -> None:
        """A dead letter becomes a trigger again."""
        if self._move(trigger_of(leased), leased, NORMAL, REPLAYED):
            self.states[trigger_of(leased)] = State.PENDING

    def discard(self, leased: Leased) -> None:
        """A dead letter is final."""
        assert self.store.release(DEAD, leased.seq, DISCARDED)
        self.states[trigger_of(leased)] = State.FINAL

    def dead(self) -> list[Leased]:
        """The dead letters."""
        found: list[Leased] = []
        self._succeeds(lambda: found.extend(leased for part in self.store.peek(DEAD) for leased in part))
        return found

    def checkpoint(self) -> None:
        """What is final is kept."""
        if self._succeeds(self.store.checkpoint):
            self._keep()

    def reopen(self) -> None:
        """Stop in order and start again: everything final is kept. With a failing disk it is as after a crash."""
        if self._succeeds(self.store.close):
            self._keep()
        self._start()

    def crash(self, fate: Fate = Fate.TORN) -> None:
        """Cut the power, start again, and see that starting once more finds the same."""
        self.filesystem = self._after(fate)
        self._start()
        self.in_doubt.clear()
        self.moving.clear()
        first = self._found()
        self.filesystem = self._after(Fate.TORN)
        self._start()
        assert self._found() == first

    def check(self) -> None:
        """Everything that was acknowledged is where the model says, exactly once, and the account adds up."""
        places, account = self._found()
        expected = {State.PENDING: {NORMAL, HIGH, PARKED}, State.DEAD: {DEAD}}
        for trigger, state in self.states.items():
            place = places.pop(trigger, None)
            assert place in expected.get(state, {None}), f"{trigger} is {state.value} and lies in {place}"
        assert not places, f"nobody acknowledged {places}"
        states = list(self.states.values())
        assert account.pending == states.count(State.PENDING)
        assert account.dead == states.count(State.DEAD)
        assert self.store.events.stored <= self._next_id - 1
        assert self.store.used_bytes <= LIMITS.max_bytes + 2 * SEGMENT_BYTES

    def _start(self) -> None:
        """Open the store, as often as it takes, and bring the model to what a crash may have left."""
        for _ in range(_ATTEMPTS):
            try:
                self.store = open_store(self.filesystem, LIMITS)
                break
            except StorageFailed:
                continue
            except PowerCut:
                self.filesystem = self._after(Fate.TORN)
        else:
            with self.filesystem.calm():
                self.store = open_store(self.filesystem, LIMITS)
        self.leased.clear()
        places, _ = self._found()
        for trigger, state in self.states.items():
            place = places.pop(trigger, None)
            doubtful = trigger in self.moving
            if state is State.PENDING:
                assert place in {NORMAL, HIGH, PARKED} or (place == DEAD and doubtful), f"{trigger} is lost: {place}"
            elif state is State.DEAD:
                assert place == DEAD or (place == NORMAL and doubtful), f"dead letter {trigger} is lost: {place}"
            elif state is State.KEPT:
                assert place is None or doubtful, f"{trigger} was final and kept, and lies in {place}"
            self.states[trigger] = _state_in(place)
        for trigger in list(places):
            assert trigger in self.in_doubt, f"nobody sent {trigger}, and it lies in {places[trigger]}"
            self.states[trigger] = _state_in(places[trigger])
            self.in_doubt.discard(trigger)

    def _found(self) -> tuple[dict[Trigger, str], Account]:
        """Where every trigger lies that is not released, and the account, which adds up."""
        places: dict[Trigger, str] = {}
        with self.filesystem.calm():
            for log in LOGS:
                for leased in (leased for part in self.store.peek(log) for leased in part):
                    trigger = trigger_of(leased)
                    assert trigger not in places, f"{trigger} lies in {places[trigger]} and in {log}"
                    places[trigger] = log
                    self._take_seq(log, leased.seq, trigger)
        account = self.store.account()
        assert [*account.problems(), *event_problems(self.store.events)] == []
        assert account.damaged == 0
        return places, account

    def _take_seq(self, log: str, seq: int, trigger: Trigger) -> None:
        owner = self.given.setdefault((log, seq), trigger)
        if owner != trigger:
            assert owner not in self.states, f"{log} {seq} was given to {owner}, and again to {trigger}"
            self.given[log, seq] = trigger

    def _move(self, trigger: Trigger, leased: Leased, target: str, way: str) -> bool:
        self.moving.add(trigger)
        moved = self._succeeds(lambda: self.store.move(leased, target, way, reason="no", code=400, attempts=1))
        if moved:
            self.moving.discard(trigger)
        return moved

    def _succeeds(self, step: Callable[[], None]) -> bool:
        try:
            step()
        except OutboxError as exc:
            self.refusals.append(exc)
            return False
        return True

    def _keep(self) -> None:
        for trigger, state in self.states.items():
            if state is State.FINAL:
                self.states[trigger] = State.KEPT

    def _after(self, fate: Fate) -> CrashFilesystem:
        after = self.filesystem.crash(fate)
        after.fails = self.filesystem.fails
        return after


def trigger_of(leased: Leased) -> Trigger:
    """Which trigger this is."""
    return leased.record.id, leased.rule


def _state_in(place: str | None) -> State:
    return State.KEPT if place is None else State.DEAD if place == DEAD else State.PENDING
