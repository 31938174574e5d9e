from __future__ import annotations

import pytest

from edgeagent.outbox.headroom import Headroom


def test_hours_left_follow_the_growth_of_the_last_hour() -> None:
    headroom = Headroom()
    for minute in range(120):
        headroom.sample(minute * 60.0, 1000 if minute < 60 else 1000 + (minute - 60) * 10)
    # 10 triggers of 100 bytes a minute: 60,000 bytes an hour.
    left = headroom.hours_left(120 * 60.0, 1600, 600_000, 100.0)
    assert left == pytest.approx(10.0, rel=0.05)


def test_nothing_is_said_while_nothing_grows_or_too_little_is_known() -> None:
    headroom = Headroom()
    assert headroom.hours_left(0.0, 5, 1000, 100.0) is None
    headroom.sample(0.0, 100)
    assert headroom.hours_left(30.0, 200, 1000, 100.0) is None
    assert headroom.hours_left(600.0, 100, 1000, 100.0) is None
    assert headroom.hours_left(600.0, 50, 1000, 100.0) is None


def test_a_full_outbox_has_no_hours_left() -> None:
    headroom = Headroom()
    headroom.sample(0.0, 0)
    assert headroom.hours_left(600.0, 100, -5, 100.0) == 0.0
