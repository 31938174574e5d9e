from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from errno import EIO
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from edgeagent.agent.clock import Clock
from edgeagent.agent.intake import EventIntake
from edgeagent.agent.local import LocalBroker
from edgeagent.agent.local_session import LocalSession
from edgeagent.agent.notices import ConnectionNotices
from edgeagent.agent.relay import LocalRelay
from edgeagent.common.elapsed import Instant
from edgeagent.errors import RecordTooLarge, Unavailable
from edgeagent.events.dedupe import Dedupe
from edgeagent.events.event import Draft
from edgeagent.ledger.ledger import Ledger
from edgeagent.outbox.disk import DiskThread
from edgeagent.outbox.files import Filesystem, OsFilesystem
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import NORMAL, Group
from edgeagent.ports.event_topics import EventSubscription, EventTopics
from edgeagent.ports.link import Message
from edgeagent.rules.ruleset import RuleSet
from edgeagent.rules.spec import DataFilter, Filters, RuleSpec
from tests.fakes.faulty_filesystem import CHANGES, FaultyFilesystem
from tests.fakes.link import FakeLink, delivery
from tests.fakes.outbox import running_outbox
from tests.waiting import until

pytestmark = pytest.mark.virtual_time

SUBSCRIPTIONS = [
    EventSubscription(topic="sensors/+/data", source="{1}"),
    EventSubscription(topic="meters/#", id="body.seq", type="reading"),
    EventSubscription(topic="edgeagent/#"),
    EventSubscription(topic="clouds"),
    EventSubscription(topic="clouds/+"),
    EventSubscription(topic="switches/+", source="{1}", data="text"),
    EventSubscription(topic="gauges/+", source="{1}", data="json", nan="null"),
    EventSubscription(topic="strict/+", source="{1}", data="json"),
    EventSubscription(topic="blobs/+", source="{1}", data="bytes"),
]


ALL = [RuleSpec("all", "plant", template="t")]


class Bench:
    """A local broker's owner with a link that the test plays."""

    def __init__(self, broker: LocalBroker, intake: EventIntake, outbox: Outbox) -> None:
        self.broker = broker
        self.intake = intake
        self.outbox = outbox
        self.link = FakeLink()
        broker.on_up(self.link, session_present=True)

    async def take(self, topic: str, payload: bytes, packet_id: int = 1, **fields: Any) -> None:
        """A message comes; return when it is acknowledged."""
        before = len(self.link.acknowledged)
        self.broker.on_messages([delivery(topic, payload, packet_id, **fields)])
        await until(lambda: len(self.link.acknowledged) > before)

    async def refuse_whole(self, *drafts: Draft) -> None:
        """Somebody sends these events by HTTP, with so much beside them that no segment takes all of it."""
        beside = [Draft(source="wide", data=b'"%b"' % (b"x" * 900), is_json=True) for _ in range(80)]
        with pytest.raises(RecordTooLarge):
            await self.intake.accept([*drafts, *beside])

    async def stored(self) -> list[tuple[str, str, str, bytes]]:
        """Source, type, id and data of what is stored and was not asked for before."""
        leased = await self.outbox.lease(NORMAL)
        return [(item.record.source, item.record.type, item.record.id, item.record.data) for item in leased]


@asynccontextmanager
async def bench(
    directory: Path, rules: Sequence[RuleSpec] = ALL, filesystem: Filesystem | None = None
) -> AsyncIterator[Bench]:
    async with running_outbox(directory, filesystem=filesystem) as outbox:
        ledger = Ledger(directory / "ledger.db", DiskThread("ledger"), relay=True)
        intake = EventIntake("gw-1", RuleSet(rules), outbox, Dedupe(1000), Clock(), max_event_bytes=1000)

        broker = LocalBroker(
            EventTopics(SUBSCRIPTIONS, ["blobs/triggers", "meters/+/status"]),
            intake,
            LocalRelay(ledger, "edgeagent/status/{source}", retain=True),
            ConnectionNotices("local broker", ["mqtt://127.0.0.1"], "retrying", lambda: Instant(0, 0, b"")),
            LocalSession(OsFilesystem(), directory),
        )
        running = asyncio.create_task(broker.run())
        try:
            yield Bench(broker, intake, outbox)
        finally:
            running.cancel()
            await asyncio.wait([running])


async def test_source_type_and_id_come_from_the_subscription(tmp_path: Path) -> None:
    async with bench(tmp_path) as local:
        await local.take("sensors/boiler-1/data", b'{"temp": 1.50}')
        await local.take("meters/a/b", b'{"seq": 17}', 2)
        (first, second) = await local.stored()
        assert first[0] == "boiler-1"
        assert first[3] == b'{"temp": 1.50}'  # the very bytes
        assert second[:3] == ("meters/a/b", "reading", "17")


