"""The screen of `edgeagent status` and `edgeagent top`."""

from __future__ import annotations

from typing import Any

import pytest

from edgeagent.cli.board import MIN_HEIGHT, MIN_WIDTH, Board, board_lines, plain_line
from edgeagent.cli.pieces import Shade
from edgeagent.cli.shown_stats import Rates, rates_between, rates_of_series, read_stats
from edgeagent.common.times import instant
from tests.fakes.agent_stats import agent_stats

NOW_MS = round(instant("2026-03-20T12:00:00Z").timestamp() * 1000)
EVIL = "\x1b[2J\nroot# \u202e" + "x" * 500
DOWN = {"connected": False, "error": "mqtts://cloud.example:8883: the connection failed (No route to host)"}


def board(not_ready: str = "", **members: Any) -> Board:
    oldest_ms = NOW_MS - 840_000
    return Board(read_stats(agent_stats(**members)), not_ready, oldest_ms, Rates(12.34, 11.0, 300), NOW_MS)


def screen(shown: Board, width: int = MIN_WIDTH, height: int = MIN_HEIGHT) -> list[str]:
    return ["".join(piece.text for piece in line) for line in board_lines(shown, width, height)]


def shade(shown: Board, text: str) -> Shade:
    """The shade of the piece with this text."""
    lines = board_lines(shown, 200, 60)
    [found] = [piece.shade for line in lines for piece in line if text in piece.text]
    return found


def test_a_healthy_agent_is_told_in_a_few_lines() -> None:
    assert screen(board(mqtt={"addresses": ["mqtt://0.0.0.0:1883"], "connections": 12, "sessions": 40})) == [
        "edgeagent gw-042   1.2.3   up 1 h   ready",
        "uplink   up for 30 min   mqtts://cloud.example:8883",
        "mqtt     12 devices connected, 40 sessions   mqtt://0.0.0.0:1883",
        "http     3 connections   127.0.0.1:8080, /run/edgeagent/agent.sock",
        "outbox   20 pending, 8.0 of 256 MiB reserved (3%), oldest 14 min",
        "rates    in 12.3/s, out 11.0/s, over the last 5 min",
        "account  balanced   1,200 triggers = 1,180 settled, 20 pending",
        "",
        "RULE                   MATCHED      SENT   SETTLED   DEAD  EXPIRED  HELD BACK",
        "overheat                 1,200     1,200     1,180      0        0          0",
    ]


def test_whatever_is_wrong_has_its_words() -> None:
    at = "2026-03-20T11:59:01Z"
    noted = {"at": at, "level": "error", "event": "dead_letter", "message": "m", "count": 2}
    text = "\n".join(
        screen(
            board(
                "the dead letters are full",
                uplink=DOWN,
                local={"address": "mqtt://127.0.0.1", **DOWN, "since": "2026-03-20T11:58:00Z"},
                outbox={"hours_left": 3.5, "failure": "no space left", "parked": 7, "lost": [{}], "accepting": False},
                account={"balanced": False},
                log={"errors": 2, "warnings": 31, "last": [noted]},
            )
        )
    )
    for words in (
        "not ready: the dead letters are full",
        "down for 30 min: mqtts://cloud.example:8883: the connection failed (No",
        "         route to host)",
        "local    down for 2 min",
        "full in 3 h 30 min at the rate of the last hour",
        "takes no events: no space left",
        "7 parked",
        "1 loss since the start: edgeagent outbox verify",
        "NOT BALANCED",
        "2 errors and 31 warnings in the log",
        "11:59:01 dead_letter x2: m",
    ):
        assert words in text


def test_a_word_of_trouble_comes_with_what_to_do() -> None:
    shown = board(
        uplink={"trouble": "nobody subscribes to argo/workflows/trigger", "remedy": "is a dispatcher running?"}
    )
    assert screen(shown)[2].strip() == "nobody subscribes to argo/workflows/trigger; is a dispatcher running?"


