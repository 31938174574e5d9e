from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.agent.clock import Clock
from edgeagent.agent.intake import EventIntake
from edgeagent.agent.listener_events import ListenerEvents
from edgeagent.common.times import instant
from edgeagent.common.units import Duration
from edgeagent.errors import (
    DeadLettersFull,
    Draining,
    EventConflict,
    MessageError,
    OutboxFull,
    RecordTooLarge,
    StorageFailed,
)
from edgeagent.events.dedupe import Dedupe
from edgeagent.events.event import Draft
from edgeagent.outbox.files import File, OsFilesystem
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import DEAD, HIGH, NORMAL, REPLAYED, DeadLimits, Leased
from edgeagent.outbox.search import find
from edgeagent.ports.account import EventCounts, EventWay, event_problems
from edgeagent.rules.ruleset import RuleSet
from edgeagent.rules.spec import DataFilter, Filters, RuleSpec
from tests.fakes.outbox import SEGMENT_BYTES, running_outbox

pytestmark = pytest.mark.virtual_time

HOT = Filters(data=[DataFilter("body.temp", "number", ["90"], ">=")])
RULES = [
    RuleSpec("overheat", "plant", source="boiler-*", filters=HOT, template="inspect"),
    RuleSpec("alarm", "plant", type="alarm", priority="high", template="inspect"),
]


def event(data: bytes = b'{"temp": 95}', **fields: Any) -> Draft:
    return Draft(**{"source": "boiler-1", **fields}, data=data, is_json=True)


class FailingDisk(OsFilesystem):
    """A disk on which no file can be made while it is `failing`."""

    failing = False

    def create(self, path: Path, size: int) -> File:
        """Fail, or make it."""
        if self.failing:
            raise StorageFailed("create", str(path), "I/O error")
        return super().create(path, size)


def make(outbox: Outbox, rules: Sequence[RuleSpec] = RULES) -> EventIntake:
    return EventIntake("gw-1", RuleSet(rules), outbox, Dedupe(1000), Clock(), max_event_bytes=16 << 10)


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[Outbox]:
    async with running_outbox(tmp_path) as running:
        yield running


async def leased(outbox: Outbox, log: str = NORMAL) -> list[Leased]:
    return await outbox.lease(log)


async def test_an_event_without_id_and_time_is_given_both(outbox: Outbox) -> None:
    (accepted,) = await make(outbox).accept([event()])
    (stored,) = await leased(outbox)
    assert uuid.UUID(accepted.id).version == 7
    assert stored.record.id == accepted.id
    assert stored.record.time.endswith("Z")


def test_ids_made_one_after_the_other_sort_by_time() -> None:
    clock = Clock()
    ids = [clock.new_id(1_774_004_400_000 + number) for number in range(1000)]
    assert ids == sorted(ids)
    assert {uuid.UUID(made).version for made in ids} == {7}
    assert {uuid.UUID(made).variant for made in ids} == {uuid.RFC_4122}
    assert len({made[14:] for made in ids}) == 1000


def test_an_id_says_nothing_about_the_others_of_its_millisecond() -> None:
    clock = Clock()
    ids = [clock.new_id(1_774_004_400_000) for _ in range(256)]
    first_digits, last_digits = [made[24:34] for made in ids], [made[26:] for made in ids]
    assert len(set(first_digits)) == len(set(last_digits)) == len(ids)
    assert {made[19] for made in ids} == set("89ab")


async def test_the_same_event_twice_in_one_batch_is_stored_once(outbox: Outbox) -> None:
    intake = make(outbox)
    first, second = await intake.accept([event(id="7"), event(id="7")])
    assert (first.duplicate, second.duplicate) == (False, True)
    assert first.triggers == second.triggers
    assert len(await leased(outbox)) == 1
    assert (outbox.events.received, outbox.events.stored, outbox.events.duplicate) == (2, 1, 1)


async def test_a_batch_with_one_wrong_event_is_refused_whole_and_may_come_again(outbox: Outbox) -> None:
    intake = make(outbox)
    with pytest.raises(MessageError, match="source"):
        await intake.accept([event(id="1"), event(source="no#hash")])
    await intake.accept([event(id="1")])
    assert [trigger.record.id for trigger in await leased(outbox)] == ["1"]
    assert (outbox.events.received, outbox.events.stored, outbox.events.refused) == (3, 1, 2)


