"""An agent's way in for large data, over a real disk: outbox, spool, intake and HTTP server."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from edgeagent.agent.clock import Clock
from edgeagent.agent.intake import EventIntake
from edgeagent.events.dedupe import Dedupe
from edgeagent.events.event import Draft
from edgeagent.httpapi.timeouts import Timeouts
from edgeagent.outbox.files import Filesystem
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import NORMAL
from edgeagent.outbox.spooler import Spooler
from edgeagent.ports.device import Accepted
from edgeagent.rules.ruleset import RuleSet
from edgeagent.rules.spec import RuleSpec
from tests.fakes.device_port import FakeDevice
from tests.fakes.http_agent import HOST, Agent, serving
from tests.fakes.outbox import running_outbox
from tests.waiting import until

DATA = bytes(range(256)) * 8000
URL = "/v1/events/cam-1"
INLINE_BYTES = 1000
PATIENT = Timeouts(linger_s=60)  # who still sends is heard out, however busy the machine is
RULES = [RuleSpec("inspect", "plant", source="cam-*", template="inspect")]


class IntakeDevice(FakeDevice):
    """A device port whose events go to a real intake."""

    def __init__(self, intake: EventIntake) -> None:
        super().__init__()
        self._intake = intake

    async def accept(self, drafts: Sequence[Draft]) -> list[Accepted]:
        """Store them, unless a test says otherwise."""
        await super().accept(drafts)
        return await self._intake.accept(drafts)


class LargeScene(NamedTuple):
    """What a test looks at. `spool`: the directory."""

    agent: Agent
    outbox: Outbox
    spooler: Spooler
    intake: EventIntake
    spool: Path

    def files(self) -> list[str]:
        """What is in the spool at this moment, while its thread may still be at work."""
        return sorted(path.name for path in self.spool.iterdir())

    async def files_at_rest(self) -> list[str]:
        """What is in the spool when all is done that was begun: an answer does not wait until what it drops is gone."""
        await self.spooler.disk.call(lambda: None)
        return self.files()

    async def gone(self) -> None:
        """Wait until nothing comes in and nothing is left of what did."""
        await until(lambda: not self.spooler.stats()["incoming"])
        assert await self.files_at_rest() == []


@asynccontextmanager
async def large_scene(
    directory: Path,
    *,
    max_bytes: int = 8 << 20,
    outbox_bytes: int = 64 << 20,
    filesystem: Filesystem | None = None,
    timeouts: Timeouts | None = None,
    is_unreadable: bool = False,
) -> AsyncIterator[LargeScene]:
    """All of it running."""
    async with running_outbox(directory, max_bytes=outbox_bytes, filesystem=filesystem, spool=True) as outbox:
        assert outbox.spool is not None
        spooler = Spooler(
            outbox, outbox.spool, inline_bytes=INLINE_BYTES, max_bytes=max_bytes, is_unreadable=lambda: is_unreadable
        )
        intake = EventIntake("gw", RuleSet(RULES), outbox, Dedupe(100), Clock(), max_event_bytes=4000)
        running = asyncio.create_task(spooler.run())
        try:
            async with serving(
                max_event_bytes=4000, device=IntakeDevice(intake), large=spooler, timeouts=timeouts or PATIENT
            ) as agent:
                yield LargeScene(agent, outbox, spooler, intake, directory / "outbox" / "spool")
        finally:
            running.cancel()
            spooler.close()


def sha256(data: bytes) -> str:
    """Its name in the spool."""
    return hashlib.sha256(data).hexdigest()


def head(method: str = "POST", path: str = URL, *fields: bytes) -> bytes:
    """The head of a request; the body is the test's."""
    return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (
        method.encode(),
        path.encode(),
        HOST,
        b"".join(field + b"\r\n" for field in fields),
    )


async def body_of(scene: LargeScene) -> dict[str, object]:
    """The body that a rule sees of the only event."""
    [leased] = await scene.outbox.lease(NORMAL)
    assert leased.record.artifact is not None
    return {"data": leased.record.data, "artifact": leased.record.artifact, "type": leased.record.datacontenttype}