async def test_more_messages_than_one_segment_takes_are_stored_in_order_in_parts(tmp_path: Path) -> None:
    async with bench(tmp_path) as local:
        payloads = [b'{"n": %d, "filler": "%b"}' % (number, b"x" * 900) for number in range(200)]
        local.broker.on_messages([delivery("sensors/b/data", payload, n) for n, payload in enumerate(payloads, 1)])
        await until(lambda: len(local.link.acknowledged) == 200)
        found: list[bytes] = []
        while stored := await local.stored():
            found += [data for _, _, _, data in stored]
        assert found == payloads
        assert local.outbox.events.duplicate == 0


async def test_a_link_without_delivery_ids_has_its_messages_stored_and_acknowledged_by_its_receipts(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as local:
        receipts = ["projects/p/1", "projects/p/2"]
        local.broker.on_messages([Message("sensors/b/data", b"{}", receipt) for receipt in receipts])
        await until(lambda: [message.receipt for message in local.link.acknowledged] == receipts)
        assert len(await local.stored()) == 2


async def test_under_load_what_the_next_turns_bring_shares_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path) as local:
        commits: list[int] = []
        submit = local.outbox.submit

        def counted(group: Group, told: Callable[[int | BaseException], None]) -> None:
            commits.append(len(group.keys))
            submit(group, told)

        monkeypatch.setattr(local.outbox, "submit", counted)
        numbers = iter(range(1, 1000))
        for sent in ([20], [10, 10, 10], [1]):  # so many in each turn of the loop
            before = len(local.link.acknowledged)
            for count in sent:
                local.broker.on_messages([delivery("sensors/b/data", b"1", n) for n in islice(numbers, count)])
                await asyncio.sleep(0)
            await until(lambda: len(local.link.acknowledged) == before + sum(sent))  # noqa: B023  used at once
        assert commits == [20, 30, 1]


async def test_an_event_that_no_segment_holds_is_acknowledged_and_counted_and_holds_up_nothing(tmp_path: Path) -> None:
    rules = [RuleSpec(f"{number:060}", "plant", template="t", source="huge") for number in range(1200)]
    async with bench(tmp_path, rules=[*rules, *ALL]) as local:
        huge, small = delivery("sensors/huge/data", b"1", 1), delivery("sensors/b/data", b"2", 2)
        local.broker.on_messages([huge, small])
        await until(lambda: len(local.link.acknowledged) == 2)
        assert [data for _, _, _, data in await local.stored()] == [b"2"]
        assert (local.broker.counts.malformed, local.outbox.events.refused) == (1, 1)
        assert not local.broker.held


async def test_what_is_no_json_is_opaque(tmp_path: Path) -> None:
    async with bench(tmp_path) as local:
        await local.take("sensors/boiler-1/data", b"\x00\xff")
        (leased,) = await local.outbox.lease(NORMAL)
        assert not leased.record.is_json


async def test_a_cloudevent_is_taken_as_one_but_the_subscription_or_else_the_topic_is_its_source(
    tmp_path: Path,
) -> None:
    event = {"specversion": "1.0", "id": "e1", "source": "x", "type": "t", "time": "2022-01-01T00:00:00Z", "data": 5}
    async with bench(tmp_path) as local:
        await local.take("sensors/boiler-1/data", json.dumps(event).encode())
        await local.take("clouds", json.dumps({**event, "id": "e2"}).encode(), 2)
        assert await local.stored() == [("boiler-1", "t", "e1", b"5"), ("clouds", "t", "e2", b"5")]


async def test_what_can_be_no_event_is_acknowledged_counted_and_stops_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path) as local:
        await local.take("sensors/boiler-1/data", b"x" * 1001)  # over max_event_bytes
        await local.take("meters/a", b'{"no": "seq"}', 2)
        await local.take("sensors/ blank/data", b"{}", 3)
        await local.take("clouds", b'{"specversion": "0.3", "id": "1", "source": "s", "type": "t", "data": 1}', 4)
        await local.take("sensors/boiler-1/data", b"{}", 5)
        assert [source for source, *_ in await local.stored()] == ["boiler-1"]
        assert local.broker.counts.malformed == 4
        counts = local.outbox.events
        assert (counts.received, counts.stored, counts.refused) == (5, 1, 4)


async def test_our_own_reports_and_retained_messages_are_never_events(tmp_path: Path) -> None:
    async with bench(tmp_path) as local:
        await local.take("edgeagent/status/boiler-1", b"{}")
        await local.take("sensors/boiler-1/data", b"{}", 2, retain=True)
        assert await local.stored() == []
        assert local.broker.counts.ignored == 2


