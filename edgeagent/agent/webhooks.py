"""Makes the webhooks of a configuration, if it has any: what they need costs memory, and most agents have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeagent.agent.clock import Clock
from edgeagent.config.tables import Relay
from edgeagent.ledger.ledger import Ledger

if TYPE_CHECKING:
    from edgeagent.agent.webhook_parts import WebhookParts


async def opened_webhooks(relay: Relay, agent: str, ledger: Ledger, clock: Clock) -> WebhookParts | None:
    """The webhooks, opened; see `WebhookParts`. None without any."""
    if not relay.webhook:
        return None
    from edgeagent.agent.webhook_parts import WebhookParts  # noqa: PLC0415  with it comes httpx

    webhooks = WebhookParts(relay, agent, ledger, clock.instant)
    await webhooks.open()
    return webhooks
