from __future__ import annotations

from edgeagent.agent.inflight import Phase, Window


def test_what_the_link_goes_on_with_is_not_sent_again_and_its_answer_counts() -> None:
    window: Window[str] = Window(10, wait_for_engine=True, response_timeout_s=60.0, random=lambda: 0.5)
    window.reconnected(0.0)
    entries = [window.add(name, name, lane=None, known=True, patience=9) for name in "abcd"]
    tokens = [entry.token for entry in entries if entry is not None]
    assert len(window.due(0.0, 3)) == 3
    window.disconnected(1.0)
    window.reconnected(2.0, {tokens[1], 999})
    assert window.sent == 1
    assert [entry.item for entry in window.due(2.0, 10)] == ["a", "c", "d"]
    carried = window.by_token(tokens[1])
    assert carried is not None
    assert window.acknowledged(carried, 3.0)
    assert (carried.tries, carried.attempt, carried.phase) == (1, 1, Phase.WAITING)


def test_one_that_was_carried_and_refused_is_sent_again_once() -> None:
    window: Window[str] = Window(10, wait_for_engine=True, response_timeout_s=60.0, random=lambda: 0.5)
    window.reconnected(0.0)
    entry = window.add("a", "a", lane=None, known=True, patience=9)
    assert entry is not None
    window.due(0.0, 1)
    window.disconnected(1.0)
    window.reconnected(2.0, {entry.token})
    assert window.due(2.0, 10) == []
    wait_s = window.rest(entry, 3.0)
    assert window.due(3.0 + wait_s, 10) == [entry]
    assert window.due(3.0 + wait_s, 10) == []


def test_when_the_session_is_lost_after_all_it_is_sent_again_once() -> None:
    window: Window[str] = Window(10, wait_for_engine=False, response_timeout_s=60.0, random=lambda: 0.5)
    window.reconnected(0.0)
    entry = window.add("a", "a", lane=None, known=True, patience=9)
    assert entry is not None
    window.due(0.0, 1)
    window.disconnected(1.0)
    window.reconnected(2.0, {entry.token})
    window.disconnected(3.0)
    window.reconnected(4.0)
    assert window.due(4.0, 10) == [entry]
    assert window.due(4.0, 10) == []