async def test_a_conflict_is_counted_as_one_and_stores_nothing(outbox: Outbox) -> None:
    intake = make(outbox)
    await intake.accept([event(id="1")])
    with pytest.raises(EventConflict):
        await intake.accept([event(id="2"), event(b'{"temp": 96}', id="1")])
    assert len(await leased(outbox)) == 1
    assert (outbox.events.conflict, outbox.events.refused) == (1, 1)
    (again,) = await intake.accept([event(id="2")])
    assert not again.duplicate


async def test_a_batch_stays_in_one_log_and_in_order_if_any_of_it_is_high(outbox: Outbox) -> None:
    intake = make(outbox)
    await intake.accept([event(id="1"), event(id="2", type="alarm"), event(id="3")])
    assert await leased(outbox) == []
    high = await leased(outbox, HIGH)
    assert [(trigger.record.id, trigger.rule) for trigger in high] == [
        ("1", "overheat"),
        ("2", "overheat"),
        ("2", "alarm"),
        ("3", "overheat"),
    ]


async def test_an_event_refused_by_a_full_outbox_is_no_duplicate_when_it_comes_again(tmp_path: Path) -> None:
    filler = b'{"temp": 95, "x": "%s"}' % (b"x" * 15_000)
    async with running_outbox(tmp_path, max_bytes=4 * SEGMENT_BYTES) as outbox:
        intake = make(outbox)
        number = 0
        with pytest.raises(OutboxFull):  # noqa: PT012  which one is refused depends on the segments
            while True:
                await intake.accept([event(filler, id=str(number))])
                number += 1
        while triggers := await leased(outbox):
            for trigger in triggers:
                outbox.release([trigger], "settled")
        (again,) = await intake.accept([event(filler, id=str(number))])  # settling has made room
        assert not again.duplicate
        counts = outbox.events
        assert counts.received == counts.stored + counts.refused


async def test_a_rule_in_error_is_counted_and_does_not_stop_the_others(outbox: Outbox) -> None:
    rules = [*RULES, RuleSpec("all", "plant", template="keep")]
    intake = make(outbox, rules)
    (accepted,) = await intake.accept([event(b'{"pressure": 1}')])
    assert [trigger.rule for trigger in accepted.triggers] == ["all"]
    assert intake.rule_counts["overheat"].errors == 1
    assert intake.rule_counts["all"].matched == 1


