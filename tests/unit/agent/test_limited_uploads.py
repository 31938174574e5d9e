"""Large data under rules with a rate, a strict order or `coalesce`, over a real outbox in virtual time."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from edgeagent.common.units import Duration
from edgeagent.outbox.spool_scan import finish, note_part
from edgeagent.rules.spec import RateLimit, RuleSpec
from tests.fakes.sender_scene import Scene, scene
from tests.fakes.slow_uploads import SlowUploads
from tests.fakes.turned_clock import LoopsClock
from tests.unit.agent.test_limited import MINUTE_S, Broker, most_within
from tests.waiting import until

pytestmark = pytest.mark.virtual_time

LARGE = RuleSpec(
    "large",
    "plant",
    template="t",
    source="cam-*",
    arguments={"n": "body.size"},
    rate=RateLimit(3, Duration(MINUTE_S)),
)
PLAIN = RuleSpec("plain", "plant", template="t", source="plain-*", arguments={"n": "body.n"})
SIZES = range(2000, 2012)


def spooled(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "outbox" / "spool").iterdir())


def digest(size: int) -> str:
    return hashlib.sha256(size.to_bytes(8) * (size // 8) + bytes(size % 8)).hexdigest()


async def all_logs_are_read(made: Scene) -> None:
    """What the agent does after a start, so that files of the spool may be removed."""
    for name in ("normal", "high", "dead", "parked", "windows", "limited"):
        seq: int | None = 0
        while seq is not None:
            seq = await made.outbox.beside(lambda store, name=name, seq=seq: note_part(store, name, seq))  # type: ignore[misc]
    await made.outbox.beside(finish)


async def spool_is_empty(directory: Path) -> None:
    await until(lambda: spooled(directory) == [], "the spool to be empty", seen=lambda: spooled(directory))


@pytest.mark.parametrize("upload_s", [0.5, 90.0])
async def test_large_data_under_a_rate_is_all_sent_and_no_faster_than_the_rate(tmp_path: Path, upload_s: float) -> None:
    uploads = SlowUploads(tmp_path, upload_s)
    async with scene(tmp_path, LARGE, clock=LoopsClock(), uploading=uploads.uploading) as made:
        await all_logs_are_read(made)
        broker = Broker(made)
        await made.accept_large(*SIZES, source="cam-1")
        await broker.has(len(SIZES))
        assert sorted(broker.numbers) == list(SIZES)
        assert most_within([at for at, _ in broker.taken], MINUTE_S) == 3
        assert uploads.digests() == {digest(size) for size in SIZES}
        await made.account(settled=len(SIZES), pending=0, dead=0)
        assert made.triggers.stats()["republished"] == 0
        await spool_is_empty(tmp_path)
