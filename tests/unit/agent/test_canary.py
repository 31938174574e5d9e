from __future__ import annotations

import math

from edgeagent.agent.canary import Canary
from edgeagent.wire.messages import Response

INTERVAL_S, PATIENCE_S = 300.0, 60.0
HEARD = Response("one", 200, "Canary heard", canary=True)


def sent(correlation_id: str = "one", now: float = 0.0) -> Canary:
    canary = Canary(INTERVAL_S, PATIENCE_S)
    canary.sent(correlation_id, now, "10:00")
    return canary


def test_the_first_one_is_due_at_once_and_the_next_after_the_interval() -> None:
    assert Canary(INTERVAL_S, PATIENCE_S).due_at() == -math.inf
    assert sent(now=5.0).due_at() == 305.0


def test_an_answer_ends_it_and_tells_the_round_trip() -> None:
    canary = sent()
    assert canary.is_out("one")
    canary.answered(HEARD, 0.25, "10:01")
    report = canary.report(1000.0)
    assert (report.sent, report.answered, report.round_trip_s, report.problem) == ("10:00", "10:01", 0.25, "")
    assert not canary.is_out("one"), "an answer counts once"


def test_silence_is_a_problem_after_a_while_and_until_the_next_answer() -> None:
    canary = sent()
    assert canary.report(59.0).problem == ""
    assert canary.report(60.0).problem == "no answer came within 60 s"
    canary.sent("two", 300.0, "10:05")
    assert canary.report(301.0).problem == "no answer came within 60 s", "the one that is out proves nothing yet"
    assert not canary.is_out("one"), "there is one at most"
    canary.answered(HEARD, 301.0, "10:06")
    assert canary.report(302.0).problem == ""


def test_a_late_answer_counts_as_long_as_the_next_one_is_not_sent() -> None:
    canary = sent()
    canary.answered(HEARD, 200.0, "10:03")
    assert (canary.report(201.0).round_trip_s, canary.report(201.0).problem) == (200.0, "")


def test_what_the_broker_says_of_it_is_the_problem() -> None:
    canary = sent()
    canary.lost("nobody subscribes to argo/workflows/trigger")
    assert canary.report(0.1).problem == "nobody subscribes to argo/workflows/trigger"
    canary.lost("the connection ended")
    assert canary.report(0.2).problem == "nobody subscribes to argo/workflows/trigger", "none is out any more"


def test_an_engine_that_is_away_is_a_problem_in_the_dispatchers_words() -> None:
    canary = sent()
    canary.answered(Response("one", 503, error="Engine is\x1b not available", retryable=True), 0.2, "10:00")
    report = canary.report(0.3)
    assert report.problem == "the dispatcher answers 503 Engine is\\x1b not available"
    assert (report.answered, report.round_trip_s) == (None, None)


def test_the_refusal_of_a_dispatcher_that_knows_no_canaries_is_an_answer_too() -> None:
    canary = sent()
    canary.answered(Response("one", 400, error="Invalid workflow definition", retryable=False), 0.2, "10:00")
    assert (canary.report(1.0).answered, canary.report(1.0).problem) == ("10:00", "")


def test_a_dry_runs_answer_is_told_as_such() -> None:
    canary = sent()
    canary.answered(Response("one", 200, canary=True, dry_run=True), 0.2, "10:00")
    assert canary.report(1.0).dry_run


def test_one_that_was_sent_where_the_dispatcher_takes_none_is_due_again_at_once() -> None:
    canary = sent()
    canary.again()
    assert canary.due_at() == -math.inf
    assert not canary.is_out("one")
