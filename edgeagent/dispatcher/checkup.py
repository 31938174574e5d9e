"""The checks of `edgeagent doctor --dispatch`: the broker, engine, files and clock of a dispatcher, running or not.

Nothing is created, and a running dispatcher is not disturbed.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator

from edgeagent.common.finding import Finding, warn
from edgeagent.config.tables import DispatcherConfig
from edgeagent.dispatcher.group_checkup import group_finding
from edgeagent.dispatcher.service import client_id
from edgeagent.host.checkup import certificate_findings, connection_findings, secret_findings, webhook_file_findings
from edgeagent.links.checkup import broker_findings
from edgeagent.links.trial import BrokerTrial
from edgeagent.webhooks.checkup import webhook_findings
from edgeagent.wire import topics


async def examine(config: DispatcherConfig) -> AsyncIterator[Finding]:
    """All findings about a dispatcher, as they are made; an unreachable server takes its full time-out."""
    engine = config.engine
    for finding in _file_findings(config):
        yield finding
    if not engine.bind_agent:
        remedy = f'give each gateway trigger_topic = "{topics.AGENTS_TRIGGER}", then leave engine.bind_agent out'
        yield warn("engine.bind_agent", f"is false: {topics.UNBOUND_AGENTS}", remedy)
    async for finding in _broker_findings(config):
        yield finding
    async for finding in webhook_findings("webhook", config.webhook):
        yield finding
    if config.tracing is not None:
        from edgeagent.tracing.checkup import collector_findings  # noqa: PLC0415  few use it

        async for finding in collector_findings(config.tracing):
            yield finding
    if engine.kind == "dry-run":
        yield warn(
            "engine", 'engine.kind is "dry-run": no workflow is started', 'set engine.kind = "argo" when it counts'
        )
        return
    from edgeagent.dispatcher.argo_checkup import engine_findings  # noqa: PLC0415  a rehearsal does without httpx

    async for finding in engine_findings(config):
        yield finding


async def _broker_findings(config: DispatcherConfig) -> AsyncIterator[Finding]:
    """The broker, what this dispatcher does there, and who of its group is there."""
    group, own_id = config.broker.group, client_id(config, socket.gethostname())
    filters = list(topics.trigger_filters(group))
    if config.manages:
        filters += topics.manage_filters(group)
    if config.engine.kind == "argo":
        filters += [topics.presence_filter(group), topics.cursor_filter(group), topics.STATUS_QUERY]
    trial = BrokerTrial(own_id, tuple(filters), (topics.RESPONSE, topics.STATUS))
    async for finding in broker_findings("broker", config.broker, trial):
        yield finding
    if config.engine.kind == "argo" and (found := await group_finding(config, own_id)) is not None:
        yield found


def _file_findings(config: DispatcherConfig) -> Iterator[Finding]:
    """The secrets and certificates."""
    engine = config.engine
    yield from connection_findings("broker", config.broker)
    yield from secret_findings({"engine.token_file": engine.token_file, "engine.key_file": engine.key_file})
    yield from certificate_findings({"engine.ca_file": engine.ca_file, "engine.cert_file": engine.cert_file})
    if config.tracing is not None:
        yield from secret_findings({"tracing.headers_file": config.tracing.headers_file})
    for index, table in enumerate(config.webhook):
        yield from webhook_file_findings(f"webhook[{index}]", table)