async def test_a_redelivery_is_the_same_event_and_a_new_message_on_its_packet_id_is_not(tmp_path: Path) -> None:
    async with bench(tmp_path) as local:
        await local.take("sensors/boiler-1/data", b"1", 7)
        await local.take("sensors/boiler-1/data", b"1", 7, duplicate=True)  # the same
        await local.take("sensors/boiler-1/data", b"2", 7, duplicate=True)  # other bytes
        await local.take("sensors/boiler-1/data", b"2", 8, duplicate=True)  # another packet
        await local.take("sensors/boiler-2/data", b"2", 7, duplicate=True)  # another topic
        await local.take("sensors/boiler-1/data", b"1", 7)  # no redelivery
        assert len(await local.stored()) == 5
        assert local.outbox.events.duplicate == 1


async def test_a_lost_session_makes_no_message_a_redelivery(tmp_path: Path) -> None:
    async with bench(tmp_path) as local:
        await local.take("sensors/boiler-1/data", b"1", 7)
        local.broker.on_down(Unavailable("mqtt://127.0.0.1", "gone"))
        local.broker.on_up(local.link, session_present=False)
        await local.take("sensors/boiler-1/data", b"1", 7, duplicate=True)
        assert len(await local.stored()) == 2


async def test_the_same_id_with_other_data_is_acknowledged_and_counted_as_a_conflict(tmp_path: Path) -> None:
    async with bench(tmp_path) as local:
        await local.take("meters/a", b'{"seq": 1, "v": 1}')
        await local.take("meters/a", b'{"seq": 1, "v": 2}', 2)
        await local.take("meters/a", b'{"seq": 1, "v": 1}', 3)
        assert len(await local.stored()) == 1
        counts = local.outbox.events
        assert (counts.conflict, counts.duplicate, counts.received) == (1, 1, 3)


async def test_a_device_cannot_take_the_id_of_another_devices_event_before_it(tmp_path: Path) -> None:
    def event(data: int) -> bytes:
        return json.dumps({"specversion": "1.0", "id": "e1", "source": "victim", "type": "t", "data": data}).encode()

    async with bench(tmp_path) as local:
        await local.take("clouds/attacker", event(1))
        await local.take("clouds/victim", event(2), 2)
        assert [(source, data) for source, _, _, data in await local.stored()] == [
            ("clouds/attacker", b"1"),
            ("clouds/victim", b"2"),
        ]
        assert local.outbox.events.conflict == 0


async def test_a_space_inside_a_topic_is_no_obstacle(tmp_path: Path) -> None:
    async with bench(tmp_path) as local:
        await local.take("sensors/Living Room/data", b"{}")
        assert [source for source, *_ in await local.stored()] == ["Living Room"]


async def test_payloads_are_what_the_subscription_says(tmp_path: Path) -> None:
    async with bench(tmp_path) as local:
        for number, (topic, payload) in enumerate(
            [
                ("switches/a", b"ON"),
                ("switches/a", b"0097\0"),
                ("switches/a", b'{"specversion": "1.0"}'),
                ("gauges/a", b'{"t": NaN, "u": -Infinity, "note": "NaN"}'),
                ("blobs/a", b"17"),
                ("sensors/a/data", b'\xef\xbb\xbf{"t": 1}\r\n\0\0'),
            ],
            1,
        ):
            await local.take(topic, payload, number)
        leased = await local.outbox.lease(NORMAL)
        assert [(item.record.data.strip(), item.record.is_json) for item in leased] == [
            (b'"ON"', True),
            (b'"0097"', True),
            (b'"{\\"specversion\\": \\"1.0\\"}"', True),
            (b'{"t": null, "u": null, "note": "NaN"}', True),
            (b"17", False),
            (b'{"t": 1}', True),
        ]


async def test_what_is_not_what_its_subscription_says_is_refused_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(tmp_path) as local:
        await local.take("strict/a", b'{"t": NaN}')
        await local.take("switches/a", b"\xff", 2)
        assert await local.stored() == []
        assert local.outbox.events.refused == 2
    assert "NaN at byte 6 is not a number in JSON" in caplog.text
    assert "is not text: it is not UTF-8" in caplog.text


async def test_messages_of_our_own_are_never_events_and_it_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(tmp_path) as local:
        await local.take("blobs/triggers", b"{}")
        await local.take("meters/a/status", b'{"seq": 1}', 2)
        await local.take("sensors/a/data", b"{}", 3, mark="gw-7")
        await local.take("sensors/a/data", b"{}", 4)
        assert [source for source, *_ in await local.stored()] == ["a"]
        assert (local.broker.counts.own, local.outbox.events.received) == (3, 1)
    told = [record for record in caplog.records if record.__dict__.get("event") == "local_own_message"]
    assert [record.levelname for record in told] == ["ERROR"]
    assert "blobs/triggers, by the subscription blobs/+, brings what edgeagent itself publishes" in told[0].getMessage()