def test_a_long_reason_goes_on_in_the_next_lines_and_none_of_it_is_lost() -> None:
    reason = "mqtts://cloud.example:8883: the broker refuses us (not authorised): correct username and password_file"
    remedy = "see what the broker's log says about this user, and whether its access list knows the topics"
    noted = {"at": "2026-03-20T11:59:01Z", "level": "error", "event": "dead_letter", "message": remedy, "count": 1}
    shown = board(uplink={"connected": False, "error": reason}, log={"errors": 1, "warnings": 0, "last": [noted]})
    lines = screen(shown, 80, 24)
    assert max(map(len, lines)) <= 80
    assert lines[1:3] == [
        "uplink   down for 30 min: mqtts://cloud.example:8883: the broker refuses us (not",
        "         authorised): correct username and password_file",
    ]
    assert lines[-2:] == [
        "11:59:01 dead_letter: see what the broker's log says about this user, and",
        "         whether its access list knows the topics",
    ]
    assert [piece.shade for piece in board_lines(shown, 80, 24)[2]] == [Shade.PLAIN, Shade.PLAIN]
    small = ["".join(piece.text for piece in line) for line in board_lines(shown, 80, 8, scrolls=True)]
    assert small[1:3] == lines[1:3], "a screen that scrolls has room for all of it"
    assert len(screen(shown, 80, 13)) <= 13


def test_what_must_be_looked_at_is_not_told_in_the_same_shade_as_the_rest() -> None:
    assert shade(board(), "up for") is Shade.GOOD
    assert shade(board(uplink=DOWN), "down for") is Shade.BAD
    assert shade(board(), "oldest 14 min") is Shade.BAD
    assert shade(board()._replace(oldest_ms=NOW_MS - 1000), "oldest 1 s") is Shade.PLAIN
    assert shade(board(outbox={"hours_left": 3.5}), "full in") is Shade.BAD
    assert shade(board(outbox={"hours_left": 300.0}), "full in") is Shade.PLAIN


