from __future__ import annotations

from edgeagent.agent import recent_changes
from edgeagent.agent.recent_changes import MAX_BYTES, MAX_CHANGES, Change, RecentChanges


def added(changes: RecentChanges, count: int, source: str = "boiler", size: int = 10) -> None:
    for _ in range(count):
        changes.add(Change(source, b"x" * size))


def test_what_follows_a_number_is_told_once_in_order_and_by_source() -> None:
    changes = RecentChanges(100)
    added(changes, 3)
    added(changes, 2, "pump")
    added(changes, 1)
    assert [number for number, _ in changes.after(100, "", 1000).changes] == [101, 102, 103, 104, 105, 106]
    assert [number for number, _ in changes.after(102, "pump", 1000).changes] == [104, 105]
    told = changes.after(102, "pump", 1000)
    assert (told.up_to, changes.after(told.up_to, "pump", 1000).changes) == (106, [])


def test_a_part_ends_at_its_size_and_the_next_goes_on_there() -> None:
    changes = RecentChanges(0)
    added(changes, 5)
    first = changes.after(0, "", 15)
    assert ([number for number, _ in first.changes], first.up_to) == ([1, 2], 2)
    assert [number for number, _ in changes.after(first.up_to, "", 1000).changes] == [3, 4, 5]


def test_it_says_when_something_is_missing() -> None:
    changes = RecentChanges(100)
    assert not changes.lacks(100), "nothing happened"
    assert changes.lacks(99), "what an earlier process told"
    assert changes.lacks(101), "a number that was never given"
    added(changes, 2)
    assert not changes.lacks(100)
    changes.skip()
    assert changes.lacks(102)
    assert not changes.lacks(103)
    assert changes.after(103, "", 1000).changes == []


def test_it_never_grows_beyond_its_bounds() -> None:
    changes = RecentChanges(0)
    added(changes, MAX_CHANGES + 10)
    assert changes.before_oldest == 10
    assert changes.lacks(9)
    assert not changes.lacks(10)
    added(changes, 10, size=MAX_BYTES // 4)
    assert len(changes._kept) <= 4
    assert sum(len(change.data) for change in changes._kept.values()) <= recent_changes.MAX_BYTES
