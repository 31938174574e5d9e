"""Random lives of a store, against the model of what it promised."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from edgeagent.outbox.records import EVENT_LOGS, EXPIRED, HIGH, LEASED_LOGS, NORMAL, SETTLED, Leased
from tests.crash.model import Model
from tests.fakes.crash_filesystem import CrashFilesystem, Fate, PowerCut
from tests.profiles import examples

GROUPS = st.lists(
    st.tuples(st.sampled_from([NORMAL, HIGH]), st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=4
)


class StoreLife(RuleBasedStateMachine):
    """Everything that the agent does to its store, and everything that may happen to it, in any order."""

    @initialize(random=st.randoms(use_true_random=False))
    def start(self, random: Random) -> None:
        """Open a store on an empty disk."""
        self.model = Model(random)

    @rule(groups=GROUPS)
    def append(self, groups: list[tuple[str, int, int]]) -> None:
        """Events come, in one commit."""
        self.model.append(groups)

    @rule(log=st.sampled_from(LEASED_LOGS))
    def read(self, log: str) -> None:
        """The sender leases."""
        self.model.read(log)

    @precondition(lambda self: self.model.leased)
    @rule(data=st.data(), way=st.sampled_from([SETTLED, EXPIRED]))
    def release(self, data: st.DataObject, way: str) -> None:
        """Some of what is leased is final."""
        for trigger in data.draw(st.lists(st.sampled_from(list(self.model.leased)), unique=True)):
            self.model.release(trigger, way)

    @precondition(lambda self: self.model.leased)
    @rule(data=st.data())
    def bury(self, data: st.DataObject) -> None:
        """One is given up."""
        self.model.bury(data.draw(st.sampled_from(list(self.model.leased))))

    @precondition(lambda self: self.model.leased)
    @rule(data=st.data())
    def park(self, data: st.DataObject) -> None:
        """Nobody answers one."""
        self.model.park(data.draw(st.sampled_from(list(self.model.leased))))

    @precondition(lambda self: self.model.leased)
    @rule(log=st.sampled_from(EVENT_LOGS), name=st.sampled_from(["r0", "r1"]), most=st.integers(1, 5))
    def gather(self, log: str, name: str, most: int) -> None:
        """A window closes."""
        self.model.gather(log, name, most)

    @rule(data=st.data(), discard=st.booleans())
    def end_dead_letters(self, data: st.DataObject, discard: bool) -> None:
        """An operator replays or discards some."""
        dead = self.model.dead()
        for index in data.draw(st.sets(st.integers(0, len(dead) - 1))) if dead else ():
            if discard:
                self.model.discard(dead[index])
            else:
                self.model.replay(dead[index])

    @rule()
    def checkpoint(self) -> None:
        """Releases are kept."""
        self.model.checkpoint()

    @rule()
    def reopen(self) -> None:
        """The agent stops in order, and starts."""
        self.model.reopen()

    @rule(fate=st.sampled_from(Fate))
    def crash(self, fate: Fate) -> None:
        """The power is cut."""
        self.model.crash(fate)

    @invariant()
    def nothing_is_lost_and_the_account_adds_up(self) -> None:
        """The store is what the model says."""
        self.model.check()


@pytest.mark.hypothesis
def test_whatever_happens_every_acknowledged_trigger_is_in_one_place_and_the_account_adds_up() -> None:
    run_state_machine_as_test(
        StoreLife,
        settings=settings(max_examples=examples(60), stateful_step_count=40, suppress_health_check=list(HealthCheck)),
    )


def append_some(model: Model, random: Random) -> None:
    logs = random.choices([NORMAL, HIGH], k=random.randint(1, 3))
    model.append([(log, random.randint(1, 3), random.randint(1, 3)) for log in logs])


def read_some(model: Model, random: Random) -> None:
    model.read(random.choice(LEASED_LOGS))


def release_some(model: Model, random: Random) -> None:
    for trigger in random.sample(list(model.leased), random.randint(0, len(model.leased))):
        model.release(trigger, random.choice([SETTLED, EXPIRED]))


def bury_one(model: Model, random: Random) -> None:
    if model.leased:
        model.bury(random.choice(list(model.leased)))


def park_one(model: Model, random: Random) -> None:
    if model.leased:
        model.park(random.choice(list(model.leased)))


def gather_some(model: Model, random: Random) -> None:
    model.gather(random.choice(EVENT_LOGS), random.choice(["r0", "r1"]), random.randint(1, 5))


def end_some_dead_letters(model: Model, random: Random) -> None:
    ends: list[Callable[[Leased], None]] = [model.replay, model.discard, lambda _: None]
    for letter in model.dead():
        random.choice(ends)(letter)


ACTIONS: dict[Callable[[Model, Random], None], int] = {
    append_some: 30,
    read_some: 20,
    release_some: 20,
    bury_one: 10,
    park_one: 10,
    gather_some: 15,
    end_some_dead_letters: 7,
    lambda model, _: model.checkpoint(): 9,
    lambda model, _: model.reopen(): 4,
}


def live(model: Model, random: Random, steps: int) -> None:
    """A life chosen by chance."""
    for action in random.choices(list(ACTIONS), list(ACTIONS.values()), k=steps):
        action(model, random)
        model.check()


def operations_of_a_life(seed: int, steps: int) -> int:
    """How many operations of the disk it takes when none fails."""
    model = Model(Random(seed))  # noqa: S311  chance for tests
    live(model, Random(seed), steps)  # noqa: S311  chance for tests
    return model.filesystem.operations


def live_with_failures(seed: int, steps: int, fails: Callable[[int, str], bool]) -> None:
    """A life on a disk that fails; then it works again, crashes, and works again."""
    model = Model(Random(seed))  # noqa: S311  chance for tests
    model.filesystem.fails = fails
    live(model, Random(seed), steps)  # noqa: S311  chance for tests
    model.filesystem.fails = lambda _number, _name: False
    model.append([(NORMAL, 1, 1)])
    model.check()
    model.crash()
    model.append([(NORMAL, 1, 1)])
    model.check()


@pytest.mark.parametrize("seed", range(3))
def test_a_disk_that_fails_once_at_any_operation_loses_nothing_and_works_again(seed: int) -> None:
    for failing in range(1, operations_of_a_life(seed, 30)):
        live_with_failures(seed, 30, lambda number, _name, failing=failing: number == failing)  # type: ignore[misc]


@pytest.mark.parametrize("every", [2, 3, 5, 10, 20, 40])
def test_a_disk_that_fails_again_and_again_loses_nothing_that_was_acknowledged(every: int) -> None:
    for seed in range(20):
        chance = Random(seed)  # noqa: S311  chance for tests
        live_with_failures(seed, 40, lambda number, _name: number > 20 and chance.randrange(every) == 0)  # noqa: B023  used before the next


def cut_power(seed: int, steps: int, at: int) -> None:
    """A life whose power is cut in an operation, and which goes on after it."""
    model = Model(Random(seed))  # noqa: S311  chance for tests
    filesystem: CrashFilesystem = model.filesystem
    filesystem.cuts = lambda number, _name: number == at
    random = Random(seed)  # noqa: S311  chance for tests
    try:
        live(model, random, steps)
    except PowerCut:
        model.crash()
    live(model, random, 5)


@pytest.mark.parametrize("seed", range(3))
def test_a_power_cut_in_any_operation_loses_nothing(seed: int) -> None:
    for at in range(1, operations_of_a_life(seed, 30)):
        cut_power(seed, 30, at)


@pytest.mark.parametrize(("seed", "at"), [(109, 313), (110, 331)])
def test_an_index_whose_frames_were_torn_is_no_loss_when_the_power_is_cut_again(seed: int, at: int) -> None:
    cut_power(seed, 120, at)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 200))
def test_long_lives_with_power_cuts_and_failing_disks_lose_nothing(seed: int) -> None:
    for number in range(1, operations_of_a_life(seed, 120), 3):
        cut_power(seed, 120, number)
        live_with_failures(seed, 120, lambda at, _name: at >= number and at % 97 == number % 97)  # noqa: B023  used before the next