@pytest.mark.parametrize("height", [MIN_HEIGHT - 1, MIN_HEIGHT, 40, 60])
@pytest.mark.parametrize("width", [MIN_WIDTH, 132, 500])
def test_the_worst_that_can_be_told_fits_the_screen(width: int, height: int) -> None:
    noted = [{"at": EVIL, "level": "error", "event": EVIL, "message": EVIL, "count": 10**9}] * 20
    counts = dict.fromkeys(("matched", "published", "settled", "dead", "expired", "throttled"), 10**9)
    shown = board(
        EVIL,
        agent=EVIL,
        version=EVIL,
        started=EVIL,
        rescue=True,
        uplink={"trouble": EVIL, "remedy": EVIL, "address": EVIL, "since": EVIL},
        local={"address": EVIL, "connected": False, "error": EVIL, "since": EVIL},
        mqtt={"addresses": [EVIL] * 9, "connections": 1, "sessions": 1, "held": EVIL, "connects_refused": 5},
        http={"addresses": [EVIL] * 9, "connections": 10**9},
        outbox={"failure": EVIL, "accepting": False, "parked": 10**9, "lost": [{}] * 100, "hours_left": 1e9},
        rules={f"{EVIL}{number}": counts for number in range(100)},
        log={"errors": 10**9, "warnings": 10**9, "last": noted},
        webhooks={"receivers": [{"webhook": EVIL, "last_error": EVIL, "lost": 10**9}] * 16},
    )
    lines = screen(shown, width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert all(line.isprintable() for line in lines)
    assert any("rules more" in line for line in lines)


def test_a_webhook_that_loses_reports_is_told_and_one_that_takes_them_is_not() -> None:
    receivers = [
        {"webhook": "relay.webhook[0]", "lost": 4, "last_error": ""},
        {"webhook": "relay.webhook[1]", "lost": 1, "last_error": "it answered 401"},
    ]
    (line,) = (line for line in screen(board(webhooks={"receivers": receivers})) if "webhook" in line)
    assert line.endswith("relay.webhook[1]: 1 report is lost: it answered 401")


def test_a_webhook_that_takes_nothing_has_lost_nothing_and_comes_after_one_that_loses() -> None:
    failing = {"webhook": "relay.webhook[0]", "last_error": "it answered 500", "failures": 3, "pending": 12}
    gone = {"webhook": "relay.webhook[1]", "gone": True, "lost": 8}
    (line,) = (line for line in screen(board(webhooks={"receivers": [failing]})) if "webhook" in line)
    assert line.endswith("relay.webhook[0]: takes no reports: it answered 500; 12 wait")
    shown = screen(board(webhooks={"receivers": [failing, gone]}), width=120)
    (line,) = (line for line in shown if "webhook" in line)
    assert line.endswith("relay.webhook[1]: 8 reports are lost: wants no more (410); 1 webhook more has trouble")


def test_of_a_long_rule_name_the_beginning_is_shown() -> None:
    names = ["frost-at-the-inlet", "frost-at-the-outlet-of-the-tank"]
    lines = screen(board(rules={name: {"matched": 1} for name in names}))
    assert [line[:20] for line in lines if line.startswith("frost")] == ["frost-at-the-inlet  ", "frost-at-the-outlet…"]


def test_the_rules_with_the_most_traffic_come_first_and_the_others_are_counted() -> None:
    rules = {f"r{number:02}": {"matched": number} for number in range(100)}
    lines = screen(board(rules=rules))
    assert lines[9].split()[:2] == ["r99", "99"]
    assert lines[-1] == f"and {100 - (len(lines) - 10)} rules more"
    assert len(lines) == MIN_HEIGHT


def test_one_line_has_what_matters_most() -> None:
    assert plain_line(board()) == "uplink up, in 12.3/s, out 11.0/s, pending 20, oldest 14 min"
    trouble = board(
        uplink={**DOWN, "trouble": "nobody subscribes"},
        outbox={"hours_left": 30.0, "parked": 2, "dead": {"count": 3, "max_count": 10}},
        account={"balanced": False},
    )._replace(rates=None)
    assert plain_line(trouble) == (
        "uplink down (mqtts://cloud.example:8883: the connection failed (No route to host)), rates not known yet, "
        "pending 20, oldest 14 min, full in 1 d 6 h, parked 2, dead 3, ACCOUNT NOT BALANCED, nobody subscribes"
    )


def test_rates_come_from_the_counters_of_two_looks() -> None:
    before = read_stats(agent_stats())
    after = read_stats(
        agent_stats(
            account={"events": agent_stats()["account"]["events"] | {"received": 1300}}, uplink={"published": 1250}
        )
    )
    assert rates_between(before, after, 10.0) == Rates(10.0, 4.0, 10.0)
    assert rates_between(after, before, 10.0) == Rates(0.0, 0.0, 10.0), "a counter that went back is no rate"
    assert rates_between(before, after, 0.0) is None


def test_rates_come_from_the_whole_steps_of_the_agents_series_of_the_last_five_minutes() -> None:
    events = [None] * 100 + [1000] * 9 + [30] * 10 + [7]
    triggers = [None] * 100 + [1000] * 9 + [15] * 10 + [7]
    series = {"hour": {"step_s": 30, "events": events, "triggers": triggers}}
    assert rates_of_series(series) == Rates(1.0, 0.5, 300)
    young = {"hour": {"step_s": 30, "events": [None] * 117 + [60, 60, 1], "triggers": [None] * 117 + [0, 0, 0]}}
    assert rates_of_series(young) == Rates(2.0, 0.0, 60)
    assert rates_of_series({"hour": {"step_s": 30, "events": [None, 5], "triggers": [None, 5]}}) is None


def test_large_data_is_told_with_what_waits_for_the_store_and_why() -> None:
    store = {"store": "https://store.example/plant", "triggers": 3, "sending": 1, "waiting_bytes": 5 << 19}
    assert "store    3 triggers wait for 2.5 MiB, 1 on the way   https://store.example/plant" in screen(
        board(artifacts=store)
    )
    away = {"failing_since": "2026-03-20T11:50:00.000Z", "last_error": "no route\nto host"}
    found = "\n".join(screen(board(artifacts=store | away)))
    assert "3 triggers wait for 2.5 MiB: not taken for 10 min: no route to host" in found
    assert "tried again" not in found, "it is tried now"
    assert shade(board(artifacts=store | away), "not taken") is Shade.WAITING
    later = "\n".join(screen(board(artifacts=store | away | {"next_try_s": 57.0}), width=120))
    assert "no route to host; tried again in 57 s" in later


def test_large_data_that_is_not_complete_is_told_with_the_room_that_it_takes() -> None:
    store = {"store": "https://store.example/plant"}
    coming = {"files": 0, "bytes": 0, "incoming": 1, "incoming_bytes": 1 << 20, "incoming_reserved_bytes": 200 << 20}
    told = "         1 upload from devices not complete: 1.0 of 200.0 MiB came"
    assert told in screen(board(artifacts=store, spool=coming))
    assert not any("not complete" in line for line in screen(board(artifacts=store, spool=coming | {"incoming": 0})))
