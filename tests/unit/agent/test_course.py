"""What a person is told of a trigger: its steps, and for each way of waiting a text and an advice of its own."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from edgeagent.agent.causes import Cause, CauseKind
from edgeagent.agent.course import course_of
from edgeagent.agent.facts import BrokerConnection, Flight, OpenWindow, RuleFacts, Surroundings, TriggerFacts
from edgeagent.agent.inflight import FlightPhase
from edgeagent.agent.lines import RateWait
from edgeagent.common.times import instant, rfc3339
from edgeagent.events.event import Record
from edgeagent.ledger.followed import Followed
from edgeagent.ledger.schema import LISTENER, LOCAL
from edgeagent.outbox.records import DEAD, LIMITED, NORMAL, PARKED, UNANSWERED, WINDOWS, Leased, Moved
from edgeagent.ports.where import Course, Hang
from edgeagent.wire.lifecycle import FINAL, Life
from edgeagent.wire.messages import Report, State

MINUTE_MS = 60_000
ACCEPTED = "2026-03-20T11:00:00.000Z"
ACCEPTED_MS = round(instant(ACCEPTED).timestamp() * 1000)
NOW_MS = ACCEPTED_MS + 20 * MINUTE_MS
NAME = "9f2c" * 8
UP = BrokerConnection(True, ACCEPTED_MS, "", "mqtts://cloud")
DOWN = BrokerConnection(False, NOW_MS - 5 * MINUTE_MS, "the connection failed (No route to host)", "mqtts://cloud")
AROUND = Surroundings(UP, "argo/workflows/trigger", in_flight=3, places=100)


def followed(state: State, minutes_ago: float = 14, *, untold: int = 0, **members: Any) -> Followed:
    at = rfc3339(NOW_MS - round(minutes_ago * MINUTE_MS))
    report = Report(NAME, "e7", "boiler-1", "overheat", state, at, f"overheat-{NAME}", "plant")
    steps = members.pop("steps", "")
    life = Life(msgspec.structs.replace(report, **members), ACCEPTED_MS, steps=steps)
    return Followed(life, 1, untold, 0)


def stored(log: str = NORMAL, reason: str = "", code: int = 0) -> Leased:
    record = Record("gw", "boiler-1", "e7", "event", ACCEPTED, b"1", True, ("overheat",), ACCEPTED_MS, 0)
    moved = (
        Moved(NORMAL, 1, record, reason, code, 12, NOW_MS - 10 * MINUTE_MS, b"") if log != NORMAL or reason else None
    )
    return Leased(log, 1, "overheat", record, b"", moved)


def course(around: Surroundings = AROUND, **facts: Any) -> Course:
    return course_of(
        TriggerFacts(NAME, "overheat", **{"of_rule": RuleFacts(namespace="plant"), **facts}), around, NOW_MS
    )


def hang(around: Surroundings = AROUND, **facts: Any) -> Hang:
    found = course(around, **facts).hangs
    assert found is not None
    return found


def resting(cause: Cause | None, said: str = "") -> dict[str, Any]:
    return {"stored": stored(), "flight": Flight(FlightPhase.RESTING, 3, NOW_MS + 40_000, cause, said=said)}


# Each way of waiting: what is known, the step that is missing, and some words of what is told.
WAYS: dict[str, tuple[dict[str, Any], str, str]] = {
    "uplink down": (
        {"around": AROUND._replace(uplink=DOWN), "stored": stored()},
        "published",
        "the uplink has been down for 5 min: the connection failed (No route to host)",
    ),
    "never connected": (
        {
            "around": AROUND._replace(uplink=BrokerConnection(False, ACCEPTED_MS, "", "mqtts://cloud")),
            "stored": stored(),
        },
        "published",
        "not connected to mqtts://cloud yet",
    ),
    "no agent": ({"around": AROUND._replace(uplink=None), "stored": stored()}, "published", "no agent runs"),
    **{
        f"rests: {kind.name}": (resting(Cause(kind)), step, words)
        for kind, step, words in (
            (CauseKind.UNHEARD, "published", "nobody subscribes to argo/workflows/trigger; tried again in 40 s"),
            (CauseKind.BUSY, "published", "the broker refuses it for now; tried again in 40 s"),
            (CauseKind.SILENT, "triggered", "published 3 times, no answer in time"),
            (CauseKind.REHEARSAL, "triggered", "only a dry-run dispatcher answers"),
            (CauseKind.ENGINE, "triggered", "the engine is away or busy; tried again in 40 s"),
            (CauseKind.FORBIDDEN, "triggered", "a quota, or a permission"),
            (CauseKind.MISSING, "triggered", "misses the workflow template"),
            (CauseKind.OTHER, "triggered", "asks to try it again later"),
        )
    },
    "suspected": (resting(None), "published", "the connection ended more than once when only this trigger was out"),
    "no answer": (
        {"followed": followed(State.PUBLISHED), "stored": stored(), "flight": Flight(FlightPhase.WAITING, 1)},
        "triggered",
        "published 14 min ago, no answer: is a dispatcher subscribed to argo/workflows/trigger with room (max_active)?",
    ),
    "strict": (
        {"stored": stored(), "flight": Flight(FlightPhase.READY, 0, behind="1234" * 8)},
        "published",
        '(order = "strict"): 12341234',
    ),
    "sent": (
        {"stored": stored(), "flight": Flight(FlightPhase.SENT, 1)},
        "published",
        "the broker has not acknowledged",
    ),
    "blocked": (
        {
            "around": AROUND._replace(uplink=UP._replace(blocked="low on memory")),
            "stored": stored(),
            "flight": Flight(FlightPhase.READY, 0),
        },
        "published",
        "the broker takes no publications for now (low on memory)",
    ),
    "ready": ({"stored": stored(), "flight": Flight(FlightPhase.READY, 0)}, "published", "ready to be sent"),
    "moving": ({"stored": stored(), "flight": Flight(FlightPhase.ENDING, 9)}, "triggered", "waits for the disk"),
    "window open": (
        {"stored": stored(), "window": OpenWindow(NOW_MS + 53_000, 4), "of_rule": RuleFacts(window_s=60.0)},
        "published",
        "its window is open with 4 events, and closes in 53 s",
    ),
    "rate": (
        {"stored": stored(LIMITED), "rate": RateWait(17, 340.0, 3, 60.0)},
        "published",
        "it waits for the rate of rule overheat (3 in 1 min), about 5 min: about 17 go before it",
    ),
    "rate, next": (
        {"stored": stored(LIMITED), "rate": RateWait(0, 29.0, 3, 60.0)},
        "published",
        "it waits for the rate of rule overheat (3 in 1 min), about 29 s: it is among the next",
    ),
    "window closing": ({"stored": stored(), "of_rule": RuleFacts(window_s=60.0)}, "published", "is being closed"),
    "parked": (
        {
            "around": AROUND._replace(parked=17, parked_next_ms=NOW_MS + 30_000),
            "followed": followed(State.PUBLISHED),
            "stored": stored(PARKED, UNANSWERED),
        },
        "triggered",
        "parked after 12 tries without an answer, among 17, of which one at a time is tried; the next one is tried in",
    ),
    "turn": ({"stored": stored()}, "published", "others go first: 3 of at most 100 are in flight"),
    "dead": (
        {"followed": followed(State.REJECTED), "stored": stored(DEAD, "template not found", 404)},
        "decided",
        "it is a dead letter: template not found (code 404)",
    ),
    "dead without a place": (
        {"around": AROUND._replace(dead_full="10000 are kept"), "stored": stored(PARKED, "refused", 400)},
        "decided",
        "waits for a place among the dead letters: 10000 are kept",
    ),
    "no status": (
        {"followed": followed(State.TRIGGERED)},
        "running",
        "the engine took it 14 min ago, and no status came",
    ),
    "running": ({"followed": followed(State.RUNNING)}, "ended", "it runs; the last status came 14 min ago"),
    "unknown": ({"followed": followed(State.UNKNOWN, error="silent for 1 d")}, "ended", "no status came although"),
    "left the outbox": ({"followed": followed(State.PUBLISHED)}, "triggered", "it is no longer in the outbox"),
    "local broker away": (
        {"around": AROUND._replace(local=DOWN), "followed": followed(State.SUCCEEDED, untold=LOCAL)},
        "relayed",
        "the local broker has been away for 5 min",
    ),
    "report refused": (
        {"around": AROUND._replace(local=UP), "followed": followed(State.SUCCEEDED, untold=LOCAL)},
        "relayed",
        "the local broker has not taken the report",
    ),
    "report being written": ({"followed": followed(State.FAILED, untold=LISTENER)}, "relayed", "is being written"),
    "report of a stopped agent": (
        {"around": AROUND._replace(uplink=None), "followed": followed(State.FAILED, untold=LISTENER)},
        "relayed",
        "devices are not told of it: no agent runs",
    ),
}


@pytest.mark.parametrize("name", WAYS)
def test_each_way_of_waiting_says_what_is_missing_and_what_to_do(name: str) -> None:
    facts, step, words = WAYS[name]
    found = hang(**facts)
    assert found.step == step
    assert words in found.text
    assert len(found.advice) > 10
    assert found.since is not None


def test_no_two_ways_of_waiting_are_told_in_the_same_words() -> None:
    told = {name: hang(**facts).text for name, (facts, _, _) in WAYS.items()}
    for one, other in itertools.combinations(told, 2):
        assert told[one] != told[other], (one, other)


def test_every_phase_of_a_flight_and_every_cause_of_a_rest_has_words() -> None:
    for phase, cause in itertools.product(FlightPhase, [None, *map(Cause, CauseKind)]):
        assert hang(stored=stored(), flight=Flight(phase, 1, NOW_MS, cause)).text


@pytest.mark.parametrize("state", State)
def test_what_has_only_just_begun_does_not_hang(state: State) -> None:
    just_now = followed(state, minutes_ago=0.01, untold=LOCAL, error="silent")
    found = course(
        followed=just_now, stored=stored() if state not in FINAL else None, flight=Flight(FlightPhase.WAITING, 1)
    )
    if state in FINAL:
        found = course(followed=just_now)
    assert (found.hangs is None) == (state is not State.UNKNOWN)


@pytest.mark.parametrize("state", [State.TRIGGERED, State.RUNNING, State.SUCCEEDED])
def test_what_the_engine_has_does_not_wait_to_be_sent_once_more(state: State) -> None:
    """A crash may take that a trigger was released: then it is sent again, and its answer is known already."""
    known = followed(state, minutes_ago=0.05 if state is State.TRIGGERED else 1)
    assert course(followed=known, stored=stored(), flight=Flight(FlightPhase.WAITING, 1)).hangs is None


def test_a_dead_letter_says_how_to_replay_it() -> None:
    assert hang(stored=stored(DEAD, "no", 400)).advice.endswith(f"edgeagent dead replay {NAME}")


def test_what_put_a_trigger_off_is_told_in_the_engines_words_on_one_line() -> None:
    text = hang(**resting(Cause(CauseKind.ENGINE), "503 engine unreachable:\n\x1b[2Jproxy")).text
    assert text == "the engine is away or busy (503 engine unreachable: \\x1b[2Jproxy); tried again in 40 s"


@pytest.mark.parametrize("due_ms", [NOW_MS - 5000, NOW_MS, NOW_MS + 400])
def test_what_is_due_is_tried_again_now_and_not_in_no_time(due_ms: int) -> None:
    rests = Flight(FlightPhase.RESTING, 3, due_ms, Cause(CauseKind.UNHEARD))
    assert hang(stored=stored(), flight=rests).text.endswith("; tried again now")


def test_while_connections_end_over_a_publication_the_others_say_why_they_wait() -> None:
    advice = hang(AROUND._replace(one_at_a_time=True), stored=stored()).advice
    assert "one at a time to find the one that ends them" in advice


def test_a_finished_trigger_tells_all_its_steps_with_times() -> None:
    done = followed(State.SUCCEEDED, 10, steps="p120 t340 r1200", progress="3/3")
    done = msgspec.structs.replace(done, relayed_ms=NOW_MS)
    found = course(followed=done)
    assert [(step.step, step.at, step.detail) for step in found.steps] == [
        ("accepted", ACCEPTED, None),
        ("published", rfc3339(ACCEPTED_MS + 120), None),
        ("triggered", rfc3339(ACCEPTED_MS + 340), None),
        ("running", rfc3339(ACCEPTED_MS + 1200), None),
        ("succeeded", rfc3339(NOW_MS - 10 * MINUTE_MS), "3/3"),
        ("relayed", rfc3339(NOW_MS), "devices were told of this state"),
    ]
    assert found.hangs is None


def test_a_dead_letter_that_was_replayed_and_died_again_tells_both_deaths_each_with_its_time() -> None:
    again = followed(State.REJECTED, 2, steps="p100 j200", error="template gone")
    found = course(followed=again, stored=stored(DEAD, "template gone", 404))
    assert [(step.step, step.at, step.detail) for step in found.steps[1:]] == [
        ("published", rfc3339(ACCEPTED_MS + 100), None),
        ("rejected", rfc3339(ACCEPTED_MS + 200), None),
        ("rejected", rfc3339(NOW_MS - 2 * MINUTE_MS), "template gone"),
    ]


def test_a_running_trigger_tells_since_when_it_runs_and_its_last_status() -> None:
    step = course(followed=followed(State.RUNNING, 2, steps="p1 t2 r3000", progress="1/3")).steps[-1]
    assert (step.step, step.at) == ("running", rfc3339(ACCEPTED_MS + 3000))
    assert step.detail == f"1/3; last status {rfc3339(NOW_MS - 2 * MINUTE_MS)}"


def test_what_the_ledger_has_no_time_for_says_so() -> None:
    steps = course(followed=followed(State.RUNNING, 2)).steps
    assert [(step.step, step.at is None) for step in steps] == [
        ("accepted", False),
        ("published", True),
        ("running", False),
    ]


def test_a_trigger_that_no_ledger_follows_says_so() -> None:
    waiting = Flight(FlightPhase.WAITING, 1)
    found = course(stored=stored(), flight=waiting, of_rule=RuleFacts(tracks=False))
    assert found.state == "published"
    assert [(step.step, step.at) for step in found.steps] == [("accepted", ACCEPTED), ("published", None)]
    assert "track = false" in str(found.steps[-1].detail)


@pytest.mark.parametrize(
    ("log", "reason", "step", "detail"),
    [
        (WINDOWS, "", "gathered", "0 events in one trigger"),
        (PARKED, UNANSWERED, "parked", "nobody answered after 12 tries"),
        (DEAD, "template\nmissing", "rejected", "template missing"),
    ],
)
def test_a_move_in_the_outbox_is_a_step(log: str, reason: str, step: str, detail: str) -> None:
    last = course(stored=stored(log, reason)).steps[-1]
    assert (last.step, last.at, last.detail) == (step, rfc3339(NOW_MS - 10 * MINUTE_MS), detail)


def test_a_merged_trigger_names_the_one_it_ended_in() -> None:
    found = course(followed=followed(State.MERGED, into="1234"))
    assert found.steps[-1].detail == "it ended in trigger 1234"
    assert found.hangs is None


def test_a_replayed_dead_letter_waits_like_any_other_trigger() -> None:
    assert "nobody subscribes" in hang(followed=followed(State.REJECTED), **resting(Cause(CauseKind.UNHEARD))).text


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2Jgone", "\u202eevil", "x" * 5000])
def test_texts_from_outside_stay_on_one_line_and_move_no_cursor(text: str) -> None:
    for found in (
        course(followed=followed(State.RUNNING, message=text, progress=text)),
        course(followed=followed(State.UNKNOWN, error=text)),
        course(followed=followed(State.REJECTED, error=text), stored=stored(DEAD, text)),
        course(AROUND._replace(uplink=DOWN._replace(error=text)), stored=stored()),
        course(**resting(Cause(CauseKind.OTHER), text)),
    ):
        told = [*(step.detail or "" for step in found.steps), found.hangs.text if found.hangs else ""]
        assert all(each.isprintable() for each in told)
        assert all(len(each) < 600 for each in told)
