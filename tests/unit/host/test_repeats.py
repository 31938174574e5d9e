from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeagent.host.repeats import PERIOD_S, Repeats


def test_the_first_of_a_minute_is_told_and_the_others_are_counted() -> None:
    repeats: Repeats[str] = Repeats()
    assert [repeats.is_logged("a", 100 + at) for at in (0, 1, 59.9)] == [True, False, False]
    assert repeats.is_logged("b", 101)
    assert (repeats.due(101), repeats.due_at()) == ([], 100 + PERIOD_S)
    assert repeats.due(160) == [("a", 2)]
    assert (repeats.due(161), repeats.due_at()) == ([], None)
    assert repeats.is_logged("a", 161)
    assert not repeats.is_logged("a", 162)
    assert repeats.rest() == [("a", 1)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 30)), max_size=200))
def test_what_is_told_and_what_is_counted_is_everything(steps: list[tuple[str, float]]) -> None:
    repeats: Repeats[str] = Repeats()
    now, told, counted = 0.0, 0, 0
    last: dict[str, float] = {}
    for kind, later_s in steps:
        now += later_s
        counted += sum(more.more for more in repeats.due(now))
        if repeats.is_logged(kind, now):
            assert now >= last.get(kind, -PERIOD_S) + PERIOD_S
            last[kind] = now
            told += 1
    assert told + counted + sum(more.more for more in repeats.rest()) == len(steps)
