"""A store over a disk that may fail or lose power, held against a simple model of what it has promised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from random import Random

from edgeagent.errors import OutboxError, OutboxFull, StorageFailed
from edgeagent.events.event import Record
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
    WINDOWS,
    Armed,
    Group,
    Leased,
    OutboxLimits,
)
from edgeagent.ports.account import Account, event_problems
from tests.crash.firings import REMEMBERED, FiringsModel
from tests.fakes.crash_filesystem import CrashFilesystem, Fate, PowerCut
from tests.fakes.stores import BOOT, DIRECTORY, closing, group, open_store, record

SEGMENT_BYTES = 1536
LIMITS = OutboxLimits(max_bytes=12 * SEGMENT_BYTES, segment_bytes=SEGMENT_BYTES, dedupe_events=50)
_ATTEMPTS = 10

Trigger = tuple[str, str]  # event id and rule


class State(Enum):
    """Where the model sees a trigger that was acknowledged."""

    PENDING = "pending"
    DEAD = "dead"
    MERGED = "merged"  # in a window that stands for it
    FINAL = "final"  # kept only with the next checkpoint
    KEPT = "kept"  # final, and a checkpoint says so


class Model:
    """Owns a store on a disk that may fail, and what is known of each trigger that the store has acknowledged.

    Each step does something to the store and notes what it promised; `check` compares.
    """

    def __init__(self, random: Random) -> None:
        self.filesystem = CrashFilesystem(random)
        self.store = open_store(self.filesystem, LIMITS, REMEMBERED)
        self.states: dict[Trigger, State] = {}
        self.windows: dict[Trigger, tuple[str, ...]] = {}  # of a window's trigger, the ids of its events
        self.firings = FiringsModel()
        self.in_doubt: set[Trigger] = set()  # not acknowledged, and may be there after a crash
        self.moving: set[Trigger] = set()  # a move failed half-way: after a crash it may have happened
        self.given: dict[tuple[str, int], Trigger] = {}  # who has which seq
        self.found_windows: dict[Trigger, tuple[str, ...]] = {}  # as `windows`, of what was found last
        self.leased: dict[Trigger, Leased] = {}
        self.refusals: list[OutboxError] = []
        self._next_id = 1

    def append(self, sizes: Sequence[tuple[str, int, int]]) -> None:
        """Append one group for each (log, number of records, number of rules), in one commit.

        An event in four arms the rules for its source; one in eight does nothing else.
        """
        groups: list[Group] = []
        for log, count, rules in sizes:
            names = [f"r{number}" for number in range(rules)]
            entries: list[Record | Armed] = []
            for number in range(count):
                source = f"boiler-{self._next_id % 3}"
                if self._next_id % 4 == 0:
                    entries.append(Armed(source, tuple(names)))
                if self._next_id % 8:
                    entries.append(record(f"e{self._next_id}", names, b"7" * (1 + 7 * number), source))
                self._next_id += 1
            groups.append(group(log, *entries, remembered=REMEMBERED))
        triggers = [[(entry.id, rule) for entry in one.events for rule in entry.rules] for one in groups]
        self.in_doubt.update(*triggers)
        with self.firings.appending(groups) as outcomes:
            outcomes.extend(self.store.append(groups))
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
        """A leased trigger is parked, perhaps once more: it is pending all the same."""
        leased = self.leased[trigger]
        if self._move(trigger, leased, PARKED, PARKED_WAY):
            del self.leased[trigger]

    def gather(self, log: str, rule: str, most: int) -> None:
        """A window closes over leased triggers of a rule in a log, if there are any."""
        members = [
            leased
            for leased in self.leased.values()
            if (leased.log, leased.rule) == (log, rule) and not leased.record.events
        ][:most]
        if not members:
            return
        triggers = list(map(trigger_of, members))
        self.moving.update(triggers)
        if self._succeeds(lambda: self.store.gather([closing(members)])):
            self.moving.difference_update(triggers)
            self._gathered(triggers[0], tuple(member.record.id for member in members))
            for trigger in triggers:
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
        self.firings.doubtful.clear()
        first = self._found()
        self.filesystem = self._after(Fate.TORN)
        self._start()
        assert self._found() == first

    def check(self) -> None:
        """Everything that was acknowledged is where the model says, exactly once, and the account adds up."""
        places, account = self._found()
        expected = {State.PENDING: {NORMAL, HIGH, PARKED, WINDOWS}, State.DEAD: {DEAD}}
        for trigger, state in self.states.items():
            place = places.pop(trigger, None)
            assert place in expected.get(state, {None}), f"{trigger} is {state.value} and lies in {place}"
            if place is not None:
                assert self.found_windows.get(trigger) == self.windows.get(trigger), f"{trigger} is another window"
        assert not places, f"nobody acknowledged {places}"
        states = list(self.states.values())
        assert account.pending == states.count(State.PENDING)
        assert account.dead == states.count(State.DEAD)
        assert account.merged == states.count(State.MERGED)
        self.firings.check(self.store)
        assert self.store.events.stored <= self._next_id - 1
        assert self.store.used_bytes <= LIMITS.max_bytes + 3 * SEGMENT_BYTES

    def _open(self) -> None:
        """Open the store, as often as it takes."""
        for _ in range(_ATTEMPTS):
            self.filesystem.refused.clear()
            try:
                self.store = open_store(self.filesystem, LIMITS, REMEMBERED)
                break
            except StorageFailed:
                continue
            except PowerCut:
                self.filesystem = self._after(Fate.TORN)
        else:
            self.filesystem.refused.clear()
            with self.filesystem.calm():
                self.store = open_store(self.filesystem, LIMITS, REMEMBERED)

    def _start(self) -> None:
        """Open the store, and bring the model to what a crash may have left."""
        self._open()
        self.firings.opened(self.store, unreadable=DIRECTORY / "firings" in self.filesystem.refused)
        self.leased.clear()
        places, _ = self._found()
        for first, events in self.found_windows.items():  # a window that was refused may be there all the same
            if first not in self.windows:
                assert self.moving >= {(event, first[1]) for event in events}, f"nobody gathered {first}"
                self._gathered(first, events)
        for trigger, state in self.states.items():
            place = places.pop(trigger, None)
            doubtful = trigger in self.moving
            if state is State.MERGED:
                assert place is None, f"{trigger} is in a window, and lies in {place} too"
                continue
            if state is State.PENDING:
                pending = place in {NORMAL, HIGH, PARKED, WINDOWS}
                assert pending or (place == DEAD and doubtful), f"{trigger} is lost: {place}"
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
        self.found_windows = {}
        with self.filesystem.calm():
            for log in LOGS:
                for leased in (leased for part in self.store.peek(log) for leased in part):
                    trigger = trigger_of(leased)
                    assert trigger not in places, f"{trigger} lies in {places[trigger]} and in {log}"
                    places[trigger] = log
                    self._take_seq(log, leased.seq, trigger)
                    if leased.record.events:
                        self.found_windows[trigger] = leased.record.events
        members = [(event, rule) for (_, rule), events in self.found_windows.items() for event in events]
        assert len(members) == len(set(members)), "a trigger is in two windows"
        for trigger in set(members) - self.found_windows.keys():
            assert trigger not in places, f"{trigger} is in a window, and lies in {places[trigger]} too"
        account = self.store.account()
        assert [*account.problems(), *event_problems(self.store.events)] == []
        assert account.damaged == 0
        return places, account

    def _gathered(self, first: Trigger, events: tuple[str, ...]) -> None:
        self.windows[first] = events
        for event in events[1:]:
            self.states[event, first[1]] = State.MERGED

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
