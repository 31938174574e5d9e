"""The agent's watch port: what is told live, the series, and the devices, each from its part."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from edgeagent.agent.clock import Clock
from edgeagent.agent.intake import EventIntake
from edgeagent.agent.prepared import Prepared
from edgeagent.agent.seen_devices import MAX_DEVICES, SeenDevices
from edgeagent.agent.series import FlowSample, Series
from edgeagent.agent.traces import Traces
from edgeagent.agent.uplink_parts import UplinkParts
from edgeagent.agent.watch import Subscriber, Watch
from edgeagent.common.times import rfc3339
from edgeagent.errors import OutboxError
from edgeagent.ledger.ledger import Ledger
from edgeagent.outbox.oldest import oldest_ms
from edgeagent.outbox.outbox import Outbox
from edgeagent.ports.watch import DeviceSeen, StreamQuery
from edgeagent.rules.ruleset import RuleSet

# As the shortest step of the series.
_SAMPLE_S: Final = 30.0
# The series do not wait longer for a disk that is busy or hangs.
_DISK_S: Final = 1.0


class WatchService:
    """The agent's `WatchPort`. Owns the series and the devices seen; `run` keeps the series."""

    def __init__(
        self, watch: Watch, outbox: Outbox, ledger: Ledger, clock: Clock, figures: Callable[[], FlowSample]
    ) -> None:
        """`figures`: the present ones, for the series."""
        self._watch = watch
        self._outbox = outbox
        self._ledger = ledger
        self._clock = clock
        self._figures = figures
        self._series = Series()
        self._seen = SeenDevices()

    def stored(self, events: Sequence[Prepared]) -> None:
        """Note that events were accepted."""
        self._seen.note(events, self._clock.now_ms())

    async def run(self) -> None:
        """Take samples for the series until cancelled."""
        while True:
            self._sample()
            await asyncio.sleep(_SAMPLE_S)

    def subscribe(self, query: StreamQuery, wake: Callable[[], None]) -> Subscriber:
        """Begin to tell; see `WatchPort`."""
        return self._watch.subscribe(query, wake)

    async def series(self) -> Mapping[str, Any]:
        """The series until now; see `WatchPort`."""
        self._sample()
        oldest: str | None = None
        if self._outbox.health.account.pending:
            with contextlib.suppress(OutboxError, TimeoutError):
                async with asyncio.timeout(_DISK_S):
                    oldest_at = await self._outbox.beside(oldest_ms)
                oldest = rfc3339(oldest_at) if oldest_at is not None else None
        shown = self._series.shown(self._clock.uptime_ms() / 1000)
        return {"at": self._clock.now(), "oldest": oldest, **shown}

    async def devices(self) -> Sequence[DeviceSeen]:
        """The sources, newest event first; see `WatchPort`."""
        kept = await self._ledger.devices(MAX_DEVICES)
        found = {source: max(at_ms, self._seen.seen.get(source, 0)) for source, (at_ms, _) in kept.items()}
        found = {**self._seen.seen, **found}
        newest = sorted(found.items(), key=lambda one: one[1], reverse=True)[:MAX_DEVICES]
        return [DeviceSeen(source, rfc3339(at_ms), kept.get(source, (0, 0))[1]) for source, at_ms in newest]

    def _sample(self) -> None:
        self._series.sample(self._clock.uptime_ms() / 1000, self._figures())


def make_watch(
    agent: str,
    rules: RuleSet,
    clock: Clock,
    stats: Callable[[], dict[str, Any]],
    *,
    outbox: Outbox,
    ledger: Ledger,
    intake: EventIntake,
    uplink: UplinkParts,
    traces: Traces,
) -> WatchService:
    """Make the parts and connect them. The caller must run the service.

    `stats`: the figures of `/v1/stats`. `traces`: what reports say of them.
    """

    def figures() -> FlowSample:
        return FlowSample(outbox.events.received, uplink.triggers.forwarded, outbox.health.account.pending)

    watch = Watch(agent, rules, clock, stats, traces)
    service = WatchService(watch, outbox, ledger, clock, figures)
    ledger.listen(watch.changed)
    intake.listen(watch.stored)
    intake.listen(service.stored)
    uplink.notices.listen(watch.link_changed)
    return service
