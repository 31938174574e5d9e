from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from edgeagent.cli import fleet_table
from edgeagent.cli.fleet_table import Fleet, TroubleKind, document, table

NOW = datetime(2026, 11, 29, 12, 0, 0, tzinfo=UTC)


def ago(**time: float) -> str:
    return (NOW - timedelta(**time)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def fleet(**states: dict[str, object] | bytes) -> Fleet:
    made = Fleet()
    for agent, state in states.items():
        payload = state if isinstance(state, bytes) else json.dumps({"state": "online", "version": "1.0", **state})
        made.heard(f"edgeagent/state/{agent}", payload if isinstance(payload, bytes) else payload.encode())
    return made


def order(made: Fleet) -> list[tuple[str, TroubleKind]]:
    return [(each.gateway.agent, each.kind) for each in made.judged(NOW)]


def test_the_worst_gateway_comes_first() -> None:
    made = fleet(
        fine={"pending": 0},
        busy={"pending": 9, "oldest": ago(minutes=9)},
        hindered={"reason": "the outbox is full"},
        hours={"headroom_s": 7200},
        day={"headroom_s": 80_000},
        week={"headroom_s": 604_800},
        stuck={"pending": 1, "oldest": ago(minutes=11)},
        older={"pending": 1, "oldest": ago(days=2)},
        garbled=b"{",
        stopped={"state": "offline", "since": ago(hours=1)},
        lost={"state": "offline", "since": ago(days=3)},
        ancient=b"offline",
    )
    assert order(made) == [
        ("ancient", TroubleKind.OFFLINE),
        ("lost", TroubleKind.OFFLINE),
        ("stopped", TroubleKind.OFFLINE),
        ("garbled", TroubleKind.UNREADABLE),
        ("older", TroubleKind.STUCK),
        ("stuck", TroubleKind.STUCK),
        ("hours", TroubleKind.FILLING),
        ("day", TroubleKind.FILLING),
        ("hindered", TroubleKind.HINDERED),
        ("busy", TroubleKind.NONE),
        ("fine", TroubleKind.NONE),
        ("week", TroubleKind.NONE),
    ]


def test_an_online_agent_of_an_earlier_version_is_no_trouble() -> None:
    assert order(fleet(old=b"online")) == [("old", TroubleKind.NONE)]


def test_an_oldest_time_without_anything_pending_is_no_trouble() -> None:
    assert order(fleet(odd={"pending": 0, "oldest": ago(days=9)})) == [("odd", TroubleKind.NONE)]


def test_a_clock_that_is_ahead_makes_no_negative_ages() -> None:
    made = fleet(ahead={"since": ago(days=-400), "pending": 1, "oldest": ago(days=-400)})
    assert order(made) == [("ahead", TroubleKind.NONE)]
    cells = [*table(made.judged(NOW), NOW)][1].split("  ")
    assert [cell.strip() for cell in cells if cell] == ["ahead", "online", "0 s", "1", "0 s", "-", "1.0"]


def test_times_with_any_offset_are_compared_as_instants() -> None:
    made = fleet(east={"pending": 1, "oldest": "2026-11-29T21:55:00+10:00"})
    assert order(made) == [("east", TroubleKind.NONE)]


def test_the_table_says_what_is_wrong_and_that_a_wills_time_is_a_bound() -> None:
    made = fleet(
        gw1={"state": "offline", "since": ago(hours=30), "reason": "the connection was lost"},
        gw2={"state": "offline", "since": ago(hours=1), "reason": "the agent was stopped"},
        gw3={
            "since": ago(days=12, hours=5),
            "pending": 1204,
            "oldest": ago(hours=2, minutes=3),
            "headroom_s": 95_400,
            "reason": "the outbox is full",
        },
    )
    assert [*table(made.judged(NOW), NOW)] == [
        "GATEWAY  STATE    SINCE      PENDING  OLDEST     HEADROOM  VERSION  TROUBLE",
        "gw1      offline  < 1 d 6 h  -        -          -         1.0      offline: the connection was lost",
        "gw2      offline  1 h        -        -          -         1.0      offline: the agent was stopped",
        "gw3      online   12 d 5 h   1,204    2 h 3 min  1 d 2 h   1.0      nothing flows: the outbox is full",
    ]


def test_hostile_text_stands_escaped_in_the_table_and_keeps_its_columns() -> None:
    made = fleet(evil={"version": "\x1b[2J\u202e", "reason": "\n0 gateways, 0 in trouble" + "x" * 900})
    lines = [*table(made.judged(NOW), NOW)]
    assert len(lines) == 2
    assert all(line.isprintable() and len(line) < 250 for line in lines)


def test_a_message_for_a_program_has_what_the_gateway_said_and_the_kind_of_trouble() -> None:
    (each,) = fleet(gw={"pending": 3, "headroom_s": 60}).judged(NOW)
    assert document(each) == {
        "agent": "gw",
        "state": "online",
        "version": "1.0",
        "since": None,
        "pending": 3,
        "oldest": None,
        "headroom_s": 60.0,
        "reason": "",
        "trouble": "filling",
    }
    (garbled,) = fleet(gw=b"{").judged(NOW)
    assert (document(garbled)["state"], document(garbled)["trouble"]) == (None, "unreadable")


def test_an_empty_message_withdraws_a_gateway() -> None:
    made = fleet(gw=b"online")
    made.heard("edgeagent/state/gw", b"")
    assert made.judged(NOW) == []


@pytest.mark.parametrize(
    "topic", ["edgeagent/state/", "edgeagent/state/A b", "edgeagent/state/a/b", "other/gw", "edgeagent/state/-a"]
)
def test_a_topic_without_a_gateways_name_is_only_counted(topic: str) -> None:
    made = Fleet()
    made.heard(topic, b"online")
    assert (made.judged(NOW), made.left_out) == ([], 1)


def test_a_flood_of_names_does_not_fill_the_memory_and_known_gateways_stay_current(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleet_table, "MAX_GATEWAYS", 3)
    made = Fleet()
    for number in range(10):
        made.heard(f"edgeagent/state/gw-{number}", b"online")
    made.heard("edgeagent/state/gw-2", b"offline")
    assert [name for name, _ in order(made)] == ["gw-2", "gw-0", "gw-1"]
    assert made.left_out == 7
