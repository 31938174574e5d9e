from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfoNotFoundError

import pytest

from edgeagent.errors import MessageError
from edgeagent.rules import filter_time
from edgeagent.rules.filter_time import compile_time, time_problems
from edgeagent.rules.spec import TimeFilter

BERLIN = "Europe/Berlin"
NEW_YORK = "America/New_York"


def inside(window: TimeFilter, text: str) -> bool:
    assert list(time_problems(window)) == []
    return compile_time(window)({"time": text})


def minutes_inside(window: TimeFilter, day: str) -> int:
    """How many minutes of a day and the evening before it, from noon to noon in UTC, lie in the window."""
    noon = datetime.fromisoformat(day).replace(tzinfo=UTC) - timedelta(hours=12)
    times = [noon + timedelta(minutes=number) for number in range(24 * 60)]
    return sum(inside(window, time.isoformat()) for time in times)


@pytest.mark.parametrize(
    ("start", "stop", "times"),
    [
        ("09:00:00", "17:00:00", {"08:59:59.999": False, "09:00:00": True, "16:59:59.999999": True, "17:00:00": False}),
        ("22:00:00", "06:00:00", {"21:59:59": False, "22:00:00": True, "00:00:00": True, "05:59:59.9": True}),
        ("22:00:00", "06:00:00", {"06:00:00": False, "12:00:00": False}),
        ("00:00:00", "12:00:00", {"00:00:00": True, "11:59:59": True, "12:00:00": False}),
        ("12:00:00", "00:00:00", {"12:00:00": True, "23:59:59": True, "00:00:00": False}),
        ("9:30:00.5", "9:30:01", {"09:30:00.499": False, "09:30:00.5": True, "09:30:01": False}),
    ],
)
def test_a_window_begins_with_its_start_and_ends_before_its_stop(start: str, stop: str, times: dict[str, bool]) -> None:
    for clock, expected in times.items():
        assert inside(TimeFilter(start, stop), f"2026-03-20T{clock}Z") is expected, clock


def test_without_a_time_zone_the_window_is_in_utc_whatever_the_events_offset_is() -> None:
    window = TimeFilter("09:00:00", "10:00:00")
    assert inside(window, "2026-03-20T10:30:00+01:00")
    assert not inside(window, "2026-03-20T09:30:00+01:00")
    assert inside(window, "2026-03-19T23:30:00-10:00")


def test_a_window_keeps_to_the_wall_clock_of_its_zone_in_summer_and_in_winter() -> None:
    night = TimeFilter("22:00:00", "06:00:00", BERLIN)
    for time, expected in {
        "2026-01-10T21:00:00Z": True,  # 22:00, one hour before UTC
        "2026-01-10T20:59:59Z": False,
        "2026-07-10T20:00:00Z": True,  # 22:00, two hours before UTC
        "2026-07-10T19:59:59Z": False,
        "2026-03-29T03:59:59Z": True,  # 05:59:59, three hours after the clocks were put forward
        "2026-03-29T04:00:00Z": False,
        "2026-10-25T04:59:59Z": True,  # 05:59:59, after they were put back
        "2026-10-25T05:00:00Z": False,
    }.items():
        assert inside(night, time) is expected, time


@pytest.mark.parametrize(
    ("zone", "forward", "back"), [(BERLIN, "2026-03-29", "2026-10-25"), (NEW_YORK, "2026-03-08", "2026-11-01")]
)
def test_a_night_loses_an_hour_when_clocks_are_put_forward_and_has_one_more_when_they_are_put_back(
    zone: str, forward: str, back: str
) -> None:
    night = TimeFilter("00:30:00", "04:30:00", zone)
    assert minutes_inside(night, "2026-06-15") == 240
    assert minutes_inside(night, forward) == 180
    assert minutes_inside(night, back) == 300


def test_a_window_in_the_hour_that_does_not_exist_is_closed_that_day_and_one_that_comes_twice_is_open_twice() -> None:
    window = TimeFilter("02:15:00", "02:45:00", BERLIN)
    assert minutes_inside(window, "2026-03-29") == 0
    assert minutes_inside(window, "2026-10-25") == 60
    # Half in that hour: it opens when the clock has passed its start, and does not turn into the rest of the day.
    assert minutes_inside(TimeFilter("02:30:00", "03:15:00", BERLIN), "2026-03-29") == 15


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-03-20",
        "2026-03-20T11:00:00",  # no offset: when was that?
        "2026-03-20 11:00:00Z",
        "20260320T110000Z",
        "2026-03-20T11:00:60Z",
        "2026-02-30T11:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2026-03-20T11:00:00Z\n",
        "\u0662026-03-20T11:00:00Z",
    ],
)
def test_an_event_whose_time_is_none_cannot_be_decided(text: str) -> None:
    with pytest.raises(MessageError, match=r"filter: time: must be RFC 3339"):
        inside(TimeFilter("00:00:00", "12:00:00"), text)


def test_nanoseconds_are_read() -> None:
    assert inside(TimeFilter("11:00:00", "12:00:00"), "2026-03-20T11:00:00.123456789Z")


@pytest.mark.parametrize(
    "text", ["", "09:00", "24:00:00", "9:0:0", "12:60:00", "12:00:60", "noon", "12:00:00.", "-1:00:00"]
)
def test_what_is_no_time_of_day_is_refused_by_its_key(text: str) -> None:
    for key, window in {"start": TimeFilter(text, "12:00:00"), "stop": TimeFilter("12:00:00", text)}.items():
        [(found, reason)] = time_problems(window)
        assert found == f"time.{key}"
        assert reason == f'must be a time of day with seconds, such as "22:00:00", is {text!r}'


@pytest.mark.parametrize("text", ["9:00:00", "  09:00:00", "09:00:00.25", "09:00:00,25"])
def test_the_forms_that_go_reads_besides_are_read(text: str) -> None:
    assert list(time_problems(TimeFilter(text, "12:00:00"))) == []


def test_a_window_of_no_length_is_refused() -> None:
    [(key, reason)] = time_problems(TimeFilter("9:00:00", "09:00:00"))
    assert key == "time.stop"
    assert "the same as start" in reason


@pytest.mark.parametrize(
    "name", ["Mars/Olympus", "Europe", "../../etc/passwd", "/etc/localtime", "Europe/Berlin\0", "x" * 999]
)
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    [(key, reason)] = time_problems(TimeFilter("09:00:00", "12:00:00", name))
    assert key == "time.timezone"
    assert "must be a name of the IANA such as Europe/Berlin" in reason


def test_without_time_zone_data_a_zone_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> None:
        raise ZoneInfoNotFoundError(name)

    monkeypatch.setattr(filter_time, "ZoneInfo", none)
    [(_, reason)] = time_problems(TimeFilter("09:00:00", "12:00:00", BERLIN))
    assert "the package tzdata" in reason
    assert list(time_problems(TimeFilter("09:00:00", "12:00:00"))) == [], "UTC needs no data"
