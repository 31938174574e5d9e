"""Finding one trigger in a long backlog."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.agent.bloom_filter import ROOMY, BloomFilter
from edgeagent.agent.lookup import TriggerLookup
from edgeagent.agent.notes import correlation_of
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import HIGH, NORMAL, SETTLED, Leased
from edgeagent.outbox.store import Store
from edgeagent.rules.trigger import correlation_id
from tests.fakes.outbox import running_outbox
from tests.fakes.stores import group, record

pytestmark = pytest.mark.virtual_time

NOWHERE = [correlation_id("gw", "nobody", str(number), "r") for number in range(50)]


def name(number: int) -> str:
    return correlation_id("gw", "boiler", f"e{number}", "r")


async def add(outbox: Outbox, first: int, count: int, log: str = NORMAL) -> None:
    for start in range(first, first + count, 100):
        await outbox.append(group(log, *(record(f"e{number}") for number in range(start, start + min(100, count)))))


class Reads:
    """Counts the triggers that are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        real = Store._leased

        def counted(store: Store, log: str, items: list[object]) -> list[Leased]:
            leased: list[Leased] = real(store, log, items)  # type: ignore[arg-type]
            self.count += len(leased)
            return leased

        monkeypatch.setattr(Store, "_leased", counted)

    def since(self) -> int:
        """How many since the last call."""
        count, self.count = self.count, 0
        return count


@pytest.mark.slow
async def test_ids_that_no_trigger_has_cost_one_reading_of_the_backlog_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_outbox(tmp_path, max_bytes=16 << 20) as outbox:
        await add(outbox, 0, 2000)
        reads = Reads(monkeypatch)
        lookup = TriggerLookup(outbox)
        for nowhere in NOWHERE:
            assert await lookup.trigger(nowhere) is None
        assert reads.since() == 2000
        await add(outbox, 2000, 100)
        assert await lookup.trigger(NOWHERE[0]) is None
        assert reads.since() == 100, "what came since"
        for foreign in ("", "overheat-1", NOWHERE[0].upper(), NOWHERE[0] + "0", "\u0663" * 32):
            assert await lookup.trigger(foreign) is None
        assert reads.since() == 0, "no trigger can have such an id"


async def test_each_trigger_is_found_where_it_is_and_again_without_a_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_outbox(tmp_path, max_bytes=16 << 20) as outbox:
        await add(outbox, 0, 1000)
        await add(outbox, 1000, 100, HIGH)
        lookup = TriggerLookup(outbox)
        for number in (999, 0, 1050, 500):
            found = await lookup.trigger(name(number))
            assert found is not None
            assert correlation_of(found) == name(number)
        reads = Reads(monkeypatch)
        assert await lookup.trigger(name(999)) is not None
        assert reads.since() <= 256, "a part of a log"
        leased = [one for _ in range(4) for one in await outbox.lease(NORMAL)]
        outbox.release([one for one in leased if one.record.id == "e999"], SETTLED)
        await outbox.append(group(NORMAL, record("later")))
        assert await lookup.trigger(name(999)) is None, "it is gone"


def test_a_sieve_never_forgets_and_is_rarely_wrong() -> None:
    bloom_filter = BloomFilter()
    seen = [name(number) for number in range(20_000)]
    for one in seen:
        bloom_filter.add(one)
    assert all(one in bloom_filter for one in seen)
    assert bloom_filter.count == len(seen) < ROOMY
    assert sum(name(number) in bloom_filter for number in range(20_000, 40_000)) < 10
