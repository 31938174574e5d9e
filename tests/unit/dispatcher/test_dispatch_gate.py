from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.dispatcher.gate import HOLD_S, PROBE_CAP_S, Gate, GateState


def closed() -> Gate:
    gate = Gate()
    gate.unavailable(0, 1)
    assert gate.unavailable(HOLD_S, 1) is GateState.CLOSED
    return gate


def test_an_engine_that_fails_for_a_moment_holds_and_closes_nothing() -> None:
    gate = Gate()
    assert gate.unavailable(100, 0.5) is GateState.HOLDING
    assert gate.unavailable(100 + HOLD_S - 1, 0.5) is None
    assert gate.takes
    assert gate.next_probe_s is None
    assert gate.answered() is GateState.OPEN
    assert gate.answered() is None


def test_an_engine_that_fails_for_as_long_as_orders_are_held_closes_the_gate() -> None:
    gate = Gate()
    for at_s in (100, 110, 120):
        gate.unavailable(at_s, 1)
    assert gate.unavailable(100 + HOLD_S, 1) is GateState.CLOSED
    assert not gate.takes
    assert gate.next_probe_s == 100 + HOLD_S + 1
    assert gate.unavailable(100 + HOLD_S + 1, 1) is None


def test_an_order_that_always_fails_among_others_that_succeed_never_closes_it() -> None:
    gate = Gate()
    for second in range(1000):
        gate.unavailable(second, 1)
        assert gate.takes
        if second % 10 == 0:
            gate.answered()


def test_two_failures_an_hour_apart_are_two_beginnings() -> None:
    gate = Gate()
    gate.unavailable(0, 1)
    assert gate.unavailable(3600, 1) is None
    assert gate.state is GateState.HOLDING
    assert gate.unavailable(3600 + HOLD_S, 1) is GateState.CLOSED


def test_probes_come_less_and_less_often_down_to_a_limit() -> None:
    gate = closed()
    waits = []
    now_s = 1000.0
    for _ in range(8):
        gate.probe_failed(now_s, 1)
        assert gate.next_probe_s is not None
        waits.append(gate.next_probe_s - now_s)
    assert waits == [2, 4, 8, 16, PROBE_CAP_S, PROBE_CAP_S, PROBE_CAP_S, PROBE_CAP_S]


@pytest.mark.parametrize("how", ["probe", "order"])
def test_a_closed_gate_opens_when_a_probe_or_an_order_still_in_hand_succeeds(how: str) -> None:
    gate = closed()
    assert (gate.probe_succeeded() if how == "probe" else gate.answered()) is GateState.OPEN
    assert gate.takes
    assert gate.next_probe_s is None
    gate.unavailable(5000, 1)
    assert gate.unavailable(5000 + HOLD_S, 1) is GateState.CLOSED
    assert gate.next_probe_s == 5000 + HOLD_S + 1, "the backoff begins anew"


@pytest.mark.parametrize("before", [Gate(), closed()])
def test_a_refused_token_closes_at_once_and_is_told_once(before: Gate) -> None:
    assert before.unauthorized(7, 1) is GateState.UNAUTHORIZED
    assert before.unauthorized(8, 1) is None
    assert not before.takes
    assert before.next_probe_s is not None


def test_an_answer_to_a_request_sent_with_the_old_token_does_not_open_it() -> None:
    gate = Gate()
    gate.unauthorized(0, 1)
    assert gate.answered() is None
    assert gate.unavailable(1, 1) is None
    assert not gate.takes
    assert gate.probe_succeeded() is GateState.OPEN


@given(st.lists(st.sampled_from(["answered", "unavailable", "unauthorized", "probe_failed", "probe_succeeded"])))
def test_a_gate_that_does_not_take_always_has_a_probe_before_it_and_one_that_takes_has_none(steps: list[str]) -> None:
    gate = Gate()
    for second, step in enumerate(steps):
        if step == "probe_failed" and gate.next_probe_s is None:
            continue  # nobody probes an open gate
        method = getattr(gate, step)
        method() if step in {"answered", "probe_succeeded"} else method(second * 20.0, 1)
        assert gate.takes == (gate.next_probe_s is None)
