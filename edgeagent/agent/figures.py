"""What the agent tells about itself: `/v1/stats` and `/metrics`, made from the counters of its parts when asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

import edgeagent
from edgeagent.agent.clock import Clock
from edgeagent.agent.counts import outbox_stats
from edgeagent.agent.intake import EventIntake
from edgeagent.agent.uplink_parts import UplinkParts
from edgeagent.common.elapsed import Since
from edgeagent.common.times import rfc3339
from edgeagent.errors import OutboxError
from edgeagent.host.troubles import LastTroubles
from edgeagent.ledger.ledger import Ledger
from edgeagent.links.rotation import Rotation
from edgeagent.outbox.commit import Health
from edgeagent.outbox.metering import DiskMeter
from edgeagent.outbox.oldest import oldest_ms as oldest_ms_of
from edgeagent.outbox.outbox import Outbox
from edgeagent.ports.manage import ManageFigures

if TYPE_CHECKING:
    from edgeagent.agent.artifact_parts import ArtifactParts
    from edgeagent.agent.listener_parts import ListenerParts
    from edgeagent.agent.local import LocalBroker
    from edgeagent.agent.spool_parts import SpoolParts
    from edgeagent.agent.tracing_parts import TracingParts
    from edgeagent.agent.webhook_parts import WebhookParts

# A scrape does not wait longer for a disk that is busy or hangs; it shows everything else.
_DISK_S = 1.0
_HOUR_S = 3600.0


class Figures:
    """Reads the counters of the agent's parts. It owns none of them, and changes nothing."""

    def __init__(
        self,
        agent: str,
        started: Since,
        *,
        outbox: Outbox,
        meter: DiskMeter,
        intake: EventIntake,
        uplink: UplinkParts,
        ledger: Ledger,
        clock: Clock,
        rotations: Mapping[str, Rotation],
        troubles: LastTroubles,
        http: Callable[[], dict[str, Any]],
        local: LocalBroker | None,
        mqtt: ListenerParts | None,
        webhooks: WebhookParts | None,
        tracing: TracingParts | None,
        spool: SpoolParts | None,
        managed: Callable[[], ManageFigures | None],
        artifacts: ArtifactParts | None,
        is_rescue: bool,
        config: Callable[[], str],
    ) -> None:
        """Take the parts.

        Args:
            agent: the agent's id.
            started: when the agent started.
            outbox: the outbox.
            meter: what measures its disk.
            intake: counts events.
            uplink: the parts of the uplink.
            ledger: the ledger.
            clock: the time.
            rotations: the certificates of each link, by its name: `uplink`, `local`.
            troubles: the last warnings and errors.
            http: gives the figures of the HTTP server, which is made after us.
            local: None without a local broker.
            mqtt: None without a listener.
            webhooks: None without any webhook: then there is no metric of them.
            tracing: None without `[tracing]`.
            spool: None without large data.
            managed: gives the figures of requests about workflows; None while there are none.
            artifacts: None without `[artifacts]`.
            is_rescue: the disk can only be read.
            config: names the configuration in force.
        """
        self._agent = agent
        self._started = started
        self._outbox = outbox
        self._meter = meter
        self._intake = intake
        self._uplink = uplink
        self._ledger = ledger
        self._clock = clock
        self._rotations = rotations
        self._troubles = troubles
        self._http = http
        self._local = local
        self._mqtt = mqtt
        self._is_rescue = is_rescue
        self._config = config
        self._webhooks = webhooks
        self._tracing = tracing
        self._spool = spool
        self._managed = managed
        self._artifacts = artifacts
        self._asked: asyncio.Task[int | None] | None = None

    def stats(self) -> dict[str, Any]:
        """The figures for `/v1/stats`, ready for JSON."""
        stats: dict[str, Any] = {
            "agent": self._agent,
            "version": edgeagent.__version__,
            "started": rfc3339(self._started.wall_ms(self._clock.instant())),
            "config": self._config(),
            "rescue": self._is_rescue,
            **outbox_stats(self._outbox),
            "uplink": {
                **self._uplink.stats(),
                "certificate_days_left": self._rotations["uplink"].days_left,
            },
            "ledger": msgspec.structs.asdict(self._ledger.stats()),
            "rules": msgspec.to_builtins(self._intake.rule_counts),
            "rates": self._uplink.limited.stats(),
            "http": self._http(),
            "log": self._troubles.stats(),
        }
        if self._local is not None:
            stats["local"] = {
                **self._local.notices.stats(),
                **msgspec.to_builtins(self._local.counts),
                "held": self._local.held,
            }
        named = {
            "mqtt": self._mqtt,
            "webhooks": self._webhooks,
            "tracing": self._tracing,
            "spool": self._spool,
            "artifacts": self._artifacts,
        }
        for name, parts in named.items():
            if parts is not None:
                stats[name] = parts.stats()
        return stats

    async def metrics(self) -> bytes:
        """The figures for `/metrics`, in Prometheus's text format, without those that a hanging disk does not give."""
        from edgeagent.agent.metrics import (  # noqa: PLC0415  only for who asks
            AgentFigures,
            LinkFigures,
            agent_families,
        )
        from edgeagent.common.exposition import exposition  # noqa: PLC0415  as above
        from edgeagent.host.process import process_families, python_version  # noqa: PLC0415  as above

        health = self._outbox.health  # it takes up what was released, so that the oldest is none of those
        oldest_ms = await self._oldest_ms() if health.account.pending else None
        triggers, notices = self._uplink.triggers, self._uplink.notices
        links = {"uplink": LinkFigures(notices.is_up, notices.connects, self._last_ack_s())}
        if self._local is not None:
            links["local"] = LinkFigures(self._local.notices.is_up, self._local.notices.connects)
        ends = {name: rotation.ends for name, rotation in self._rotations.items()}
        listener = self._mqtt.figures if self._mqtt is not None else None
        if listener is not None:
            ends["listener"] = listener.ends
        figures = AgentFigures(
            agent=self._agent,
            version=edgeagent.__version__,
            python=python_version(),
            events=self._intake.events_by_way,
            health=health,
            in_flight=len(triggers),
            unanswered=triggers.unanswered,
            gathering=self._uplink.windows.members,
            oldest_s=oldest_ms / 1000 if oldest_ms is not None else None,
            headroom_s=self._headroom_s(health),
            syncs=self._meter.syncs,
            written_bytes=self._meter.written_bytes,
            answers=triggers.answer_times,
            links=links,
            ends=ends,
            rules=self._intake.rule_counts,
            listener=listener,
            canary=self._uplink.canaries.report if self._uplink.canaries is not None else None,
            webhooks=self._webhooks.counts.outcomes if self._webhooks is not None else None,
            spans=self._tracing.counts if self._tracing is not None else None,
            uploads=self._artifacts.figures() if self._artifacts is not None else None,
            spool=self._spool.figures() if self._spool is not None else None,
            managed=self._managed(),
        )
        return exposition([*agent_families(figures), *process_families()])

    async def _oldest_ms(self) -> int | None:
        """When the oldest trigger was accepted; None if the disk does not say in time.

        However many ask, and however long the disk takes, only one question is with it.
        """
        asked = self._asked
        if asked is None or asked.done():
            asked = self._asked = asyncio.create_task(self._ask_disk())
        done, _ = await asyncio.wait({asked}, timeout=_DISK_S)
        return asked.result() if done else None

    async def _ask_disk(self) -> int | None:
        try:
            return await self._outbox.beside(oldest_ms_of)
        except OutboxError:
            return None

    def _headroom_s(self, health: Health) -> float | None:
        """What is left of the outbox, in seconds; 0 while it is full, although it does not grow then."""
        if not health.accepting:
            return 0.0
        hours_left = self._outbox.hours_left()
        return hours_left * _HOUR_S if hours_left is not None else None

    def _last_ack_s(self) -> float:
        """When the uplink's broker last took a trigger, by the wall clock of now; 0 if it never did."""
        published_at = self._uplink.triggers.published_at
        if published_at is None:
            return 0.0
        return round(self._clock.now_ms() / 1000 - (asyncio.get_running_loop().time() - published_at), 1)
