from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.host import log as host_log

logger = logging.getLogger("edgeagent.mqtt.session")


@pytest.fixture(autouse=True)
def _root_logger_is_given_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def lines_of(fmt: host_log.Format, *calls: tuple[int, str, dict[str, Any]], level: str = "debug") -> list[str]:
    """What these calls write."""
    stream = io.StringIO()
    host_log.configure(level, fmt, stream, {})
    for number, message, extra in calls:
        logger.log(number, "%s", message, extra=extra)
    return stream.getvalue().splitlines()


@pytest.mark.parametrize(
    ("level", "priority"),
    [
        (logging.DEBUG, 7),
        (logging.INFO, 6),
        (logging.WARNING, 4),
        (logging.ERROR, 3),
        (logging.CRITICAL, 2),
    ],
)
def test_a_line_for_the_journal_begins_with_its_priority_and_has_no_time(level: int, priority: int) -> None:
    (line,) = lines_of("journal", (level, "the uplink is down", {"event": "uplink_down", "retry_s": 4}))
    assert line == f"<{priority}>mqtt.session: the uplink is down event=uplink_down retry_s=4"


def test_a_line_for_a_person_begins_with_local_time_with_its_offset_and_the_level() -> None:
    (line,) = lines_of("text", (logging.WARNING, "the uplink is down", {"event": "uplink_down", "retry_s": 4}))
    time, level, rest = line.split(maxsplit=2)
    then = datetime.fromisoformat(time)
    assert then.utcoffset() == datetime.now().astimezone().utcoffset()
    assert abs(datetime.now().astimezone() - then) < timedelta(minutes=1)
    assert level == "WARNING"
    assert rest == "mqtt.session: the uplink is down event=uplink_down retry_s=4"


def test_a_value_with_spaces_or_quotes_is_quoted() -> None:
    (line,) = lines_of("journal", (logging.INFO, "m", {"event": "e", "a": 'say "no"', "b": "", "c": "k=v"}))
    assert line.endswith(r'a="say \"no\"" b="" c="k=v"')


def test_a_json_line_is_one_object_with_utc_time_level_event_message_logger_and_the_extras() -> None:
    (line,) = lines_of("json", (logging.ERROR, "lost", {"event": "damaged", "first": 3, "range": [3, 9], "who": None}))
    record = json.loads(line)
    assert list(record) == ["ts", "level", "event", "message", "logger", "first", "range", "who"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record.pop("ts"))
    assert record == {
        "level": "error",
        "event": "damaged",
        "message": "lost",
        "logger": "edgeagent.mqtt.session",
        "first": 3,
        "range": [3, 9],
        "who": None,
    }


def test_an_extra_cannot_take_the_place_of_the_level_or_the_time() -> None:
    (line,) = lines_of("json", (logging.ERROR, "m", {"event": "e", "level": "info", "ts": "never"}))
    record = json.loads(line)
    assert record["level"] == "error"
    assert record["ts"] != "never"


@pytest.mark.parametrize("fmt", ["journal", "text", "json"])
def test_a_record_without_an_event_carries_its_loggers_name_as_event(fmt: host_log.Format) -> None:
    (line,) = lines_of(fmt, (logging.INFO, "m", {}))
    expected = '"event":"edgeagent.mqtt.session"' if fmt == "json" else "event=edgeagent.mqtt.session"
    assert expected in line


HOSTILE = 'boiler\n<0>edgeagent: fake event=x\r\n\x1b[31mred\u2028\x85 \ud800 "'


@pytest.mark.parametrize("fmt", ["journal", "text", "json"])
def test_text_from_outside_cannot_begin_a_second_line_or_reach_the_terminal(fmt: host_log.Format) -> None:
    lines = lines_of(fmt, (logging.WARNING, HOSTILE, {"event": HOSTILE, HOSTILE: HOSTILE, "nested": [HOSTILE]}))
    assert len("".join(lines).splitlines()) == len(lines) == 1
    assert "\x1b" not in lines[0]


@given(st.text(st.characters(codec=None)), st.text(), st.sampled_from(["journal", "text", "json"]))
def test_one_record_is_one_line_whatever_it_contains(message: str, value: str, fmt: host_log.Format) -> None:
    stream = io.StringIO()
    host_log.configure("debug", fmt, stream, {})
    logger.info("%s", message, extra={"event": "e", "value": value})
    text = stream.getvalue()
    assert text.endswith("\n")
    assert "\n" not in text[:-1]
    assert "\r" not in text
    if fmt == "json":
        json.loads(text)


@pytest.mark.parametrize("fmt", ["journal", "text", "json"])
def test_a_traceback_stays_on_the_records_line(fmt: host_log.Format) -> None:
    stream = io.StringIO()
    host_log.configure("info", fmt, stream, {})
    logger.critical("failed", exc_info=ValueError("first\nsecond"), extra={"event": "failed"})
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: first\\nsecond" in line
    assert "traceback" in line


def test_what_json_cannot_say_is_written_as_text() -> None:
    (line,) = lines_of(
        "json", (logging.INFO, "m", {"event": "e", "path": Path("/x"), "error": OSError(5, "I/O error")})
    )
    assert json.loads(line)["path"] == "/x"
    assert json.loads(line)["error"] == "[Errno 5] I/O error"


def test_records_below_the_level_are_not_written() -> None:
    lines = lines_of("journal", (logging.INFO, "fine", {}), (logging.WARNING, "odd", {}), level="warning")
    assert [line[:3] for line in lines] == ["<4>"]


def test_what_asyncio_logs_is_written_in_the_same_form() -> None:
    stream = io.StringIO()
    host_log.configure("info", "json", stream, {})
    logging.getLogger(asyncio.__name__).warning("socket.send() raised exception.")
    assert json.loads(stream.getvalue())["logger"] == "asyncio"


def test_a_second_configuration_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    host_log.configure("info", "text", first, {})
    host_log.configure("info", "text", second, {})
    logger.info("once", extra={"event": "e"})
    assert not first.getvalue()
    assert second.getvalue().count("once") == 1


def test_auto_is_the_journals_form_only_when_this_very_stream_goes_to_the_journal(tmp_path: Path) -> None:
    found: list[str] = []
    with (tmp_path / "stderr").open("w+") as stream:
        status = os.fstat(stream.fileno())
        here = f"{status.st_dev}:{status.st_ino}"
        for env in ({"JOURNAL_STREAM": here}, {"JOURNAL_STREAM": f"{status.st_dev}:1"}, {}):
            host_log.configure("info", "auto", stream, env)
            logger.info("m", extra={"event": "e"})
        stream.seek(0)
        found = stream.read().splitlines()
    assert found[0].startswith("<6>")
    assert re.match(r"\d{4}-", found[1])
    assert re.match(r"\d{4}-", found[2])


def test_auto_is_text_on_a_stream_without_a_file() -> None:
    (line,) = lines_of("auto", (logging.INFO, "m", {"event": "e"}))
    assert re.match(r"\d{4}-", line)
