"""`common.clock_trust`: when a wall clock is taken to be right."""

from __future__ import annotations

import pytest

from edgeagent.common.clock_trust import ClockTrust

RIGHT_MS = 1_800_000_000_000  # 2027
YEAR_MS = 365 * 86_400_000
S = 1000


def trust(*looks: tuple[int, int, bool | None]) -> bool:
    """Whether a clock is trusted after these readings: wall, uptime, and what the system says."""
    made = ClockTrust()
    for look in looks:
        made.told(*look)
    return made.is_trusted


def test_a_clock_is_not_trusted_before_anything_is_known_of_it() -> None:
    made = ClockTrust()
    assert not made.is_trusted
    assert made.is_due(RIGHT_MS, 0)


@pytest.mark.parametrize("says", [True, False, None])
def test_a_clock_that_shows_a_time_before_this_program_was_made_is_never_trusted(says: bool | None) -> None:
    assert not trust((5 * S, 5 * S, says))


def test_where_nothing_can_be_asked_a_possible_time_is_taken_as_right() -> None:
    assert trust((RIGHT_MS, 5 * S, None))
    assert not trust((RIGHT_MS, 5 * S, False))


def test_a_clock_that_lost_its_time_server_stays_trusted_while_it_only_drifts() -> None:
    assert trust((RIGHT_MS, 0, True), (RIGHT_MS + YEAR_MS + 900, YEAR_MS, False))


def test_a_clock_that_was_set_by_hand_is_not_trusted_until_a_time_server_sets_it() -> None:
    looks = [(RIGHT_MS, 0, True), (RIGHT_MS + YEAR_MS, 20 * S, False)]
    assert not trust(*looks)
    assert not trust(*looks, (RIGHT_MS + YEAR_MS + 20 * S, 40 * S, False))
    assert trust(*looks, (RIGHT_MS + 40 * S, 40 * S, True))


def test_the_system_is_asked_each_ten_seconds_and_at_once_when_the_clock_was_set() -> None:
    made = ClockTrust()
    made.told(RIGHT_MS, 60 * S, True)
    assert not made.is_due(RIGHT_MS + 9_999, 60 * S + 9_999)
    assert made.is_due(RIGHT_MS + 10_000, 70 * S)
    assert not made.is_due(RIGHT_MS + 500, 60 * S)
    assert made.is_due(RIGHT_MS + 1_000, 60 * S)
    assert made.is_due(RIGHT_MS - 1_000, 60 * S)
