"""`common.elapsed`: how much time passed, told by clocks that may have been wrong and a machine that was off."""

from __future__ import annotations

import pytest

from edgeagent.common.elapsed import Elapsed, Instant, Since, elapsed, is_set

DAY_MS = 86_400_000
RIGHT_MS = 1_800_000_000_000  # 2027
FIRST, SECOND = b"boot-1", b"boot-2"


@pytest.mark.parametrize(
    ("then", "now", "passed"),
    [
        # Within one boot the wall clock does not matter: it was wrong before, is put right, goes back.
        (Instant(5_000, 5_000, FIRST), Instant(RIGHT_MS, 65_000, FIRST), Elapsed(60.0, certain=True)),
        (Instant(RIGHT_MS, 5_000, FIRST), Instant(RIGHT_MS - DAY_MS, 6_500, FIRST), Elapsed(1.5, certain=True)),
        (Instant(RIGHT_MS, 6_500, FIRST), Instant(RIGHT_MS, 5_000, FIRST), Elapsed(0.0, certain=True)),
        # Switched off for a day, with a right clock before and after.
        (
            Instant(RIGHT_MS, 900_000, FIRST),
            Instant(RIGHT_MS + DAY_MS, 10_000, SECOND),
            Elapsed(86_400.0, certain=True),
        ),
        # The clock was in 1970 before, is in 1970 now, or in both: at least the time of this boot.
        (Instant(5_000, 5_000, FIRST), Instant(RIGHT_MS, 10_000, SECOND), Elapsed(10.0, certain=False)),
        (Instant(RIGHT_MS, 5_000, FIRST), Instant(10_000, 10_000, SECOND), Elapsed(10.0, certain=False)),
        (Instant(5_000, 5_000, FIRST), Instant(60_000, 10_000, SECOND), Elapsed(10.0, certain=False)),
        # It went back, or says less than this boot lasts.
        (Instant(RIGHT_MS, 5_000, FIRST), Instant(RIGHT_MS - 1, 10_000, SECOND), Elapsed(10.0, certain=False)),
        (Instant(RIGHT_MS, 5_000, FIRST), Instant(RIGHT_MS + 9_999, 10_000, SECOND), Elapsed(10.0, certain=False)),
        (Instant(RIGHT_MS, 5_000, FIRST), Instant(RIGHT_MS + 10_000, 10_000, SECOND), Elapsed(10.0, certain=True)),
        # What came from another machine: its uptime says nothing, and neither does that of this boot.
        (Instant(RIGHT_MS, 0, b""), Instant(RIGHT_MS + 60_000, DAY_MS, FIRST), Elapsed(60.0, certain=True)),
        (Instant(RIGHT_MS, 0, b""), Instant(RIGHT_MS + 60_000, 0, b""), Elapsed(60.0, certain=True)),
        (Instant(RIGHT_MS, 0, b""), Instant(RIGHT_MS - 1, DAY_MS, FIRST), Elapsed(0.0, certain=False)),
        (Instant(5_000, 0, b""), Instant(RIGHT_MS, DAY_MS, FIRST), Elapsed(0.0, certain=False)),
    ],
)
def test_the_time_between_two_moments(then: Instant, now: Instant, passed: Elapsed) -> None:
    assert elapsed(then, now) == passed


def test_a_clock_before_the_program_was_made_is_not_set() -> None:
    assert not is_set(0)
    assert not is_set(1_577_836_800_000), "2020, where many a gateway without a battery begins"
    assert is_set(RIGHT_MS)


def test_the_time_of_an_instant_follows_a_clock_that_is_set_and_keeps_still_while_it_drifts() -> None:
    since = Since(Instant(5_000, 60_000, FIRST))
    assert since.wall_ms(Instant(10_000, 65_000, FIRST)) == 5_000
    assert since.wall_ms(Instant(10_999, 65_000, FIRST)) == 5_000
    assert since.wall_ms(Instant(RIGHT_MS, 70_000, FIRST)) == RIGHT_MS - 10_000
    assert since.wall_ms(Instant(RIGHT_MS + 20_003, 90_000, FIRST)) == RIGHT_MS - 10_000
