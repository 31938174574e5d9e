from __future__ import annotations

from edgeagent.agent.series import DAY, HOUR, FlowSample, Series


def test_what_came_and_went_is_summed_by_step_and_what_waits_is_a_level() -> None:
    series = Series()
    for at_s, sample in ((3000, (10, 5, 5)), (3015, (13, 6, 7)), (3029, (14, 9, 5)), (3030, (15, 15, 0))):
        series.sample(at_s, FlowSample(*sample))
    hour = series.shown(3030)["hour"]
    assert hour["step_s"] == 30
    assert hour["events"][-3:] == [None, 4, 1], "the first sample only says from where to count"
    assert hour["triggers"][-3:] == [None, 4, 6]
    assert hour["pending"][-3:] == [None, 5, 0]
    assert series.shown(3030)["day"]["events"][-1] == 5


def test_a_time_in_which_nothing_was_seen_is_none_and_not_zero() -> None:
    series = Series()
    series.sample(0, FlowSample(0, 0, 0))
    series.sample(120, FlowSample(7, 7, 1))
    assert series.shown(150)["hour"]["events"][-6:] == [0, None, None, None, 7, None]


def test_counters_that_went_back_are_not_counted_as_less() -> None:
    series = Series()
    series.sample(0, FlowSample(100, 100, 3))
    series.sample(30, FlowSample(2, 2, 3))
    assert series.shown(30)["hour"]["events"][-2:] == [0, 0]


def test_a_clock_that_goes_back_counts_for_the_last_step() -> None:
    series = Series()
    series.sample(600, FlowSample(0, 0, 0))
    series.sample(300, FlowSample(5, 0, 0))
    assert series.shown(600)["hour"]["events"][-1] == 5


def test_its_size_does_not_depend_on_how_long_it_runs() -> None:
    series = Series()
    for minute in range(3 * 24 * 60):
        series.sample(minute * 60, FlowSample(minute, minute, 0))
    shown = series.shown(3 * 24 * 3600)
    assert [len(shown[name]["events"]) for name, _, _ in (HOUR, DAY)] == [120, 96]
    assert [len(span._steps) for span in series._spans.values()] == [120, 96]
