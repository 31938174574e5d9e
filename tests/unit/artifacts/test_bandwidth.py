"""Which bandwidth counts at which time, and that all who share one keep to it together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.artifacts.bandwidth import BandwidthSchedule, BandwidthShare
from edgeagent.common.units import BitRate
from edgeagent.config.tables import ArtifactsTable, BandwidthSpan


def schedule(usual: float | None, *spans: tuple[str, str, float], timezone: str = "") -> BandwidthSchedule:
    return BandwidthSchedule(
        ArtifactsTable(
            store="file:///x",
            bandwidth=None if usual is None else BitRate(usual),
            bandwidth_at=[BandwidthSpan(start=start, stop=stop, rate=BitRate(rate)) for start, stop, rate in spans],
            timezone=timezone,
        )
    )


def at(hour: int, minute: int = 0, month: int = 3) -> datetime:
    return datetime(2026, month, 20, hour, minute, tzinfo=UTC)


def test_without_keys_there_is_no_limit() -> None:
    assert schedule(None).bytes_per_s(at(12)) is None


@pytest.mark.parametrize(
    ("hour", "minute", "rate"), [(5, 59, 9), (6, 0, 1), (21, 59, 1), (22, 0, 9), (23, 0, 9), (0, 0, 9)]
)
def test_a_span_counts_from_its_start_until_just_before_its_end(hour: int, minute: int, rate: float) -> None:
    assert schedule(9, ("06:00", "22:00", 1)).bytes_per_s(at(hour, minute)) == rate


@pytest.mark.parametrize(("hour", "rate"), [(21, 0), (22, 5), (23, 5), (0, 5), (5, 5), (6, 0)])
def test_a_span_over_midnight(hour: int, rate: float) -> None:
    assert schedule(0, ("22:00", "06:00", 5)).bytes_per_s(at(hour)) == rate


def test_the_first_span_that_contains_the_time_counts() -> None:
    spans = schedule(9, ("06:00", "22:00", 1), ("12:00", "13:00", 2))
    assert spans.bytes_per_s(at(12, 30)) == 1


def test_the_times_are_those_of_the_zone_in_summer_and_in_winter() -> None:
    berlin = schedule(9, ("06:00", "22:00", 1), timezone="Europe/Berlin")
    assert berlin.bytes_per_s(at(5, month=1)) == 1
    assert berlin.bytes_per_s(at(4, 59, month=1)) == 9
    assert berlin.bytes_per_s(at(4, month=7)) == 1
    assert berlin.bytes_per_s(at(3, 59, month=7)) == 9


@given(
    sizes=st.lists(st.integers(1, 100_000), min_size=1, max_size=50),
    gaps_s=st.lists(st.floats(0, 2), min_size=50, max_size=50),
    rate=st.floats(1000, 1e6),
)
def test_never_more_passes_than_the_rate_and_a_short_burst(sizes: list[int], gaps_s: list[float], rate: float) -> None:
    share, now_s, passed = BandwidthShare(), 100.0, []
    for size, gap_s in zip(sizes, gaps_s, strict=False):
        now_s += gap_s
        passed.append((now_s + share.take(size, rate, now_s), size))
    end_s = max(at_s for at_s, _ in passed)
    assert sum(size for _, size in passed) <= rate * (end_s - 100.0 + 0.25) * 1.0001


def test_a_silence_saves_up_no_more_than_a_quarter_of_a_second() -> None:
    share = BandwidthShare()
    share.take(1000, 1000, 0.0)
    assert share.take(1000, 1000, 1000.0) == pytest.approx(0.75)
    assert timedelta(seconds=share.take(1000, 1000, 1000.0)) == timedelta(seconds=1.75)
