from __future__ import annotations

import io
import logging

from edgeagent.host import log
from edgeagent.host.recent_lines import MAX_CHARS, MAX_LINES, RecentLines


def test_the_oldest_lines_go_first_and_memory_is_bounded() -> None:
    recent = RecentLines()
    for number in range(2 * MAX_LINES):
        recent.add(logging.INFO, f"line {number}")
    assert recent.lines() == [f"line {number}" for number in range(MAX_LINES, 2 * MAX_LINES)]
    recent.add(logging.INFO, "x" * (2 * MAX_CHARS))
    assert [len(line) for line in recent.lines()] == [MAX_CHARS]


def test_lines_of_a_level_are_found_among_others() -> None:
    recent = RecentLines()
    for level in (logging.INFO, logging.WARNING, logging.ERROR):
        recent.add(level, logging.getLevelName(level))
    assert recent.lines(logging.WARNING) == ["WARNING", "ERROR"]


def test_what_is_logged_is_kept_for_a_person_whatever_the_format_is() -> None:
    for form in ("json", "journal", "text"):
        log.configure("info", form, io.StringIO())
        logging.getLogger("edgeagent.test").warning("kept in %s\n", form, extra={"event": "tried"})
        line = log.recent_lines(logging.WARNING)[-1]
        assert f"WARNING  test: kept in {form}\\n event=tried" in line
    root = logging.getLogger()
    for handler in [each for each in root.handlers if type(each).__name__ == "_Handler"]:
        root.removeHandler(handler)
        handler.close()
