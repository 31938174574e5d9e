"""The figures of all parts of an agent, as `GET /v1/stats` shows them (contract section 14)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

import edgeagent
from edgeagent.agent.counts import RuleCounts, outbox_stats
from edgeagent.agent.listener_parts import ListenerParts
from edgeagent.agent.local import LocalBroker
from edgeagent.agent.notices import ConnectionNotices
from edgeagent.agent.uplink_parts import UplinkParts
from edgeagent.host.troubles import LastTroubles
from edgeagent.httpapi.server import HttpServer
from edgeagent.ledger.ledger import Ledger
from edgeagent.mqtt.rotation import Rotation
from edgeagent.outbox.outbox import Outbox

if TYPE_CHECKING:
    from edgeagent.agent.webhook_parts import WebhookParts


class StatsSources(NamedTuple):
    """The parts that have figures. `started`: when the agent started, RFC 3339.

    `local`, `mqtt`, `webhooks`: None without them.
    """

    agent: str
    started: str
    is_rescue: bool
    outbox: Outbox
    ledger: Ledger
    uplink: UplinkParts
    rotation: Rotation
    rule_counts: Mapping[str, RuleCounts]
    http: HttpServer
    troubles: LastTroubles
    local: tuple[LocalBroker, ConnectionNotices] | None
    mqtt: ListenerParts | None
    webhooks: WebhookParts | None

    def stats(self) -> dict[str, Any]:
        """The figures now, ready for JSON."""
        stats: dict[str, Any] = {
            "agent": self.agent,
            "version": edgeagent.__version__,
            "started": self.started,
            "rescue": self.is_rescue,
            **outbox_stats(self.outbox),
            "uplink": {**self.uplink.stats(), "certificate_days_left": self.rotation.days_left},
            "ledger": self.ledger.stats()._asdict(),
            "rules": msgspec.to_builtins(self.rule_counts),
            "http": self.http.stats(),
            "log": self.troubles.stats(),
        }
        if self.local is not None:
            broker, notices = self.local
            stats["local"] = {**notices.stats(), **msgspec.to_builtins(broker.counts), "held": broker.held}
        for name, parts in (("mqtt", self.mqtt), ("webhooks", self.webhooks)):
            if parts is not None:
                stats[name] = parts.stats()
        return stats
