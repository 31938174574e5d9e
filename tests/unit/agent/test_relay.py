from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.agent import relay as relay_module
from edgeagent.agent.relay import LocalRelay
from edgeagent.ledger.ledger import Ledger
from edgeagent.mqtt.reason_codes import answer
from edgeagent.outbox.disk import DiskThread
from edgeagent.ports.link import Ack, Publication
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import Report, State
from tests.fakes.link import FakeLink
from tests.waiting import until

pytestmark = pytest.mark.virtual_time


def life(correlation: str, accepted_ms: int, state: State = State.TRIGGERED, source: str = "boiler-1") -> Life:
    return Life(Report(correlation, f"e-{correlation}", source, "overheat", state, "2022-01-01T00:00:00Z"), accepted_ms)


class Bench:
    """A relay with a link that the test plays."""

    def __init__(self, ledger: Ledger, relay: LocalRelay) -> None:
        self.ledger = ledger
        self.relay = relay
        self.link = FakeLink()

    async def reports(self, count: int) -> list[tuple[dict[str, Any], bool]]:
        """Wait for so many reports since the start: the report and whether it is retained."""
        await until(lambda: len(self.link.published) >= count)
        return [(json.loads(item.payload), item.retain) for item in self.link.published]


@asynccontextmanager
async def bench(directory: Path, *, retain: bool = True) -> AsyncIterator[Bench]:
    ledger = Ledger(directory / "ledger.db", DiskThread("ledger"), relay=True)
    await ledger.open()
    relay = LocalRelay(ledger, "edgeagent/status/{source}", retain=retain)
    ledger.listen(relay.changed)
    tasks = [asyncio.create_task(ledger.run()), asyncio.create_task(relay.run())]
    try:
        yield Bench(ledger, relay)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await ledger.close()


async def test_a_report_goes_to_its_source_and_is_told_once(tmp_path: Path) -> None:
    async with bench(tmp_path) as local:
        local.relay.up(local.link)
        local.ledger.begin(life("a", 1))
        ((report, retained),) = await local.reports(1)
        assert local.link.published[0].topic == "edgeagent/status/boiler-1"
        assert report["state"] == "triggered"
        assert report["id"] == "e-a"
        assert retained
        local.relay.acknowledged([Ack(local.link.published[0].token)])
        local.ledger.begin(life("b", 2))
        await local.reports(2)
        assert [json.loads(item.payload)["correlation_id"] for item in local.link.published] == ["a", "b"]


async def test_only_the_newest_event_of_a_source_is_retained(tmp_path: Path) -> None:
    async with bench(tmp_path) as local:
        for correlation, accepted_ms in (("old", 1), ("new", 2)):
            local.ledger.begin(life(correlation, accepted_ms))
        local.ledger.begin(life("other", 1, source="boiler-2"))
        await local.ledger.committed()
        local.relay.up(local.link)
        reports = {report["correlation_id"]: retained for report, retained in await local.reports(3)}
        assert reports == {"old": False, "new": True, "other": True}
        # So that a source that reports no more does not stay with the broker for ever.
        assert {item.retain: item.expiry_s for item in local.link.published} == {True: 30 * 86_400, False: None}


async def test_what_was_not_acknowledged_is_told_again_on_the_next_connection(tmp_path: Path) -> None:
    async with bench(tmp_path) as local:
        local.relay.up(local.link)
        local.ledger.begin(life("a", 1))
        await local.reports(1)
        local.relay.down()
        second = FakeLink()
        local.link = second
        local.relay.up(second)
        ((report, _),) = await local.reports(1)
        assert report["correlation_id"] == "a"


async def test_what_devices_were_not_told_survives_a_restart(tmp_path: Path) -> None:
    async with bench(tmp_path) as before:
        before.ledger.begin(life("a", 1))
        before.ledger.begin(life("b", 2))
        before.relay.up(before.link)
        await before.reports(2)
        before.relay.acknowledged([Ack(before.link.published[0].token)])
    async with bench(tmp_path) as after:
        after.relay.up(after.link)
        ((report, _),) = await after.reports(1)
        assert report["correlation_id"] == "b"


async def test_a_report_changed_while_it_was_under_way_is_told_again(tmp_path: Path) -> None:
    async with bench(tmp_path) as local:
        local.relay.up(local.link)
        local.ledger.begin(life("a", 1))
        await local.reports(1)

        def succeed(known: Life | None) -> Life | None:
            assert known is not None
            return msgspec.structs.replace(known, report=msgspec.structs.replace(known.report, state=State.SUCCEEDED))

        await local.ledger.change("a", succeed)
        local.relay.acknowledged([Ack(local.link.published[0].token)])
        reports = await local.reports(2)
        assert [report["state"] for report, _ in reports] == ["triggered", "succeeded"]


async def test_a_refused_report_is_not_repeated_for_ever(tmp_path: Path) -> None:
    async with bench(tmp_path, retain=False) as local:
        local.relay.up(local.link)
        local.ledger.begin(life("a", 1))
        ((_, retained),) = await local.reports(1)
        assert not retained
        local.relay.acknowledged([answer(local.link.published[0].token, 0x87)])
        local.ledger.begin(life("b", 2))
        await local.reports(2)
        assert [json.loads(item.payload)["correlation_id"] for item in local.link.published] == ["a", "b"]


QUOTA_EXCEEDED = 0x97


def correlation_of(publication: Publication) -> str:
    correlation_id: str = json.loads(publication.payload)["correlation_id"]
    return correlation_id


async def test_a_report_that_the_broker_refuses_for_now_is_published_again_until_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(relay_module, "_RETRY_S", 0.01)
    caplog.set_level("INFO")
    async with bench(tmp_path) as local:
        local.relay.up(local.link)
        local.ledger.begin(life("a", 1))
        for tries in (1, 2, 3):
            await local.reports(tries)
            local.relay.acknowledged([answer(local.link.published[-1].token, QUOTA_EXCEEDED)])
        await local.reports(4)
        local.relay.acknowledged([Ack(local.link.published[-1].token)])
        assert await local.ledger.unrelayed(10) == []
        assert {correlation_of(item) for item in local.link.published} == {"a"}
    told = [(record.levelname, vars(record).get("event")) for record in caplog.records]
    assert told == [("WARNING", "report_refused"), ("INFO", "report_taken_again")]


async def test_reports_that_are_refused_for_now_hold_up_no_others_and_survive_a_restart(tmp_path: Path) -> None:
    async with bench(tmp_path) as before:
        before.relay.up(before.link)
        before.ledger.begin(life("refused", 1))
        await before.reports(1)
        before.relay.acknowledged([answer(before.link.published[0].token, QUOTA_EXCEEDED)])
        before.ledger.begin(life("other", 2))
        await before.reports(2)
        assert correlation_of(before.link.published[1]) == "other"
        before.relay.acknowledged([Ack(before.link.published[1].token)])
    async with bench(tmp_path) as after:
        after.relay.up(after.link)
        await after.reports(1)
        assert [correlation_of(item) for item in after.link.published] == ["refused"]
