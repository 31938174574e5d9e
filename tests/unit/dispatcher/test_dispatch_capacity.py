from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edgeagent.dispatcher.capacity import Capacity


@pytest.fixture
def changes() -> list[None]:
    return []


@pytest.fixture
def make(changes: list[None]) -> Callable[[int | None], Capacity]:
    return lambda max_active: Capacity(max_active, ["plant", "mill"], changed=lambda: changes.append(None))


Make = Callable[[int | None], Capacity]


def create(capacity: Capacity, name: str, namespace: str = "plant") -> bool:
    if not capacity.reserve(namespace):
        return False
    capacity.release(namespace, name)
    return True


def test_a_namespace_is_full_of_what_was_created_until_it_finishes(make: Make, changes: list[None]) -> None:
    capacity = make(2)
    assert [create(capacity, name) for name in "abc"] == [True, True, False]
    assert create(capacity, "d", "mill"), "another namespace has its own room"
    for name in "ab":
        capacity.started("plant", name)  # told of what was counted: not twice
    assert not capacity.has_room("plant")
    capacity.finished("plant", "a")
    assert capacity.has_room("plant")
    assert changes


def test_a_creation_under_way_counts(make: Make) -> None:
    capacity = make(1)
    assert capacity.reserve("plant")
    assert not capacity.reserve("plant")
    capacity.release("plant", None)
    assert capacity.reserve("plant")


def test_a_workflow_that_finished_before_its_creation_was_answered_is_not_counted(make: Make) -> None:
    capacity = make(1)
    assert capacity.reserve("plant")
    capacity.started("plant", "a")
    capacity.finished("plant", "a")
    capacity.release("plant", "a")
    assert capacity.has_room("plant")


def test_a_list_is_the_truth_but_for_what_was_created_meanwhile(make: Make) -> None:
    capacity = make(3)
    assert create(capacity, "old")
    capacity.listed("plant", ["other"])
    assert create(capacity, "new")
    assert not capacity.reserve("plant"), "old may have been created after the list was made"
    capacity.listed("plant", ["other"])
    assert capacity.reserve("plant"), "old was in neither list: it is gone"
    capacity.release("plant", None)
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


class Cluster(RuleBasedStateMachine):
    """A cluster that runs workflows, a watcher that tells of them in time, and a dispatcher that creates them."""

    LIMIT = 3

    def __init__(self) -> None:
        super().__init__()
        self.capacity = Capacity(self.LIMIT, ["plant"], changed=lambda: None)
        self.reserved = 0
        self.running: set[str] = set()
        self.untold: list[tuple[Callable[[str, str], None], str]] = []
        self.unanswered: list[str] = []
        self.count = 0

    @rule()
    def reserve(self) -> None:
        """The dispatcher wants to create one."""
        if self.capacity.reserve("plant"):
            self.reserved += 1

    @precondition(lambda self: self.reserved > len(self.unanswered))
    @rule()
    def create(self) -> None:
        """The cluster creates one."""
        self.count += 1
        name = str(self.count)
        self.running.add(name)
        self.unanswered.append(name)
        self.untold.append((self.capacity.started, name))

    @precondition(lambda self: self.unanswered)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        """The dispatcher hears that it was created."""
        name = data.draw(st.sampled_from(self.unanswered))
        self.unanswered.remove(name)
        self.reserved -= 1
        self.capacity.release("plant", name)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """A workflow comes to its end."""
        name = data.draw(st.sampled_from(sorted(self.running)))
        self.running.discard(name)
        self.untold.append((self.capacity.finished, name))

    @precondition(lambda self: self.untold)
    @rule()
    def tell(self) -> None:
        """The watcher hears of the next change."""
        told, name = self.untold.pop(0)
        told("plant", name)

    @invariant()
    def never_more_than_the_limit_run(self) -> None:
        """Creations under way included."""
        assert len(self.running) + self.reserved - len(self.unanswered) <= self.LIMIT

    def teardown(self) -> None:
        """When all is told and done, nothing is counted that does not run."""
        while self.unanswered:
            self.reserved -= 1
            self.capacity.release("plant", self.unanswered.pop())
        for told, name in self.untold:
            told("plant", name)
        for _ in range(self.reserved):
            self.capacity.release("plant", None)
        for name in self.running:
            self.capacity.finished("plant", name)
        assert self.capacity._namespaces["plant"].active == 0


TestCluster = Cluster.TestCase
TestCluster.settings = settings(stateful_step_count=40)
