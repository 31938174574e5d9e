"""`rehearsal.recordings`: recorded lines and rows as the events that a device would have sent."""

from __future__ import annotations

import json

import pytest

from edgeagent.errors import MessageError
from edgeagent.ports.transfer import ExportedTrigger
from edgeagent.rehearsal.recordings import Columns, event_of_line, event_of_trigger


def test_a_line_is_an_event_as_post_v1_events_takes_it() -> None:
    event = event_of_line(b'{"source": "boiler-1", "id": "7", "type": "reading", "data": {"temp": 97.1}}', "")
    assert (event.source, event.id, event.type, event.data, event.value) == (
        "boiler-1",
        "7",
        "reading",
        b'{"temp": 97.1}',
        {"temp": 97.1},
    )


def test_a_cloudevent_is_taken_with_its_extensions() -> None:
    event = event_of_line(
        b'{"specversion": "1.0", "source": "s", "id": "1", "type": "t", "shift": "night", "data_base64": "AAE="}', ""
    )
    assert (event.source, event.data, event.is_json) == ("s", b"\0\1", False)


def test_data_that_only_mentions_specversion_is_no_cloudevent() -> None:
    assert event_of_line(b'{"source": "s", "data": {"specversion": "1.0"}}', "").value == {"specversion": "1.0"}


def test_a_source_is_given_only_to_an_event_that_names_none() -> None:
    assert event_of_line(b'{"data": 1}', "given").source == "given"
    assert event_of_line(b'{"source": "own", "data": 1}', "given").source == "own"
    with pytest.raises(MessageError, match="source: is missing"):
        event_of_line(b'{"data": 1}', "")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not JSON"),
        (b"[1]", "must be an object"),
        (b'{"source": "s", "data": 1, "temp": 2}', "temp: is not a member"),
        (b'{"source": "s"}', "data: is missing"),
        (b'{"specversion": "1.0"', "not JSON"),
        (b'{"source": "s", "data": "\xff"}', ""),
        (b'{"source": "s", "data": ' + b"[" * 100_000, "nested too deep"),
    ],
)
def test_a_line_that_is_no_event_is_refused_with_the_member(line: bytes, reason: str) -> None:
    with pytest.raises(MessageError) as caught:
        event_of_line(line, "")
    assert reason in str(caught.value)


def test_the_event_of_an_export_is_the_one_that_was_stored() -> None:
    trigger = ExportedTrigger(
        agent="gw-1",
        source="s",
        id="1",
        rule="r",
        type="t",
        time="2026-03-20T11:00:00Z",
        is_json=False,
        accepted_ms=1,
        log="normal",
        data_base64="AAE=",
        topic="a/b",
    )
    event = event_of_trigger(trigger)
    assert (event.source, event.id, event.type, event.time, event.data, event.topic) == (
        "s",
        "1",
        "t",
        "2026-03-20T11:00:00Z",
        b"\0\1",
        "a/b",
    )


def test_columns_are_attributes_or_members_of_the_data() -> None:
    columns = Columns(
        ["Time", "sensor", "T [°C]", "ok", "note", "Type"],
        {"sensor": "source", "3": "pump.temp", "note": "body.id"},
        "file",
    )
    event = columns.event(["2022-03-20T11:00:00+01:00", "pump-1", "97.10", "TRUE", " leak ", "reading"])
    assert (event.source, event.time, event.type, event.id) == ("pump-1", "2022-03-20T11:00:00+01:00", "reading", "")
    assert event.value == {"pump": {"temp": 97.1}, "ok": True, "id": "leak"}
    assert json.loads(event.data) == event.value


def test_an_empty_field_is_no_member_and_an_empty_source_is_the_given_one() -> None:
    event = Columns(["source", "temp"], {}, "file").event(["", " "])
    assert (event.source, event.value, event.time) == ("file", {}, "")


def test_a_column_keeps_the_dots_in_its_own_name() -> None:
    assert Columns(["p.temp", "a\\b"], {}, "f").event(["1", "2"]).value == {"p.temp": 1, "a\\b": 2}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("97", 97),
        ("-0.5", -0.5),
        ("1e3", 1000.0),
        ("1e999", "1e999"),
        ("9" * 200, "9" * 200),
        ("007", "007"),
        ("NaN", "NaN"),
        ("1,5", "1,5"),
        ("٣", "٣"),
        ("false", False),
    ],
)
def test_only_what_json_calls_a_number_is_one(text: str, value: object) -> None:
    assert Columns(["x"], {}, "f").event([text]).value == {"x": value}


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2022-03-20T11:00:00+01:00", "2022-03-20T11:00:00+01:00"),
        ("2022-03-20 11:00:00+01:00", "2022-03-20T11:00:00+01:00"),
        ("2022-03-20 11:00:00", "2022-03-20T11:00:00Z"),
        ("1647770400", "2022-03-20T10:00:00.000Z"),
        ("1647770400250", "2022-03-20T10:00:00.250Z"),
        ("99999999999000", "5138-11-16T09:46:39.000Z"),
        ("20.03.2022", "20.03.2022"),
        ("", ""),
    ],
)
def test_times_become_those_of_events_as_far_as_they_are_understood(text: str, time: str) -> None:
    assert Columns(["time"], {}, "f").event([text]).time == time


@pytest.mark.parametrize(
    ("header", "mapping", "reason"),
    [
        (["a"], {"b": "x"}, "there is no column 'b'; there are: 'a'"),
        (["a"], {"2": "x"}, "there is no column '2'"),
        (["a"], {"0": "x"}, "there is no column '0'"),
        (["a"], {"9" * 5000: "x"}, "there is no column"),
        (["a", "b"], {"a": "b"}, "two columns are 'b'"),
        (["time", "Time"], {}, "two columns are 'time'"),
        (["a", ""], {}, "column 2 has no name"),
        (["a", "b"], {"a": "x", "b": "x.y"}, "'x.y' is inside of another column"),
        (["a", "b"], {"a": "x.y", "b": "x"}, "'x' is around another column"),
        (["a"], {"a": "x..y"}, "not a path"),
        (["a"], {"a": "body.x."}, "not a path"),
    ],
)
def test_columns_that_make_no_sense_are_refused(header: list[str], mapping: dict[str, str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason.replace("(", "\\(")):
        Columns(header, mapping, "f")


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="has 1 fields, and there are 2 columns"):
        Columns(["a", "b"], {}, "f").event(["1"])
