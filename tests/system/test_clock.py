"""Wrong clocks, end to end: an agent whose wall clock libfaketime sets, a real broker and an engine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edgeagent.common.times import instant
from tests.fakes.clocked_program import ClockedAgent, now
from tests.fakes.engine import Engine
from tests.fakes.mosquitto import Mosquitto

HOT = {"temp": 97.1}
START = datetime(1970, 1, 1, 0, 0, 10, tzinfo=UTC)
# However slow the machine is, a test's events come within this time. Wrong clocks are wrong by more.
A_WHILE = timedelta(minutes=30)
A_SECOND = timedelta(seconds=1)  # by which the correction may be wrong
RIGHT, YEAR = timedelta(0), timedelta(days=365)
RULE = """
[[rule]]
name = "overheat"
namespace = "plant"
template = "inspect"
ttl = "1h"
arguments = { at = "time", quality = "time_quality" }
"""


def told(trigger: dict[str, Any]) -> tuple[datetime, str]:
    """The event's time and its quality, as a workflow gets them; the time is in its annotation too."""
    workflow = trigger["workflow"]
    at, quality = (argument["value"] for argument in workflow["spec"]["arguments"]["parameters"])
    assert workflow["metadata"]["annotations"]["edgeagent.io/event-time"] == at
    return instant(at), quality


async def test_an_event_of_1970_is_sent_with_the_right_time_once_the_clock_is_set_also_after_a_restart(
    broker: Mosquitto, tmp_path: Path
) -> None:
    await broker.kill()
    agent = ClockedAgent(tmp_path / "agent", broker.url, START - now(), rules=RULE)
    async with agent:
        early = await agent.triggered("boiler-1", HOT, Idempotency_Key="e-1")
        own = await agent.triggered("boiler-1", {"at": "its own time"}, ce_time="2026-03-20T11:00:00Z", **CLOUD_EVENT)
        await agent.stop()
        agent.synchronize(RIGHT)
        await agent.start()
        again = await agent.send("boiler-1", HOT, Idempotency_Key="e-1")
        assert again["duplicate"]
        assert again["triggers"] == [{"rule": "overheat", "correlation_id": early}], "setting the clock changes no name"
        late = await agent.triggered("boiler-1", HOT)
        await broker.start()
        async with Engine(broker.url) as engine:
            await engine.received(3)
            for correlation_id in (early, own, late):
                await agent.state(correlation_id, "triggered")
        seen = {trigger["correlation_id"]: told(trigger) for trigger in engine.triggers}
        assert seen[own] == (datetime(2026, 3, 20, 11, tzinfo=UTC), "device")
        assert [seen[early][1], seen[late][1]] == ["corrected", "synchronized"]
        assert now() - A_WHILE < seen[early][0] <= seen[late][0] <= now() + A_SECOND
        assert set(engine.started) == {f"overheat-{correlation}" for correlation in (early, own, late)}
        stats = await agent.account(stored=3, settled=3, expired=0, dead=0)
        assert stats["account"]["balanced"]


async def test_a_clock_that_goes_a_year_ahead_and_back_loses_nothing_and_leaves_no_wrong_time(
    broker: Mosquitto, tmp_path: Path
) -> None:
    await broker.kill()
    agent = ClockedAgent(tmp_path / "agent", broker.url, RIGHT, rules=RULE)
    async with agent:
        before = await agent.triggered("boiler-1", HOT)
        agent.set_clock(YEAR)
        ahead = await agent.triggered("boiler-1", HOT)
        agent.synchronize(RIGHT)
        after = await agent.triggered("boiler-1", HOT)
        await broker.start()
        async with Engine(broker.url) as engine:
            await engine.received(3)
            await agent.account(stored=3, settled=3, expired=0)
        seen = {trigger["correlation_id"]: told(trigger) for trigger in engine.triggers}
        assert seen[ahead][1] == "corrected"
        assert seen[before][1] == "synchronized", "nobody had set it, and it was right as it turned out"
        assert all(abs(at - now()) < A_WHILE for at, _ in seen.values())
        assert seen[before][0] <= seen[ahead][0] <= seen[after][0] + A_SECOND


@pytest.mark.parametrize(
    "day",
    [datetime(2028, 2, 29, 12, tzinfo=UTC), datetime(2028, 2, 28, 12, tzinfo=UTC), datetime(2028, 3, 1, tzinfo=UTC)],
)
async def test_a_clock_is_set_from_1970_to_a_day_around_a_leap_day(
    broker: Mosquitto, tmp_path: Path, day: datetime
) -> None:
    await broker.kill()
    agent = ClockedAgent(tmp_path / "agent", broker.url, START - now(), rules=RULE)
    async with agent:
        early = await agent.triggered("boiler-1", HOT)
        agent.synchronize(day - now())
        await broker.start()
        async with Engine(broker.url) as engine:
            await engine.received(1)
            await agent.state(early, "triggered")
        at, quality = told(engine.triggers[0])
        assert (quality, day - A_WHILE < at <= day + A_SECOND) == ("corrected", True), at


async def test_what_is_sent_while_the_clock_is_wrong_says_so(broker: Mosquitto, tmp_path: Path) -> None:
    async with (
        Engine(broker.url) as engine,
        ClockedAgent(tmp_path / "agent", broker.url, START - now(), rules=RULE) as agent,
    ):
        await agent.state(await agent.triggered("boiler-1", HOT), "triggered")
        at, quality = told(engine.triggers[0])
        assert (quality, at.year) == ("unsynchronized", 1970)


CLOUD_EVENT = {"ce_specversion": "1.0", "ce_id": "7", "ce_source": "boiler-1", "ce_type": "reading"}
