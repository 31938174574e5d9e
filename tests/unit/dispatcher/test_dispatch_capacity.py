from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edgeagent.dispatcher.capacity import Capacity, full, has_room

Make = Callable[[int | dict[str, int] | None], Capacity]


@pytest.fixture
def changes() -> list[None]:
    return []


@pytest.fixture
def make(changes: list[None]) -> Make:
    return lambda max_active: Capacity(max_active, ["plant", "mill"], changed=lambda: changes.append(None))


def reserve(capacity: Capacity, namespace: str = "plant", template: str = "inspect") -> bool:
    pool = capacity.pool(namespace, template)
    if not has_room(pool):
        return False
    capacity.reserve(namespace, pool)
    return True


def release(capacity: Capacity, created: str | None, namespace: str = "plant", template: str = "inspect") -> None:
    capacity.release(namespace, capacity.pool(namespace, template), created)


def create(capacity: Capacity, name: str, namespace: str = "plant", template: str = "inspect") -> bool:
    if not reserve(capacity, namespace, template):
        return False
    release(capacity, name, namespace, template)
    return True


def active(capacity: Capacity) -> dict[str, int]:
    return {use.key: use.active for use in capacity.uses()}


def test_a_namespace_is_full_of_what_was_created_until_it_finishes(make: Make, changes: list[None]) -> None:
    capacity = make(2)
    assert [create(capacity, name) for name in "abc"] == [True, True, False]
    assert create(capacity, "d", "mill"), "another namespace has its own room"
    for name in "ab":
        capacity.started("plant", name, "inspect")  # told of what was counted: not twice
    assert capacity.reached("plant", "inspect") is not None
    capacity.finished("plant", "a")
    assert capacity.reached("plant", "inspect") is None
    assert changes


def test_a_creation_under_way_counts(make: Make) -> None:
    capacity = make(1)
    assert reserve(capacity)
    assert not reserve(capacity)
    release(capacity, None)
    assert reserve(capacity)


def test_a_workflow_that_finished_before_its_creation_was_answered_is_not_counted(make: Make) -> None:
    capacity = make(1)
    assert reserve(capacity)
    capacity.started("plant", "a", "inspect")
    capacity.finished("plant", "a")
    release(capacity, "a")
    assert capacity.reached("plant", "inspect") is None


def test_a_list_is_the_truth_but_for_what_was_created_meanwhile(make: Make) -> None:
    capacity = make(3)
    assert create(capacity, "old")
    capacity.listed("plant", ["other"])
    assert create(capacity, "new")
    assert not reserve(capacity), "old may have been created after the list was made"
    capacity.listed("plant", ["other"])
    assert reserve(capacity), "old was in neither list: it is gone"
    release(capacity, None)
    capacity.listed("plant", [])
    assert [create(capacity, name) for name in "abcd"] == [True, True, True, False]


def test_without_a_limit_nothing_is_counted_and_nobody_is_woken(make: Make, changes: list[None]) -> None:
    capacity = make(None)
    for number in range(1000):
        assert create(capacity, str(number))
    capacity.finished("plant", "1")
    capacity.listed("plant", ["1"])
    assert changes == []
    assert not capacity._namespaces


def test_a_namespace_that_nobody_watches_is_never_full(make: Make) -> None:
    capacity = make(1)
    for number in range(3):
        assert create(capacity, str(number), "elsewhere")
    capacity.finished("elsewhere", "1")
    assert set(capacity._namespaces) == {"plant", "mill"}


def test_every_key_that_matches_applies(make: Make) -> None:
    capacity = make({"plant/*": 3, "*/inspect": 2, "mill/rep*": 1})
    assert [create(capacity, name) for name in "ab"] == [True, True]
    assert not create(capacity, "c"), "*/inspect is reached"
    assert not create(capacity, "c", "mill"), "in every namespace"
    assert create(capacity, "c", template="report")
    assert not create(capacity, "d", template="report"), "plant/* is reached"
    assert create(capacity, "d", "mill", "repair")
    assert not create(capacity, "e", "mill", "report"), "all that a key matches count together"
    assert create(capacity, "e", "mill", "other"), "no key matches it"
    assert active(capacity) == {"plant/*": 3, "*/inspect": 2, "mill/rep*": 1}