async def test_an_event_without_a_value_that_its_rule_demands_is_acknowledged_counted_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = [RuleSpec("inspect", "plant", template="t", arguments={"temp": "body.temp"}, on_missing="refuse")]
    async with bench(tmp_path, rules=rules) as local:
        await local.take("sensors/boiler-1/data", b'{"unit": "C"}')
        await local.take("sensors/boiler-1/data", b'{"temp": 95}', 2)
        assert [data for _, _, _, data in await local.stored()] == [b'{"temp": 95}']
        assert (local.broker.counts.malformed, local.outbox.events.refused) == (1, 1)
        assert "rule inspect: parameter temp: the event has no body.temp" in caplog.text


async def test_an_event_beside_one_that_stands_on_a_refused_event_is_stored_and_counted_once(tmp_path: Path) -> None:
    async with bench(tmp_path) as local:
        first = Draft(source="meters/a", id="17", data=b'{"seq": 17}', is_json=True, topic="meters/a")
        sending = asyncio.create_task(local.refuse_whole(first))
        await asyncio.sleep(0)
        local.broker.on_messages([delivery("meters/a", b'{"seq": 17}', 1), delivery("sensors/b/data", b"8", 2)])
        await until(lambda: len(local.link.acknowledged) == 2)
        await sending
        assert sorted(data for _, _, _, data in await local.stored()) == [b"8", b'{"seq": 17}']
        counts = local.outbox.events
        assert (counts.received, counts.stored, counts.refused, counts.duplicate) == (83, 2, 81, 0)


async def test_what_a_rule_cannot_decide_about_a_held_message_is_counted_once(tmp_path: Path) -> None:
    hot = Filters(data=[DataFilter("body.temp", "number", ["90"], ">=")])
    disk = FaultyFilesystem()
    rules = [*ALL, RuleSpec("hot", "plant", template="t", filters=hot)]
    async with bench(tmp_path, rules=rules, filesystem=disk) as local:
        disk.fail(EIO, *CHANGES)
        local.broker.on_messages([delivery("sensors/b/data", b"{}")])
        await until(lambda: bool(local.broker.held))
        disk.heal()
        await until(lambda: len(local.link.acknowledged) == 1)
        assert local.intake.rule_counts["hot"].errors == 1


async def test_what_a_rule_cannot_decide_about_a_message_is_counted_once_although_it_is_stored_in_parts(
    tmp_path: Path,
) -> None:
    hot = Filters(data=[DataFilter("body.temp", "number", ["90"], ">=")])
    async with bench(tmp_path, rules=[*ALL, RuleSpec("hot", "plant", template="t", filters=hot)]) as local:
        payload = b'{"filler": "%b"}' % (b"x" * 900)
        local.broker.on_messages([delivery("sensors/b/data", payload, n) for n in range(1, 101)])
        await until(lambda: len(local.link.acknowledged) == 100)
        assert local.intake.rule_counts["hot"].errors == 100


async def test_the_trace_beside_a_message_belongs_to_its_event_unless_that_has_its_own(tmp_path: Path) -> None:
    beside, own = (f"00-{digit * 32}-00f067aa0ba902b7-01" for digit in "ab")
    cloud = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": 1}
    async with bench(tmp_path) as scene:
        await scene.take("sensors/a/data", b"1", 1, traceparent=beside)
        await scene.take("sensors/a/data", b"2", 2, traceparent="00-bad")
        await scene.take("clouds", json.dumps({**cloud, "traceparent": own}).encode(), 3, traceparent=beside)
        await scene.take("sensors/a/data", b"4", 4)
        traces = [item.record.traceparent for item in await scene.outbox.lease(NORMAL)]
    assert traces == [beside, None, own, None]


async def test_a_message_that_is_refused_once_it_is_an_event_is_told_with_its_source_and_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(tmp_path) as scene:
        await scene.take("meters/m-1", b'{"seq": 7, "v": 1}', 1)
        await scene.take("meters/m-1", b'{"seq": 7, "v": 2}', 2)  # the same id, other data
        await scene.take("strict/m-1", b"no JSON", 3)
    conflict, no_event = [record for record in caplog.records if getattr(record, "event", "") == "local_refused"]
    assert (getattr(conflict, "source", ""), getattr(conflict, "event_id", "")) == ("meters/m-1", "7")
    assert not hasattr(no_event, "event_id"), "there is none"