async def test_what_a_rule_cannot_decide_is_logged_once_for_each_reason_and_the_last_example_is_told(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    intake = make(outbox)
    for number in range(50):
        await intake.accept([event(b'{"pressure": 1}', id=f"p{number}"), event(b'{"temp": "ON"}', id=f"t{number}")])
    logged = [record.getMessage() for record in caplog.records if record.__dict__.get("event") == "rule_error"]
    assert len(logged) == len(set(logged)) <= 2
    counts = intake.rule_counts["overheat"]
    assert counts.errors >= 50
    assert counts.last_error.startswith(("event p49 of boiler-1: ", "event t49 of boiler-1: "))
    assert abs(instant(counts.last_error_at).timestamp() - time.time()) < 600


async def test_too_large_an_event_is_refused_by_its_own_limit(outbox: Outbox) -> None:
    with pytest.raises(RecordTooLarge, match="max_event_bytes"):
        await make(outbox).accept([event(b'"%s"' % (b"x" * (16 << 10)))])


async def test_a_draining_agent_takes_nothing(outbox: Outbox) -> None:
    intake = make(outbox)
    intake.draining = True
    with pytest.raises(Draining):
        await intake.accept([event()])
    assert outbox.events.refused == 1


async def test_events_that_no_rule_wants_are_acknowledged_and_not_stored(outbox: Outbox) -> None:
    (accepted,) = await make(outbox).accept([event(b'{"temp": 20}')])
    assert accepted.triggers == ()
    assert await leased(outbox) == []
    assert (outbox.events.received, outbox.events.filtered) == (1, 1)


async def test_an_event_whose_sender_went_away_before_a_refusal_is_no_duplicate_later(tmp_path: Path) -> None:
    disk = FailingDisk()
    async with running_outbox(tmp_path, filesystem=disk) as outbox:
        intake = make(outbox)
        disk.failing = True
        sender = asyncio.create_task(intake.accept([event(id="7")]))
        await asyncio.sleep(0)
        sender.cancel()
        await asyncio.wait([sender])
        await outbox.barrier()
        disk.failing = False
        (again,) = await intake.accept([event(id="7")])
        assert not again.duplicate
        assert len(await leased(outbox)) == 1


DEMANDING = [
    RuleSpec("inspect", "plant", template="inspect", arguments={"temp": "body.temp"}, on_missing="refuse"),
    RuleSpec("late", "plant", template="inspect", arguments={"unit": "body.unit"}),
]


async def test_an_event_without_a_value_for_a_parameter_is_refused_when_the_rule_says_so(outbox: Outbox) -> None:
    intake = make(outbox, DEMANDING)
    with pytest.raises(MessageError, match=r"rule inspect: parameter temp: the event has no body\.temp"):
        await intake.accept([event(id="1"), event(b'{"unit": "C"}', id="2")])
    assert await leased(outbox) == []
    assert (outbox.events.received, outbox.events.refused) == (2, 2)
    assert intake.rule_counts["inspect"].errors == 1
    (first,) = await intake.accept([event(id="1")])
    (second,) = await intake.accept([event(id="2")])
    assert not first.duplicate
    assert not second.duplicate, "what was refused left nothing behind"
    assert len(await leased(outbox)) == 4, "the other rule's parameter is looked at when it is sent"


async def test_an_event_that_is_refused_for_a_parameter_does_not_throttle_the_next_one(outbox: Outbox) -> None:
    throttled = msgspec.structs.replace(DEMANDING[0], throttle=Duration(3600))
    intake = make(outbox, [throttled])
    with pytest.raises(MessageError):
        await intake.accept([event(b"{}")])
    await intake.accept([event()])
    await intake.accept([event(b"{}")])
    assert len(await leased(outbox)) == 1, "one that would not have fired is not asked for its parameters"


async def test_nothing_is_rendered_for_a_rule_that_does_not_ask_for_it(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[str] = []
    monkeypatch.setattr("edgeagent.agent.intake.render", lambda rule, *_: rendered.append(rule.name))
    await make(outbox, [DEMANDING[1]]).accept([event(b"{}")])
    assert rendered == []
    await make(outbox, DEMANDING).accept([event(b"{}")])
    assert rendered == ["inspect"]


async def test_while_dead_letters_are_full_events_that_a_rule_wants_are_refused_if_that_is_the_policy(
    tmp_path: Path,
) -> None:
    async with running_outbox(tmp_path, dead=DeadLimits(max_count=1, when_full="refuse")) as outbox:
        intake = EventIntake(
            "gw-1",
            RuleSet(RULES),
            outbox,
            Dedupe(1000),
            Clock(),
            max_event_bytes=16 << 10,
            refuse_when_dead_full=True,
        )
        await intake.accept([event(id="1")])
        (first,) = await leased(outbox)
        await outbox.bury(first, reason="no", code=400, attempts=1)
        with pytest.raises(DeadLettersFull, match="there are 1 dead letters; discard or replay"):
            await intake.accept([event(id="2")])
        await intake.accept([event(source="valve-1", id="3")])
        assert (outbox.events.refused, outbox.events.filtered, outbox.events.stored) == (1, 1, 1)
        (letter,) = await find(outbox, DEAD, lambda _: True, 1)
        await outbox.beside(lambda store: store.move(letter, NORMAL, REPLAYED, reason="", code=0, attempts=0))
        (again,) = await intake.accept([event(id="2")])
        assert not again.duplicate


def wide(*events: Draft) -> list[Draft]:
    """These events, with so much beside them that no segment takes all of it."""
    filler = b'{"temp": 95, "x": "%s"}' % (b"x" * 15_000)
    return [*events, *(event(filler, id=f"f{number}") for number in range(5))]


async def test_a_batch_with_the_repetition_of_a_refused_event_is_stored_whole_and_counted_once(outbox: Outbox) -> None:
    intake = make(outbox)
    mixed = [event(id="7"), event(id="8"), event(b'{"temp": 20}', id="9")]
    outcomes = await asyncio.gather(intake.accept(wide(event(id="7"))), intake.accept(mixed), return_exceptions=True)
    assert isinstance(outcomes[0], RecordTooLarge)
    assert isinstance(outcomes[1], list)
    assert [one.duplicate for one in outcomes[1]] == [False, False, False]
    assert [trigger.record.id for trigger in await leased(outbox)] == ["7", "8"]
    counts = outbox.events
    assert (counts.received, counts.stored, counts.refused, counts.filtered) == (9, 2, 6, 1)
    assert list(event_problems(counts)) == []
    assert intake.rule_counts["overheat"].matched == 2


async def test_an_id_that_a_refused_event_had_is_free_for_other_data(outbox: Outbox) -> None:
    intake = make(outbox)
    outcomes = await asyncio.gather(
        intake.accept(wide(event(id="7"))),
        intake.accept([event(id="8"), event(b'{"temp": 99}', id="7")]),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], list)
    assert [trigger.record.data for trigger in await leased(outbox)] == [b'{"temp": 95}', b'{"temp": 99}']
    assert (outbox.events.conflict, outbox.events.stored, outbox.events.refused) == (0, 2, 6)


async def test_an_id_that_a_stored_event_has_is_a_conflict_even_while_that_is_on_its_way(outbox: Outbox) -> None:
    intake = make(outbox)
    outcomes = await asyncio.gather(
        intake.accept([event(id="7")]),
        intake.accept([event(id="8"), event(b'{"temp": 99}', id="7")]),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], EventConflict)
    assert [trigger.record.id for trigger in await leased(outbox)] == ["7"]
    assert (outbox.events.conflict, outbox.events.stored, outbox.events.refused) == (1, 1, 1)