def test_who_waits_is_told_the_key_that_is_reached(make: Make) -> None:
    capacity = make({"plant/*": 9, "plant/inspect": 1})
    assert create(capacity, "a")
    assert 'engine.max_active "plant/inspect" = 1' in str(full(capacity.pool("plant", "inspect")))
    assert capacity.reached("plant", "report") is None
    capacity = make(1)
    assert create(capacity, "a")
    assert str(capacity.reached("plant", "report")) == (
        "namespace 'plant' has as many unfinished workflows as it may (engine.max_active)"
    )


def test_a_workflow_without_a_template_counts_for_keys_that_match_the_empty_name(make: Make) -> None:
    capacity = make({"plant/*": 2, "plant/": 1, "plant/inspect": 1})
    assert create(capacity, "a", template="")
    assert active(capacity) == {"plant/*": 1, "plant/": 1, "plant/inspect": 0}
    assert not create(capacity, "b", template="")


def test_after_a_restart_a_key_counts_what_the_engine_lists_and_what_others_created(make: Make) -> None:
    capacity = make({"plant/inspect": 2})
    capacity.started("plant", "a", "inspect")
    capacity.started("plant", "b", "report")
    capacity.listed("plant", ["a", "b"])
    assert active(capacity) == {"plant/inspect": 1}
    assert create(capacity, "c")
    assert not create(capacity, "d")
    capacity.listed("plant", ["b"])
    assert active(capacity) == {"plant/inspect": 1}, "a is gone; c may have been created after the list was made"
    capacity.finished("plant", "c")
    assert active(capacity) == {"plant/inspect": 0}


class Cluster(RuleBasedStateMachine):
    """A cluster that runs workflows, a watcher that tells of them in time, and a dispatcher that creates them."""

    LIMIT = 3

    def __init__(self) -> None:
        super().__init__()
        self.capacity = Capacity(self.LIMIT, ["plant"], changed=lambda: None)
        self.reserved = 0
        self.running: set[str] = set()
        self.untold: list[tuple[bool, str]] = []  # whether it started, otherwise it finished; which one
        self.unanswered: list[str] = []
        self.count = 0

    @rule()
    def reserve(self) -> None:
        """The dispatcher wants to create one."""
        if reserve(self.capacity):
            self.reserved += 1

    @precondition(lambda self: self.reserved > len(self.unanswered))
    @rule()
    def create(self) -> None:
        """The cluster creates one."""
        self.count += 1
        name = str(self.count)
        self.running.add(name)
        self.unanswered.append(name)
        self.untold.append((True, name))

    @precondition(lambda self: self.unanswered)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        """The dispatcher hears that it was created."""
        name = data.draw(st.sampled_from(self.unanswered))
        self.unanswered.remove(name)
        self.reserved -= 1
        release(self.capacity, name)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """A workflow comes to its end."""
        name = data.draw(st.sampled_from(sorted(self.running)))
        self.running.discard(name)
        self.untold.append((False, name))

    @precondition(lambda self: self.untold)
    @rule()
    def tell(self) -> None:
        """The watcher hears of the next change."""
        self.say(*self.untold.pop(0))

    def say(self, started: bool, name: str) -> None:
        """The watcher's own call."""
        if started:
            self.capacity.started("plant", name, "inspect")
        else:
            self.capacity.finished("plant", name)

    @rule()
    def list(self) -> None:
        """The watcher lists what it knows to run, when it has heard of everything."""
        if not self.untold:
            self.capacity.listed("plant", sorted(self.running))

    @invariant()
    def never_more_than_the_limit_run(self) -> None:
        """Creations under way included."""
        assert len(self.running) + self.reserved - len(self.unanswered) <= self.LIMIT

    def teardown(self) -> None:
        """When all is told and done, nothing is counted that does not run."""
        while self.unanswered:
            self.reserved -= 1
            release(self.capacity, self.unanswered.pop())
        for told in self.untold:
            self.say(*told)
        for _ in range(self.reserved):
            release(self.capacity, None)
        for name in self.running:
            self.capacity.finished("plant", name)
        assert active(self.capacity) == {"plant/*": 0}


TestCluster = Cluster.TestCase
TestCluster.settings = settings(stateful_step_count=40)
