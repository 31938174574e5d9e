"""The last warnings and errors, kept for whoever asks."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from edgeagent.host.troubles import MAX_KINDS, LastTroubles

log = logging.getLogger("edgeagent.test_troubles")


@pytest.fixture
def troubles() -> Iterator[LastTroubles]:
    with LastTroubles() as kept:
        yield kept


def test_the_last_of_each_kind_is_kept_with_how_often_it_came(troubles: LastTroubles) -> None:
    for number in range(3):
        log.warning("link %d is down", number, extra={"event": "link_down"})
    log.error("lost %d", 4, extra={"event": "outbox_damaged"})
    log.warning("link %d is down", 9, extra={"event": "link_down"})
    log.info("all is well", extra={"event": "link_up"})
    stats = troubles.stats()
    assert (stats["warnings"], stats["errors"]) == (4, 1)
    told = [(each["level"], each["event"], each["message"], each["count"]) for each in stats["last"]]
    assert told == [("warning", "link_down", "link 9 is down", 4), ("error", "outbox_damaged", "lost 4", 1)]
    assert all(each["at"].endswith("Z") for each in stats["last"])


@pytest.mark.slow
def test_however_many_kinds_there_are_memory_stays_the_same(troubles: LastTroubles) -> None:
    for number in range(10_000):
        log.error("x" * 10_000, extra={"event": f"kind-{number}"})
    last = troubles.stats()["last"]
    assert [each["event"] for each in last] == [f"kind-{number}" for number in range(9_999, 9_999 - MAX_KINDS, -1)]
    assert max(len(each["message"]) for each in last) <= 300


def test_a_text_from_outside_stays_on_one_line(troubles: LastTroubles) -> None:
    log.warning("a message of %s", "\x1b[2J\nroot#", extra={"event": "foreign"})
    assert troubles.stats()["last"][0]["message"] == "a message of \\x1b[2J root#"


def test_a_record_that_cannot_be_formatted_fails_nobody(troubles: LastTroubles) -> None:
    troubles.handle(logging.LogRecord("edgeagent.x", logging.ERROR, "", 0, "%d of %d", ("one",), None))
    assert troubles.stats()["last"][0]["message"] == "(a message that cannot be shown)"


def test_after_the_agent_nothing_is_kept() -> None:
    before = [*logging.getLogger().handlers]
    with LastTroubles() as kept:
        pass
    log.error("later")
    assert kept.stats()["errors"] == 0
    assert logging.getLogger().handlers == before