async def test_a_repetition_is_not_acknowledged_because_of_another_one_that_is_not_synced(tmp_path: Path) -> None:
    """The first one is refused; another one is on its way before the second hears of it, and is refused too."""
    disk = FailingDisk()
    async with running_outbox(tmp_path, filesystem=disk) as outbox:
        intake = make(outbox)
        disk.failing = True
        again: list[asyncio.Task[Any]] = []
        barrier = outbox.barrier

        async def crossed() -> None:
            await barrier()
            again.append(asyncio.create_task(intake.accept([event(id="7")])))
            await asyncio.sleep(0)
            outbox.barrier = barrier  # type: ignore[method-assign]

        outbox.barrier = crossed  # type: ignore[method-assign]
        outcomes = await asyncio.gather(
            intake.accept([event(id="7")]), intake.accept([event(id="7")]), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [StorageFailed, StorageFailed]
        await asyncio.wait(again)
        assert (outbox.events.received, outbox.events.refused, outbox.events.duplicate) == (3, 3, 0)


async def test_events_are_counted_by_the_way_they_came_and_once(outbox: Outbox) -> None:
    intake = make(outbox)
    listener = ListenerEvents(intake)
    await intake.accept([event(id="a"), event(b'{"temp": 1}', id="b")])
    await intake.accept([event(id="a")])
    with pytest.raises(EventConflict):
        await intake.accept([event(b'{"temp": 96}', id="a")])
    await intake.take([event(id="c"), event(id="a")])
    intake.refuse(MessageError("event", "body", "is no JSON"))
    assert await listener.take([event(id="d"), event(id="c"), event(b'{"temp": 2}')]) == {}
    listener.refuse(MessageError("event", "body", "is no JSON"))
    by_way = intake.events_by_way
    assert by_way[EventWay.HTTP] == EventCounts(stored=1, filtered=1, duplicate=1, conflict=1)
    assert by_way[EventWay.LOCAL] == EventCounts(stored=1, duplicate=1, refused=1)
    assert by_way[EventWay.LISTENER] == EventCounts(stored=1, duplicate=1, filtered=1, refused=1)
    for outcome in ("stored", "duplicate", "filtered", "throttled", "refused", "conflict"):
        assert sum(getattr(counts, outcome) for counts in by_way.values()) == getattr(outbox.events, outcome), outcome


async def test_a_malformed_trace_is_told_for_debugging_and_the_event_is_taken_without_it(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        await make(outbox).accept([event(id="e-1", traceparent="")])
    (stored,) = await leased(outbox)
    assert stored.record.traceparent is None
    (line,) = [each for each in caplog.records if getattr(each, "event", "") == "traceparent_ignored"]
    assert (getattr(line, "source", ""), getattr(line, "event_id", "")) == ("boiler-1", "e-1")
