from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeagent.outbox.released import Released

RANGES = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 8)), max_size=25)


@given(st.integers(1, 20), RANGES)
def test_it_is_the_set_of_the_seqs_that_were_added(cursor: int, added: list[tuple[int, int]]) -> None:
    released, model = Released(cursor), set(range(1, cursor))
    for start, count in added:
        wanted = set(range(start, start + count))
        missing = {seq for begin, end in released.missing(start, count) for seq in range(begin, end)}
        assert missing == wanted - model
        assert released.add(start, count) == len(wanted - model)
        model |= wanted
        assert {seq for seq in range(1, 80) if seq in released} == model
        assert released.count() == len(model)


@given(st.integers(1, 20), RANGES)
def test_the_ranges_are_sorted_apart_from_each_other_and_above_the_cursor(
    cursor: int, added: list[tuple[int, int]]
) -> None:
    released = Released(cursor)
    for start, count in added:
        released.add(start, count)
        end = released.cursor
        for begin, stop in released.ranges:
            assert end < begin < stop
            end = stop


@given(st.integers(1, 20), RANGES)
def test_a_set_that_was_kept_is_taken_up_the_same(cursor: int, added: list[tuple[int, int]]) -> None:
    released = Released(cursor)
    for start, count in added:
        released.add(start, count)
    again = Released(released.cursor, released.ranges)
    assert (again.cursor, again.ranges) == (released.cursor, released.ranges)


def test_the_cursor_passes_what_was_released_out_of_order() -> None:
    released = Released(1)
    assert released.add(3, 1) == 1
    assert released.add(5, 2) == 2
    assert (released.cursor, released.ranges) == (1, [(3, 4), (5, 7)])
    assert released.add(1, 2) == 2
    assert (released.cursor, released.ranges) == (4, [(5, 7)])
    assert released.add(4, 1) == 1
    assert (released.cursor, released.ranges) == (7, [])


def test_a_million_settled_in_order_take_no_room() -> None:
    released = Released(1)
    for start in range(1, 1_000_001, 1000):
        released.add(start, 1000)
    assert (released.cursor, released.ranges) == (1_000_001, [])
