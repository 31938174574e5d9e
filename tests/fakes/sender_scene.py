"""The sender over a real outbox and ledger, with a link that only keeps what is published."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from edgeagent.agent.chores import Chores
from edgeagent.agent.intake import EventIntake
from edgeagent.agent.lifetime import Lifetime
from edgeagent.agent.uplink_parts import make_uplink
from edgeagent.agent.uploading import Uploading
from edgeagent.agent.uploads_ahead import UploadsAhead
from edgeagent.common.units import Duration, Size
from edgeagent.config.tables import AgentConfig, OutboxTable, Uplink
from edgeagent.events.dedupe import Dedupe
from edgeagent.events.event import Draft
from edgeagent.ledger.ledger import Ledger
from edgeagent.mqtt.reason_codes import answer
from edgeagent.outbox.disk import DiskThread
from edgeagent.outbox.files import Filesystem
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import LOGS, DeadLimits
from edgeagent.outbox.spool_scan import finish, note_part
from edgeagent.ports.link import Ack, Publication
from edgeagent.rules.ruleset import RuleSet
from edgeagent.rules.spec import RuleSpec
from tests.fakes.link import FakeLink
from tests.fakes.outbox import running_outbox
from tests.fakes.turned_clock import TurnedClock
from tests.waiting import turns, until


class Scene:
    """Everything that an event meets from its acceptance to the broker, settled by the broker."""

    def __init__(
        self,
        outbox: Outbox,
        ledger: Ledger,
        specs: Sequence[RuleSpec],
        max_inflight: int,
        clock: TurnedClock,
        uploading: Uploading | None,
    ) -> None:
        self.clock = clock
        self.outbox = outbox
        self.ledger = ledger
        self.rules = RuleSet(specs)
        self.chores = Chores()
        self.intake = EventIntake("gw-1", self.rules, outbox, Dedupe(1000), self.clock, max_event_bytes=16 << 10)
        config = AgentConfig(
            uplink=Uplink(settle="broker", max_inflight=max_inflight),
            outbox=OutboxTable(max_age=Duration(1e9), max_event_bytes=Size(16 << 10)),
        )
        self.all_noted = asyncio.Event()
        self.ahead = None
        if uploading is not None:
            lifetime = Lifetime(config.outbox.max_age, clock.boot)
            self.ahead = UploadsAhead(outbox, uploading, self.rules, lifetime, clock, self._until_noted)
        parts = make_uplink(
            config,
            "gw-1",
            rules=self.rules,
            outbox=outbox,
            ledger=ledger,
            chores=self.chores,
            clock=self.clock,
            rule_counts=self.intake.rule_counts,
            firing_limits=self.intake.firing_limits,
            identity=lambda: "",
            uploading=uploading,
            ahead=self.ahead,
        )
        self.triggers, self.sender, self.limited = parts.triggers, parts.sender, parts.limited
        self.link = FakeLink()
        self.told: list[Publication] = []  # what the broker took
        self.refused = 0

    async def accept(self, *numbers: int, source: str = "boiler-1") -> list[str]:
        """Take events; returns their correlation ids."""
        drafts = [Draft(source=source, data=b'{"n": %d}' % n, is_json=True, id=f"e-{n}") for n in numbers]
        return [one.triggers[0].correlation_id for one in await self.intake.accept(drafts)]

    async def accept_large(self, *sizes: int, source: str = "boiler-1") -> list[str]:
        """Take events whose data is in the spool, each of so many bytes; returns their correlation ids."""
        spool = self.outbox.spool
        assert spool is not None
        result: list[str] = []
        for size in sizes:
            incoming = spool.begin()
            incoming.write(size.to_bytes(8) * (size // 8) + bytes(size % 8))
            artifact = spool.keep(incoming, "image/png")
            draft = Draft(source=source, data=artifact.claim(), is_json=True, id=f"e-{size}", artifact=artifact)
            result += [one.triggers[0].correlation_id for one in await self.intake.accept([draft])]
            spool.let_go(artifact.sha256)
        return result

    def up(self) -> None:
        """The uplink is there."""
        self.sender.up(self.link)

    def take(self) -> None:
        """The broker takes everything that was published."""
        published, self.link.published = self.link.published, []
        self.told += published
        self.link.room += len(published)
        self.sender.acknowledged([Ack(one.token) for one in published])

    def refuse(self, reason_code: int) -> None:
        """The broker does not take what was published."""
        published, self.link.published = self.link.published, []
        self.refused += len(published)
        self.link.room += len(published)
        self.sender.acknowledged([answer(one.token, reason_code) for one in published])

    async def published(self, count: int) -> None:
        """Wait until so much is published that the broker did not take yet."""
        await until(lambda: len(self.link.published) >= count, f"{count} triggers")

    async def sender_reads(self) -> None:
        """Let the sender lease what it wants from the disk."""
        await self.outbox.barrier()
        await turns(5)

    async def account(self, **wanted: int) -> None:
        """Let the broker take what comes until the account says this."""
        await self.until(lambda: self._has(wanted), f"the account {wanted}")

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Let the broker take what comes until a condition holds."""

        def holds() -> bool:
            if not condition():
                self.take()
                return False
            return True

        await until(holds, what, seen=lambda: self.outbox.health.account)

    def arguments(self) -> list[Any]:
        """What the triggers that the broker took have as their first argument."""
        workflows = [json.loads(one.payload)["workflow"] for one in self.told]
        return [json.loads(workflow["spec"]["arguments"]["parameters"][0]["value"]) for workflow in workflows]

    async def read_all_logs(self) -> None:
        """Do what the agent does after a start: then files of the spool may be removed, and uploads are looked for."""
        for name in LOGS:
            seq: int | None = 0
            while seq is not None:
                seq = await self.outbox.beside(partial(note_part, name=name, seq=seq))
        await self.outbox.beside(finish)
        self.all_noted.set()

    async def _until_noted(self) -> None:
        await self.all_noted.wait()

    def _has(self, wanted: dict[str, int]) -> bool:
        account = msgspec.to_builtins(self.outbox.health.account)
        return all(account[name] == count for name, count in wanted.items())


@asynccontextmanager
async def scene(
    directory: Path,
    *specs: RuleSpec,
    max_inflight: int = 100,
    filesystem: Filesystem | None = None,
    dead: DeadLimits | None = None,
    clock: TurnedClock | None = None,
    uploading: Uploading | None = None,
) -> AsyncIterator[Scene]:
    """A scene that runs. With `uploading`, the outbox has a spool."""
    ledger = Ledger(directory / "ledger.db", DiskThread("ledger"), relay=False)
    await ledger.open()
    remembered = RuleSet(specs).remembered
    has_spool = uploading is not None
    async with running_outbox(
        directory, filesystem=filesystem, remembered=remembered, dead=dead, spool=has_spool
    ) as outbox:
        made = Scene(outbox, ledger, specs, max_inflight, clock or TurnedClock(), uploading)
        tasks = [asyncio.create_task(run) for run in (ledger.run(), made.chores.run(), made.sender.run())]
        if made.ahead is not None:
            tasks.append(asyncio.create_task(made.ahead.run()))
        try:
            yield made
        finally:
            made.sender.down()
            await made.chores.idle()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await ledger.close()
