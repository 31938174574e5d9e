from __future__ import annotations

import pytest

from edgeagent.common.backoff import full_jitter


@pytest.mark.parametrize(("attempt", "ceiling_s"), [(0, 1), (1, 2), (5, 32), (6, 60), (7, 60)])
def test_the_ceiling_doubles_with_each_attempt_up_to_the_cap(attempt: int, ceiling_s: float) -> None:
    assert full_jitter(attempt, 1.0, base_s=1, cap_s=60) == ceiling_s


def test_the_fraction_chooses_any_wait_from_none_to_the_ceiling() -> None:
    waits_s = [full_jitter(3, fraction, base_s=1, cap_s=60) for fraction in (0.0, 0.25, 1.0)]
    assert waits_s == [0.0, 2.0, 8.0]


def test_a_gateway_that_was_offline_for_weeks_still_waits_the_cap() -> None:
    assert full_jitter(1_000_000, 1.0, base_s=0.001, cap_s=60) == 60
