from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from edgeagent.agent.congestion import FIRST_ALLOWED, Congestion


def drain(congestion: Congestion, messages: int, service_s: float, way_s: float) -> tuple[float, int]:
    """Publish all of them over a line that takes `service_s` for each, and `way_s` for the way there and back.

    Returns how long that took and the most that ever stood in the line's queue.
    """
    now, free_s, longest = 0.0, 0.0, 0
    out: deque[float] = deque()  # when each acknowledgement comes
    while messages or out:
        sent = min(messages, max(0, congestion.allowed - len(out)))
        for _ in range(sent):
            free_s = max(free_s, now) + service_s
            out.append(free_s + way_s)
        messages -= sent
        if sent:
            congestion.sent(len(out), now)
        longest = max(longest, int((free_s - now) / service_s))
        now = out.popleft()
        congestion.acknowledged(1, now)
    return now, longest


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200), st.floats(0, 100)), max_size=60), st.integers(1, 99)
)
def test_what_is_allowed_stays_within_its_bounds_whatever_comes(
    steps: list[tuple[int, int, float]], limit: int
) -> None:
    congestion, now = Congestion(limit), 0.0
    for out, acknowledged, passed_s in steps:
        congestion.sent(out, now)
        now += passed_s
        congestion.acknowledged(acknowledged, now)
        assert 1 <= congestion.allowed <= limit


@given(st.floats(0.000_01, 0.001), st.floats(0, 1))
def test_a_broker_that_keeps_up_is_used_to_the_full(service_s: float, way_s: float) -> None:
    """100 at a time take at most 0.1 s in its queue: never a reason to hold back, however long the way is."""
    messages, limit = 5000, 100
    took_s, _ = drain(Congestion(limit), messages, service_s, way_s)
    best_s = messages * max(service_s, (way_s + service_s) / limit)
    assert took_s <= 1.5 * best_s + 20 * (way_s + service_s)


@given(st.floats(0.05, 2), st.floats(0, 1))
def test_a_slow_line_is_kept_busy_without_a_long_queue(service_s: float, way_s: float) -> None:
    """What stands in the line's queue delays everything behind it: far less than the limit stands there."""
    messages = 1000
    took_s, longest = drain(Congestion(1000), messages, service_s, way_s)
    assert took_s <= 1.5 * messages * service_s + 20 * (way_s + service_s)
    assert longest <= 8 * FIRST_ALLOWED + 4 * way_s / service_s
