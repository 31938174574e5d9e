from __future__ import annotations

from typing import Any

import msgspec

from edgeagent.dispatcher.publisher import Publisher
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


def test_no_more_than_a_window_is_unanswered() -> None:
    wire = Wire()
    publisher = Publisher(wire, lambda _: None, window=4)
    for name in "abcd":
        publisher.put(status(name))
    assert wire.statuses() == [("a", "Running"), ("b", "Running")]
    wire.answer()
    assert len(wire.statuses()) == 2  # a status goes to both its topics or waits
    wire.answer()
    assert wire.statuses() == [("a", "Running"), ("b", "Running"), ("c", "Running")]


def test_of_what_waits_only_the_newest_goes_out() -> None:
    wire = Wire()
    publisher = Publisher(wire, lambda _: None, window=2)
    publisher.put(status("other"))
    for progress in ("1%", "2%", "3%"):
        publisher.put(status("w", progress=progress))
    wire.answer()
    wire.answer()
    assert progresses(wire) == ["3%", "3%"]


def test_a_final_status_is_never_overtaken() -> None:
    wire = Wire()
    publisher = Publisher(wire, lambda _: None, window=2)
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
    publisher = Publisher(wire, lambda _: None, window=2)
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
    publisher = Publisher(wire, done.append, window=2)
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
