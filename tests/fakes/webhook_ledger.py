"""Webhooks of a ledger on a real disk, without an agent around them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from edgeagent.agent.webhook_parts import WebhookParts
from edgeagent.common.elapsed import Instant
from edgeagent.common.units import Duration
from edgeagent.config.tables import Relay, RelayWebhook
from edgeagent.ledger.ledger import Ledger
from edgeagent.outbox.disk import DiskThread
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import Report, State
from tests.ending import end

NOON_MS = 1_774_008_000_000


def life(number: int, state: State = State.FAILED, *, source: str = "boiler-1", rule: str = "overheat") -> Life:
    """A trigger whose state is reported."""
    return Life(Report(f"c-{number}", f"e-{number}", source, rule, state, "2026-03-20T12:00:00.000Z"), NOON_MS + number)


class WebhookScene:
    """A ledger and the webhooks beside it. `now_ms`: their wall clock, which a test may set."""

    def __init__(self, path: Path, tables: Sequence[RelayWebhook], give_up_after: float) -> None:
        self.now_ms = NOON_MS
        self.ledger = Ledger(path, DiskThread("ledger"), relay=0)
        relay = Relay(webhook=list(tables), give_up_after=Duration(give_up_after))
        self._relay = relay

    async def open(self) -> None:
        """Open both."""
        await self.ledger.open()
        self.webhooks = WebhookParts(self._relay, "gw-1", self.ledger, self._instant)
        await self.webhooks.open()

    def _instant(self) -> Instant:
        return Instant(self.now_ms, self.now_ms - NOON_MS, b"this boot")

    @property
    def outcomes(self) -> dict[str, int]:
        """What became of deliveries; those that never happened are left out."""
        return {name: count for name, count in self.webhooks.counts.outcomes.items() if count}

    @property
    def receivers(self) -> list[dict[str, Any]]:
        """The state of each receiver."""
        receivers: list[dict[str, Any]] = self.webhooks.stats()["receivers"]
        return receivers


@asynccontextmanager
async def webhooks(
    path: Path, *tables: RelayWebhook, give_up_after: float = 86_400, running: bool = True
) -> AsyncIterator[WebhookScene]:
    """Webhooks at work. `running`: they deliver; otherwise what is to be delivered is only kept.

    They end as a killed process does: what was not committed is lost, and what was under way is not told.
    """
    scene = WebhookScene(path, tables, give_up_after)
    await scene.open()
    tasks = [asyncio.create_task(scene.ledger.run())]
    if running:
        tasks += [asyncio.create_task(work) for work in scene.webhooks.tasks().values()]
    else:
        for work in scene.webhooks.tasks().values():
            work.close()
    try:
        yield scene
    finally:
        for task in reversed(tasks):
            assert not task.done() or task.cancelled(), task
            await end(task)
        scene.ledger._thread.close()
