"""How long a session waits before it connects again, and what it makes of a name that is in use."""

from __future__ import annotations

from edgeagent.errors import Denied, NameInUse, Unavailable
from edgeagent.links.reconnecting import Reconnecting, ReconnectTimes

TIMES = ReconnectTimes(base_s=5, cap_s=60, stable_s=30, taken_over_s=60, keepalive_s=30)
AWAY = Unavailable("amqp://b", "the connection failed")
IN_USE = NameInUse("amqp://b", "another connection by our name is open", "give each its own (agent.id)")


def waits(reconnecting: Reconnecting, *, taken_over: bool = False) -> tuple[float, float]:
    """The shortest and the longest wait that there may be now."""
    failures = reconnecting.failures
    least = reconnecting.wait_s(0, taken_over=taken_over, fraction=0)
    reconnecting.failures = failures
    return least, reconnecting.wait_s(0, taken_over=taken_over, fraction=1)


def test_a_broker_that_is_away_is_tried_less_and_less_until_a_connection_lasts() -> None:
    reconnecting = Reconnecting(TIMES)
    assert [waits(reconnecting) for _ in range(5)] == [(0, 5), (0, 10), (0, 20), (0, 40), (0, 60)]
    assert reconnecting.wait_s(29, taken_over=False, fraction=1) == 60
    assert reconnecting.wait_s(30, taken_over=False, fraction=1) == 5


def test_whoever_lost_the_session_to_another_client_stays_away_for_long() -> None:
    assert waits(Reconnecting(TIMES), taken_over=True) == (60, 60)


def test_a_name_that_a_dead_connection_may_hold_is_asked_for_again_soon_until_the_broker_must_have_noticed() -> None:
    reconnecting = Reconnecting(TIMES)
    for _ in range(9):
        reconnecting.judged(AWAY, 0)
        waits(reconnecting)
    for now_s in (100, 130, 165):
        told = reconnecting.judged(IN_USE, now_s)
        assert isinstance(told, NameInUse)
        assert "as after a power cut: the broker then ends it within 60 s" in str(told)
        assert waits(reconnecting) == (2.5, 5)
    told = reconnecting.judged(IN_USE, 165.1)
    assert isinstance(told, Denied)
    assert str(told).endswith("longer than a dead connection could be: give each its own (agent.id)")
    assert waits(reconnecting) == (60, 60)


def test_a_name_that_was_free_meanwhile_may_be_held_by_a_dead_connection_again() -> None:
    reconnecting = Reconnecting(TIMES)
    reconnecting.judged(IN_USE, 0)
    assert isinstance(reconnecting.judged(IN_USE, 1000), Denied)
    assert reconnecting.judged(AWAY, 1001) is AWAY
    assert isinstance(reconnecting.judged(IN_USE, 1002), NameInUse)
