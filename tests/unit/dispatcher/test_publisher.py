from __future__ import annotations

from typing import Any

import msgspec

from edgeagent.dispatcher.publisher import GIVE_UP_S, REST_S, Publisher
from edgeagent.wire.messages import Status
from tests.fakes.statuses_bench import Wire


def status(name: str, phase: Any = "Running", *, progress: str = "", agent: str = "gw-1") -> Status:
    return Status("plant", name, phase, progress, agent=agent)


def progresses(wire: Wire) -> list[str]:
    return [msgspec.json.decode(sent.payload).get("progress", "") for sent in wire.waiting]


def test_a_status_goes_to_the_base_topic_and_to_the_gateways_own_and_counts_when_both_are_taken() -> None:
    wire, done = Wire(), list[Status]()
    publisher = Publisher(wire, done.append)
    publisher.put(status("w"))
    assert [sent.topic for sent in wire.waiting] == ["argo/workflows/status", "argo/workflows/status/gw-1"]
    assert not any(sent.retain for sent in wire.waiting)
    wire.answer(0x00)
    assert (done, publisher.pending) == ([], 1)
    wire.answer(0x10)  # nobody listens, which is nobody's fault
    assert (done, publisher.pending, publisher.published) == ([status("w")], 0, 2)


def test_a_workflow_of_nobody_goes_to_the_base_topic_only() -> None:
    wire, done = Wire(), list[Status]()
    Publisher(wire, done.append).put(status("w", agent=""))
    assert [sent.topic for sent in wire.waiting] == ["argo/workflows/status"]
    wire.answer()
    assert len(done) == 1


def test_no_more_publications_than_the_limit_are_unanswered() -> None:
    wire = Wire()
    publisher = Publisher(wire, lambda _: None, max_unanswered=4)
    for name in "abcd":
        publisher.put(status(name))
    assert wire.statuses() == [("a", "Running"), ("b", "Running")]
    wire.answer()
    assert len(wire.statuses()) == 2  # a status goes to both its topics or waits
    wire.answer()
    assert wire.statuses() == [("a", "Running"), ("b", "Running"), ("c", "Running")]


def test_of_what_waits_only_the_newest_goes_out() -> None:
    wire = Wire()
    publisher = Publisher(wire, lambda _: None, max_unanswered=2)
    publisher.put(status("other"))
    for progress in ("1%", "2%", "3%"):
        publisher.put(status("w", progress=progress))
    wire.answer()
    wire.answer()
    assert progresses(wire) == ["3%", "3%"]


def test_a_final_status_is_never_overtaken() -> None:
    wire = Wire()
    publisher = Publisher(wire, lambda _: None, max_unanswered=2)
    publisher.put(status("other"))
    for phase in ("Running", "Failed", "Pending", "Running", "Succeeded"):
        publisher.put(status("w", phase))
    while wire.waiting:
        wire.answer()
    assert wire.statuses() == [("other", "Running"), ("w", "Failed"), ("w", "Succeeded")]


def test_a_refused_status_is_counted_and_not_tried_again() -> None:
    wire, done = Wire(), list[Status]()
    publisher = Publisher(wire, done.append)
    publisher.put(status("w"))
    wire.answer(0x00)
    wire.answer(0x87)
    assert (publisher.published, publisher.refused, done, wire.waiting) == (1, 1, [status("w")], [])


def test_a_status_asked_for_does_not_replace_a_newer_one_that_waits() -> None:
    wire = Wire()
    publisher = Publisher(wire, lambda _: None, max_unanswered=2)
    publisher.put(status("other"))
    publisher.put(status("w", progress="50%"))
    publisher.repeat(status("w", progress="40%"))
    wire.answer()
    wire.answer()
    assert progresses(wire) == ["50%", "50%"]
    publisher.repeat(status("w", progress="50%"))
    wire.answer()
    wire.answer()
    assert progresses(wire) == ["50%", "50%"]


def test_what_is_out_when_the_lead_ends_is_not_wanted_any_more_and_not_told() -> None:
    wire, done = Wire(), list[Status]()
    publisher = Publisher(wire, done.append, max_unanswered=2)
    publisher.put(status("a"))
    publisher.put(status("b"))
    publisher.clear()
    publisher.put(status("c"))
    assert wire.statuses() == [("a", "Running"), ("c", "Running")]
    assert [sent.wanted() for sent in wire.waiting if sent.wanted is not None] == [False, False, True, True]
    wire.answer()
    wire.answer()  # it had been written before the lead ended
    assert (done, publisher.pending) == ([], 1)
    wire.answer()
    wire.answer()
    assert (done, publisher.pending) == ([status("c")], 0)


