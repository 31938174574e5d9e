"""The broker checks of `edgeagent doctor`, by whichever protocol the broker is reached."""

from __future__ import annotations

from collections.abc import AsyncIterator

from edgeagent.common.finding import Finding
from edgeagent.config.tables import Connection
from edgeagent.links.engines import engine_of
from edgeagent.links.trial import BrokerTrial


async def broker_findings(table: str, connection: Connection, trial: BrokerTrial) -> AsyncIterator[Finding]:
    """Try each of a broker's addresses, and what the real client does there. `table`: of the configuration."""
    async for finding in engine_of(connection).findings(table, connection, trial):
        yield finding
