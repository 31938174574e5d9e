"""What `edgeagent doctor --dispatch` looks at: broker, engine, files and clock of a dispatcher, running or not.

Nothing is created, and nobody who runs is disturbed.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from edgeagent.argo.client import ArgoClient, ArgoSettings
from edgeagent.argo.date import server_time
from edgeagent.config.tables import DispatcherConfig
from edgeagent.core import topics
from edgeagent.core.checkup import Finding, fail, ok, warn
from edgeagent.core.messages import LABEL_CORRELATION_ID
from edgeagent.dispatcher.service import argo_engine, argo_settings, client_id
from edgeagent.errors import EngineRefused, EngineUnavailable
from edgeagent.host.checkup import certificate_findings, connection_findings, secret_findings
from edgeagent.mqtt.checkup import broker_findings

# Tokens and certificates are judged by clocks: half a minute apart, those just issued are not valid yet.
MAX_SKEW = timedelta(seconds=30)
# No workflow has it, so that the answer is small.
_SELECTOR = f"{LABEL_CORRELATION_ID}=edgeagent-doctor"


async def examine(config: DispatcherConfig) -> AsyncIterator[Finding]:
    """Everything about a dispatcher, as it is found; what cannot be reached takes its time-out."""
    engine = config.engine
    for finding in connection_findings("broker", config.broker):
        yield finding
    for finding in secret_findings({"engine.token_file": engine.token_file, "engine.key_file": engine.key_file}):
        yield finding
    for finding in certificate_findings({"engine.ca_file": engine.ca_file, "engine.cert_file": engine.cert_file}):
        yield finding
    filters = list(topics.trigger_filters(config.broker.group))
    if engine.kind == "argo":
        group = config.broker.group
        filters += [topics.presence_filter(group), topics.cursor_filter(group), topics.STATUS_QUERY]
    async for finding in broker_findings("broker", config.broker, client_id(config, socket.gethostname()), filters):
        yield finding
    if engine.kind == "dry-run":
        yield warn(
            "engine", 'engine.kind is "dry-run": no workflow is started', 'set engine.kind = "argo" when it counts'
        )
        return
    async for finding in _engine_findings(config, argo_settings(engine)):
        yield finding


async def _engine_findings(config: DispatcherConfig, settings: ArgoSettings) -> AsyncIterator[Finding]:
    subject = f"engine {settings.url}"
    try:
        async with ArgoClient(settings) as client:
            await argo_engine(config, client).probe()
            yield ok(subject, f"Argo Server {await client.check()}, and it takes our credentials")
            for namespace in config.watched_namespaces:
                yield await _namespace_finding(client, namespace)
        if skew := await _skew(settings):
            yield skew
    except EngineUnavailable as exc:
        yield fail(subject, exc.reason, "start the server, or correct what it names in [engine]")
    except EngineRefused as exc:
        yield fail(
            subject, f"{exc.status}: {exc.message}", "correct engine.url, or renew the token in engine.token_file"
        )


async def _namespace_finding(client: ArgoClient, namespace: str) -> Finding:
    """Whether its workflows may be listed, which following them begins with."""
    subject = f"namespace {namespace}"
    try:
        await client.list(namespace, labels=_SELECTOR, limit=1)
    except EngineRefused as exc:
        remedy = "grant create, get, list and watch of workflows in it to the account of the token"
        return fail(subject, f"its workflows may not be listed: {exc.status}: {exc.message}", remedy)
    return ok(subject, "its workflows may be listed")


async def _skew(settings: ArgoSettings) -> Finding | None:
    """How far apart the clocks are; None when the server does not tell its time."""
    theirs = await server_time(settings)
    if theirs is None:
        return None
    apart = abs(datetime.now(UTC) - theirs)
    if apart > MAX_SKEW:
        found = f"this machine and the engine are {apart.total_seconds():.0f} s apart"
        return warn("clock", found, "have NTP set both clocks")
    return ok("clock", "as the engine's")