def test_a_final_status_that_the_broker_refuses_for_now_is_published_again_where_it_was_refused() -> None:
    wire, done = Wire(), list[Status]()
    publisher = Publisher(wire, done.append)
    publisher.put(status("w", "Succeeded"))
    wire.answer(0x97)
    wire.answer(0x00)
    assert (done, publisher.pending, publisher.refused) == ([], 1, 1)
    publisher.retry(100.0)
    assert wire.waiting == []  # it rests
    publisher.retry(100.0 + REST_S)
    assert [sent.topic for sent in wire.waiting] == ["argo/workflows/status"]
    wire.answer(0x89)
    assert done == []
    publisher.retry(200.0)
    publisher.retry(200.0 + REST_S)
    assert wire.waiting == []  # twice as long now
    publisher.retry(200.0 + 2 * REST_S)
    wire.answer()
    assert (done, publisher.pending, publisher.published, publisher.refused) == ([status("w", "Succeeded")], 0, 2, 2)


def test_statuses_that_rest_do_not_hold_up_those_of_other_workflows() -> None:
    wire, done = Wire(), list[Status]()
    publisher = Publisher(wire, done.append, max_unanswered=2)
    publisher.put(status("a", "Failed"))
    publisher.put(status("b", "Failed"))
    wire.answer(0x97)
    wire.answer(0x97)
    assert wire.statuses()[1:] == [("b", "Failed")]
    wire.answer()
    wire.answer()
    assert done == [status("b", "Failed")]


def test_what_comes_after_a_status_that_rests_waits_for_it_or_stands_for_it() -> None:
    wire, done = Wire(), list[Status]()
    publisher = Publisher(wire, done.append)
    publisher.put(status("ends", "Failed"))
    publisher.put(status("runs", progress="1%"))
    for _ in range(4):
        wire.answer(0x97)
    wire.taken.clear()
    publisher.put(status("ends", "Running"))  # retried by somebody
    publisher.put(status("runs", "Succeeded"))
    assert wire.waiting == []
    publisher.retry(0.0)
    publisher.retry(REST_S)
    assert wire.statuses() == [("ends", "Failed"), ("runs", "Succeeded")]
    while wire.waiting:
        wire.answer()
    assert wire.statuses() == [("ends", "Failed"), ("runs", "Succeeded"), ("ends", "Running")]
    assert publisher.pending == 0


def test_a_status_that_is_refused_for_now_for_too_long_is_given_up_and_told() -> None:
    wire, done, lost = Wire(), list[Status](), list[Status]()
    publisher = Publisher(wire, done.append)
    publisher.put(status("w", "Succeeded", agent=""))
    now_s = 0.0
    while not done:
        while wire.waiting:
            wire.answer(0x97)
        lost += publisher.retry(now_s)
        now_s += REST_S
        assert now_s < 2 * GIVE_UP_S
    assert now_s >= GIVE_UP_S
    assert (publisher.pending, publisher.lost) == (0, 1)
    assert lost == done == [status("w", "Succeeded", agent="")]


def test_what_rests_when_the_lead_ends_is_forgotten() -> None:
    wire, done = Wire(), list[Status]()
    publisher = Publisher(wire, done.append)
    publisher.put(status("w", "Succeeded"))
    wire.answer(0x97)
    wire.answer(0x97)
    publisher.clear()
    publisher.retry(0.0)
    publisher.retry(GIVE_UP_S)
    assert (wire.waiting, done, publisher.pending) == ([], [], 0)


def test_a_status_refused_for_now_is_not_published_after_a_newer_one_that_was_taken() -> None:
    wire, done = Wire(), list[Status]()
    publisher = Publisher(wire, done.append)
    publisher.put(status("w", "Running", agent=""))
    publisher.put(status("w", "Succeeded", agent=""))
    wire.answer(0x97)
    wire.answer(0x00)
    publisher.retry(0.0)
    publisher.retry(REST_S)
    assert (wire.waiting, publisher.pending) == ([], 0)
    assert done == [status("w", "Running", agent=""), status("w", "Succeeded", agent="")]


def test_statuses_of_one_workflow_that_are_refused_for_now_stay_in_order() -> None:
    wire, done = Wire(), list[Status]()
    publisher = Publisher(wire, done.append, max_unanswered=2)
    for phase in ("Failed", "Error", "Succeeded"):
        publisher.put(status("w", phase, agent=""))
    wire.answer(0x97)
    wire.answer(0x97)
    wire.taken.clear()
    publisher.retry(0.0)
    publisher.retry(REST_S)
    while wire.waiting:
        wire.answer()
    assert wire.statuses() == [("w", "Failed"), ("w", "Error"), ("w", "Succeeded")]
    assert (len(done), publisher.pending) == (3, 0)
