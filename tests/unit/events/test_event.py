from __future__ import annotations

import msgspec
import pytest

from edgeagent.common.times import rfc3339
from edgeagent.errors import MessageError
from edgeagent.events.event import Draft, Record, body, check, envelope, record


def draft(**members: object) -> Draft:
    return msgspec.structs.replace(Draft(source="boiler-1", data=b'{"temp": 97.1}', is_json=True), **members)


def test_source_and_data_are_enough() -> None:
    check(draft())


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("source", ""),
        ("source", "a "),
        ("source", "a#"),
        ("source", "x" * 129),
        ("id", "a\nb"),
        ("id", "x" * 129),
        ("type", "x" * 1025),
        ("type", "\x00"),
        ("time", "yes\n"),
        ("subject", "\u2028"),
        ("datacontenttype", "\ud800"),
        ("traceparent", "\t"),
    ],
)
def test_an_attribute_that_breaks_the_contract_is_named(member: str, value: str) -> None:
    with pytest.raises(MessageError) as caught:
        check(draft(**{member: value}))
    assert (caught.value.what, caught.value.member) == ("event", member)


@pytest.mark.parametrize("member", ["type", "time", "subject", "datacontenttype", "traceparent"])
def test_an_attribute_may_have_1024_characters_and_blanks(member: str) -> None:
    check(draft(**{member: "é " * 512}))


def test_the_envelope_has_the_attributes_that_the_event_has() -> None:
    full = draft(
        id="7",
        type="alarm",
        time="2026-03-20T11:00:00Z",
        subject="valve",
        datacontenttype="application/json",
        topic="plant/boiler-1",
        traceparent="00-x",
    )
    assert envelope(full) == {
        "id": "7",
        "source": "boiler-1",
        "type": "alarm",
        "time_quality": "device",
        "subject": "valve",
        "time": "2026-03-20T11:00:00Z",
        "datacontenttype": "application/json",
        "topic": "plant/boiler-1",
        "body": {"temp": 97.1},
    }


def test_attributes_that_the_event_lacks_are_absent_from_the_envelope() -> None:
    assert set(envelope(draft(id="7"))) == {"id", "source", "type", "time", "time_quality", "body"}


def test_data_that_is_no_json_is_base64_text() -> None:
    assert body(draft(data=b"\x00\xff{", is_json=False)) == "AP97"


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[1,]", b"[" * 100_000, b'"\\ud800"'])
def test_data_that_was_to_be_json_and_is_not_is_an_error(data: bytes) -> None:
    with pytest.raises(MessageError, match=r"^event: data: is not JSON: "):
        body(draft(data=data))


def test_a_record_keeps_everything_of_a_draft_and_comes_back_from_disk_the_same() -> None:
    given = draft(
        id="7",
        time="t",
        subject="valve",
        datacontenttype="c",
        traceparent="p",
        topic="a/b",
        delivery=("1f", 65535),
    )
    kept = record(given, "gw", ("overheat", "log"), 1_774_004_400_250, 99)
    for member in set(Draft.__struct_fields__) - {"value", "redelivered", "repeated"}:  # of the way in only
        assert getattr(kept, member) == getattr(given, member)
    assert (kept.agent, kept.rules, kept.accepted_ms, kept.uptime_ms) == (
        "gw",
        ("overheat", "log"),
        1_774_004_400_250,
        99,
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(kept), type=Record) == kept
    assert envelope(kept) == envelope(given)


@pytest.mark.parametrize(
    ("unix_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_774_004_400_250, "2026-03-20T11:00:00.250Z"),
        (1_774_004_400_001, "2026-03-20T11:00:00.001Z"),
        (1_774_004_400_999, "2026-03-20T11:00:00.999Z"),
        (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
    ],
)
def test_an_instant_is_written_in_utc_to_the_millisecond(unix_ms: int, text: str) -> None:
    assert rfc3339(unix_ms) == text


def test_data_that_was_decoded_once_is_not_decoded_again() -> None:
    given = draft(data=b"not looked at", is_json=True, value={"temp": 97})
    assert envelope(given)["body"] is given.value
