"""`EventIntake.take`: events that messages bring, each for itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from errno import EIO
from pathlib import Path
from typing import Any

import pytest

from edgeagent.agent import completions
from edgeagent.agent.clock import Clock
from edgeagent.agent.intake import EventIntake
from edgeagent.errors import Draining, EventConflict, MessageError, OutboxFull, RecordTooLarge, StorageFailed
from edgeagent.events.dedupe import EXACTLY_ONCE, Dedupe
from edgeagent.events.event import Draft
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import NORMAL
from edgeagent.ports.account import event_problems
from edgeagent.ports.device import RefusedEvent
from edgeagent.rules.ruleset import RuleSet
from edgeagent.rules.spec import RuleSpec
from tests.fakes.faulty_filesystem import CHANGES, FaultyFilesystem
from tests.fakes.outbox import SEGMENT_BYTES, running_outbox
from tests.waiting import until

pytestmark = pytest.mark.virtual_time

ALL = [RuleSpec("all", "plant", template="t", source="boiler-*")]
FILLER = b'"%b"' % (b"x" * 15_000)


def make(outbox: Outbox, rules: Sequence[RuleSpec] = ALL) -> EventIntake:
    return EventIntake("gw-1", RuleSet(rules), outbox, Dedupe(1000), Clock(), max_event_bytes=16 << 10)


def event(data: bytes = b"1", **fields: Any) -> Draft:
    return Draft(**{"source": "boiler-1", **fields}, data=data, is_json=True)


def delivered(packet_id: int, data: bytes = b"1", session: str = "s", *, again: bool = False) -> Draft:
    return event(data, topic="t", delivery=(session, packet_id), redelivered=again)


def kinds(refused: dict[int, RefusedEvent]) -> dict[int, tuple[type, bool]]:
    return {place: (type(refusal.error), refusal.later) for place, refusal in refused.items()}


async def stored(outbox: Outbox) -> list[str]:
    found: list[str] = []
    while leased := await outbox.lease(NORMAL):
        found += [one.record.id for one in leased]
    return found


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[Outbox]:
    async with running_outbox(tmp_path) as running:
        yield running


async def test_what_is_wrong_with_one_event_is_told_of_that_one_and_the_others_are_stored(outbox: Outbox) -> None:
    drafts = [
        event(id="1"),
        event(source="no#hash"),
        event(b"2", id="1"),
        event(b'"%b"' % (b"x" * (16 << 10))),
        event(id="1"),
        event(source="valve-1"),
        event(id="2"),
    ]
    refused = await make(outbox).take(drafts)
    assert kinds(refused) == {1: (MessageError, False), 2: (EventConflict, False), 3: (RecordTooLarge, False)}
    assert await stored(outbox) == ["1", "2"]
    counts = outbox.events
    assert (counts.received, counts.stored, counts.duplicate, counts.filtered) == (7, 2, 1, 1)
    assert (counts.conflict, counts.refused) == (1, 2)


async def test_what_a_failing_disk_refuses_is_to_be_offered_again_and_counts_once(tmp_path: Path) -> None:
    disk = FaultyFilesystem()
    async with running_outbox(tmp_path, filesystem=disk) as outbox:
        intake = make(outbox)
        disk.fail(EIO, *CHANGES)
        drafts = [event(id="1"), event(source="no#hash"), event(b"2", id="1"), delivered(1)]
        later, wrong = (StorageFailed, True), (MessageError, False)
        assert kinds(await intake.take(drafts)) == {0: later, 1: wrong, 2: later, 3: later}
        left = [drafts[0], drafts[2], drafts[3]]
        assert kinds(await intake.take(left)) == {0: later, 1: later, 2: later}
        assert (outbox.events.received, outbox.events.refused) == (1, 1)
        disk.heal()
        assert kinds(await intake.take(left)) == {1: (EventConflict, False)}
        assert await stored(outbox) == ["1", drafts[3].id]
        counts = outbox.events
        assert (counts.received, counts.stored, counts.refused, counts.conflict) == (4, 2, 1, 1)
        assert intake.rule_counts["all"].matched == 2


async def test_a_full_outbox_takes_the_first_parts_and_the_rest_later_in_order(tmp_path: Path) -> None:
    async with running_outbox(tmp_path, max_bytes=4 * SEGMENT_BYTES) as outbox:
        intake = make(outbox)
        drafts = [event(FILLER, id=str(number)) for number in range(40)]
        refused = await intake.take(drafts)
        assert set(kinds(refused).values()) == {(OutboxFull, True)}
        first = min(refused)
        assert first > 0
        assert sorted(refused) == list(range(first, 40)), "what comes after one that has to wait waits too"
        assert await stored(outbox) == [str(number) for number in range(first)]
        assert (outbox.events.received, outbox.events.stored) == (first, first)


async def test_an_event_that_no_segment_holds_is_refused_for_good_and_the_others_are_stored(outbox: Outbox) -> None:
    rules = [RuleSpec(f"{number:060}", "plant", template="t", source="huge") for number in range(1200)]
    drafts = [event(id="1"), event(source="huge", id="2"), event(id="3"), event(source="no#hash"), event(id="4")]
    refused = await make(outbox, [*ALL, *rules]).take(drafts)
    assert kinds(refused) == {1: (RecordTooLarge, False), 3: (MessageError, False)}
    assert await stored(outbox) == ["1", "3", "4"]
    counts = outbox.events
    assert (counts.received, counts.stored, counts.refused) == (5, 3, 2)


async def test_an_agent_that_stops_takes_nothing_and_counts_nothing(outbox: Outbox) -> None:
    intake = make(outbox)
    intake.draining = True
    assert kinds(await intake.take([event(), event(source="no#hash")])) == {0: (Draining, True), 1: (Draining, True)}
    assert outbox.events.received == 0


async def test_a_delivery_that_comes_again_is_the_same_event_in_its_session_only(outbox: Outbox) -> None:
    intake = make(outbox)
    await intake.take([delivered(1), delivered(1, session="other")])
    again = [delivered(1, again=True), delivered(1, b"2", again=True), delivered(2, again=True)]
    assert await intake.take(again) == {}
    assert [draft.repeated for draft in again] == [True, False, False]
    first, *others = await stored(outbox)
    assert again[0].id == first
    assert len(others) == 3
    intake.end_session("s")
    assert await intake.take([delivered(1, again=True)]) == {}
    assert len(await stored(outbox)) == 1
    assert outbox.events.duplicate == 1


async def test_a_delivery_whose_receiver_went_away_while_it_was_stored_is_known_when_it_comes_again(
    outbox: Outbox,
) -> None:
    intake = make(outbox)
    taking = asyncio.create_task(intake.take([delivered(1)]))
    await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait([taking])
    await outbox.barrier()
    assert await intake.take([delivered(1, again=True)]) == {}
    assert len(await stored(outbox)) == 1
    assert list(event_problems(outbox.events)) == []


async def test_a_message_that_can_be_no_event_is_counted_as_refused(outbox: Outbox) -> None:
    make(outbox).refuse(MessageError("event", "data", "is not JSON"))
    assert (outbox.events.received, outbox.events.refused) == (1, 1)


async def test_messages_without_an_id_do_not_push_out_the_ids_that_are_remembered(outbox: Outbox) -> None:
    intake = EventIntake("gw-1", RuleSet(ALL), outbox, Dedupe(2), Clock(), max_event_bytes=16 << 10)
    await intake.take([event(id="posted")])
    await intake.take([event(b"%d" % number, topic="t") for number in range(5)])
    assert await intake.take([event(id="posted")]) == {}
    assert outbox.events.duplicate == 1
    assert len(await stored(outbox)) == 6


async def test_a_delivery_at_qos_2_is_the_same_event_until_it_is_completed_and_then_another_one(outbox: Outbox) -> None:
    intake, number, done = make(outbox), EXACTLY_ONCE + 1, list[str]()
    first = delivered(number, again=True)
    await intake.take([first])
    again, other_bytes = delivered(number, again=True), delivered(EXACTLY_ONCE + 2, b"2", again=True)
    await intake.take([again, other_bytes])
    assert (again.repeated, again.id, other_bytes.repeated) == (True, first.id, False)
    assert intake.complete("s", number, lambda: done.append("first"))
    assert intake.complete("s", number, lambda: done.append("again")), "it is not on disk yet"
    assert done == []
    await until(lambda: done == ["first", "again"])
    assert not intake.complete("s", number, lambda: done.append("never"))
    anew = delivered(number, again=True)
    await intake.take([anew])
    assert not anew.repeated
    assert len(await stored(outbox)) == 3


async def test_what_no_rule_wants_needs_no_completion_at_qos_2(outbox: Outbox) -> None:
    intake = make(outbox)
    await intake.take([event(source="pump", topic="t", delivery=("s", EXACTLY_ONCE + 1), redelivered=True)])
    assert not intake.complete("s", EXACTLY_ONCE + 1, list[str]().clear)


async def test_a_completion_that_the_disk_refuses_is_offered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completions, "_RETRY_S", 0.01)
    filesystem, done = FaultyFilesystem(), list[int]()
    async with running_outbox(tmp_path, filesystem=filesystem) as outbox:
        intake = make(outbox)
        await intake.take([delivered(EXACTLY_ONCE + 1, again=True)])
        filesystem.fail(EIO, *CHANGES)
        intake.complete("s", EXACTLY_ONCE + 1, lambda: done.append(1))
        await until(lambda: outbox.health.failure)
        assert done == []
        filesystem.heal()
        await until(lambda: done == [1])
