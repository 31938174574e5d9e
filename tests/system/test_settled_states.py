"""What the outbox forgets of a trigger, the ledger knows: a crash never leaves one whose state nobody can tell."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edgeagent.outbox import unkept as unkept_module
from edgeagent.outbox.cursor import read_slots
from edgeagent.outbox.files import OsFilesystem
from tests.fakes.agent_here import FILLER, HOT, AgentHere
from tests.fakes.engine import Engine
from tests.fakes.faulty_filesystem import FaultyFilesystem
from tests.fakes.mosquitto import Mosquitto
from tests.waiting import until


class Observed(FaultyFilesystem):
    """At each checkpoint it looks at what a process that is killed just then leaves behind.

    Attributes:
        seen: for each checkpoint, how many settled triggers it holds, and of how many the ledger has an answer.
    """

    def __init__(self, state: Path) -> None:
        super().__init__()
        self.state = state
        self.seen: list[tuple[int, int]] = []

    def operation(self, name: str, path: Path) -> None:
        """Look, if it is the sync of a checkpoint."""
        super().operation(name, path)
        if name == "sync" and path.name == "cursor":
            self.seen.append((self._settled(path), self._answered()))

    def _settled(self, cursor: Path) -> int:
        file = OsFilesystem().open(cursor)
        try:
            newest = max(filter(None, read_slots(file)), key=lambda checkpoint: checkpoint.generation)
        finally:
            file.close()
        return sum(log.released.get("settled", 0) for log in newest.logs.values())

    def _answered(self) -> int:
        with closing(sqlite3.connect(f"file:{self.state / 'ledger.db'}?mode=ro", uri=True)) as ledger:
            count: int = ledger.execute("SELECT count(*) FROM trigger WHERE state != 'published'").fetchone()[0]
        return count


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints come long before the ledger commits by itself."""
    monkeypatch.setattr(unkept_module, "CHECKPOINT_S", 0.05)


@pytest.mark.usefixtures("soon")
async def test_at_each_checkpoint_the_ledger_knows_every_trigger_that_the_outbox_forgets(
    tmp_path: Path, broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    count = 40
    here = AgentHere(tmp_path / "agent", caplog, broker.url)
    observed = here.filesystem = Observed(here.directory / "state")
    async with Engine(broker.url), here as agent:
        await agent.logged("link_up")
        for number in range(count):
            await agent.triggered("boiler-1", {**HOT, "n": number})
            await agent.account(settled=number + 1)
        await until(lambda: any(settled == count for settled, _ in observed.seen), "the last checkpoint")
        assert [seen for seen in observed.seen if seen[0] > seen[1]] == []


async def test_nor_does_a_checkpoint_tell_more_than_the_ledger_knows_because_a_segment_is_begun(
    tmp_path: Path, broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    count = 20  # seven of them fill a segment
    here = AgentHere(tmp_path / "agent", caplog, broker.url)
    observed = here.filesystem = Observed(here.directory / "state")
    async with Engine(broker.url), here as agent:
        await agent.logged("link_up")
        for number in range(count):
            await agent.triggered("boiler-1", {**HOT, "n": number, "filler": FILLER})
            await agent.account(settled=number + 1)
        await until(
            lambda: any(settled > count // 2 for settled, _ in observed.seen), "checkpoints", seen=lambda: observed.seen
        )
        assert [seen for seen in observed.seen if seen[0] > seen[1]] == []
