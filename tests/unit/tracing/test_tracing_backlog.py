from __future__ import annotations

from edgeagent.tracing.backlog import BATCH_SPANS, GATHER_S, Backlog
from edgeagent.tracing.spans import SpanKind, TraceSpan


def spans(count: int, first: int = 0) -> list[TraceSpan]:
    return [
        TraceSpan("a" * 32, f"{number:016x}", "", str(number), SpanKind.INTERNAL, 0, 1, {})
        for number in range(first, first + count)
    ]


def test_spans_wait_for_others_to_go_with_them_but_not_for_long() -> None:
    backlog = Backlog()
    assert backlog.due_s is None
    backlog.add(spans(1), 10.0)
    assert backlog.due_s == 10.0 + GATHER_S
    backlog.add(spans(1, 1), 11.0)
    assert backlog.due_s == 10.0 + GATHER_S
    assert [span.name for span in backlog.batch()] == ["0", "1"]
    backlog.taken(13.0)
    assert (backlog.due_s, len(backlog), backlog.counts.exported) == (None, 0, 2)


def test_a_full_batch_goes_at_once_and_the_rest_after_it() -> None:
    backlog = Backlog()
    backlog.add(spans(BATCH_SPANS + 1), 10.0)
    assert backlog.due_s == 10.0
    assert len(backlog.batch()) == BATCH_SPANS
    backlog.taken(11.0)
    assert backlog.due_s == 11.0 + GATHER_S


def test_a_batch_that_failed_is_tried_again_in_order_ever_more_slowly() -> None:
    backlog = Backlog()
    backlog.add(spans(2), 0.0)
    waits = []
    for _ in range(10):
        backlog.batch()
        backlog.failed(100.0, 1.0)
        assert backlog.due_s is not None
        waits.append(backlog.due_s - 100.0)
    assert waits[0] == 6.0
    assert waits == sorted(waits)
    assert waits[-1] == 301.0
    assert [span.name for span in backlog.batch()] == ["0", "1"]
    backlog.failed(100.0, 0.0, at_least_s=600.0)
    assert backlog.due_s == 700.0


def test_what_comes_while_a_collector_is_away_does_not_hurry_it() -> None:
    backlog = Backlog()
    backlog.add(spans(1), 0.0)
    backlog.batch()
    backlog.failed(0.0, 1.0)
    backlog.add(spans(BATCH_SPANS, 1), 1.0)
    assert backlog.due_s == 6.0


def test_of_too_many_the_oldest_are_dropped_and_counted_those_under_way_too() -> None:
    backlog = Backlog(max_spans=3)
    backlog.add(spans(5), 0.0)
    assert backlog.counts.dropped == 2
    assert [span.name for span in backlog.batch()] == ["2", "3", "4"]
    backlog.add(spans(2, 5), 0.0)  # while a request is made
    assert (len(backlog), backlog.counts.dropped) == (3, 4)
    backlog.failed(0.0, 0.0)
    assert [span.name for span in backlog.batch()] == ["2", "3", "4"]
    backlog.refused(0.0)
    assert (len(backlog), backlog.counts.dropped) == (0, 7)


def test_what_a_collector_rejects_counts_as_dropped() -> None:
    backlog = Backlog()
    backlog.add(spans(3), 0.0)
    backlog.batch()
    backlog.taken(0.0, rejected=2)
    assert (backlog.counts.exported, backlog.counts.dropped) == (1, 2)
    backlog.add(spans(1), 0.0)
    backlog.batch()
    backlog.taken(0.0, rejected=99)
    assert (backlog.counts.exported, backlog.counts.dropped) == (1, 3)
