"""The checks of `edgeagent doctor --dispatch`: the broker, engine, files and clock of a dispatcher, running or not.

Nothing is created, and a running dispatcher is not disturbed.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

from edgeagent.argo.client import ArgoClient, ArgoSettings
from edgeagent.argo.date import server_time
from edgeagent.argo.kubernetes import KubernetesClient, in_pod
from edgeagent.common.finding import Finding, fail, ok, warn
from edgeagent.config.tables import DispatcherConfig
from edgeagent.dispatcher.rights import configmap_finding, template_findings, workflow_findings
from edgeagent.dispatcher.service import argo_engine, argo_settings, client_id
from edgeagent.errors import ConfigError, EngineRefused, EngineUnavailable
from edgeagent.host.checkup import certificate_findings, connection_findings, secret_findings, webhook_file_findings
from edgeagent.links.checkup import broker_findings
from edgeagent.links.trial import BrokerTrial
from edgeagent.webhooks.checkup import webhook_findings
from edgeagent.wire import topics

# Tokens and certificates depend on clocks: with half a minute between them, new ones are not valid yet.
MAX_SKEW = timedelta(seconds=30)


async def examine(config: DispatcherConfig) -> AsyncIterator[Finding]:
    """All findings about a dispatcher, as they are made; an unreachable server takes its full time-out."""
    engine = config.engine
    for finding in _file_findings(config):
        yield finding
    if not engine.bind_agent:
        remedy = f'give each gateway trigger_topic = "{topics.AGENTS_TRIGGER}", then leave engine.bind_agent out'
        yield warn("engine.bind_agent", f"is false: {topics.UNBOUND_AGENTS}", remedy)
    filters = list(topics.trigger_filters(config.broker.group))
    if config.manages:
        filters += topics.manage_filters(config.broker.group)
    if engine.kind == "argo":
        group = config.broker.group
        filters += [topics.presence_filter(group), topics.cursor_filter(group), topics.STATUS_QUERY]
    publishes = (topics.RESPONSE, topics.STATUS)
    trial = BrokerTrial(client_id(config, socket.gethostname()), tuple(filters), publishes)
    async for finding in broker_findings("broker", config.broker, trial):
        yield finding
    async for finding in webhook_findings("webhook", config.webhook):
        yield finding
    if engine.kind == "dry-run":
        yield warn(
            "engine", 'engine.kind is "dry-run": no workflow is started', 'set engine.kind = "argo" when it counts'
        )
        return
    async for finding in _engine_findings(config, argo_settings(engine)):
        yield finding
    async for finding in _configmap_findings(config):
        yield finding


def _file_findings(config: DispatcherConfig) -> Iterator[Finding]:
    """The secrets and certificates."""
    engine = config.engine
    yield from connection_findings("broker", config.broker)
    yield from secret_findings({"engine.token_file": engine.token_file, "engine.key_file": engine.key_file})
    yield from certificate_findings({"engine.ca_file": engine.ca_file, "engine.cert_file": engine.cert_file})
    for index, table in enumerate(config.webhook):
        yield from webhook_file_findings(f"webhook[{index}]", table)


async def _engine_findings(config: DispatcherConfig, settings: ArgoSettings) -> AsyncIterator[Finding]:
    subject = f"engine {settings.url}"
    try:
        async with ArgoClient(settings) as client:
            await argo_engine(config, client).probe()
            yield ok(subject, f"Argo Server {await client.check()}, and it accepts our credentials")
            async for finding in workflow_findings(client, config.watched_namespaces):
                yield finding
            async for finding in template_findings(client, config):
                yield finding
        if skew := await _skew(settings):
            yield skew
    except EngineUnavailable as exc:
        yield fail(subject, exc.reason, "start the server, or correct the setting at fault in [engine]")
    except EngineRefused as exc:
        yield fail(
            subject, f"{exc.status}: {exc.message}", "correct engine.url, or renew the token in engine.token_file"
        )


async def _configmap_findings(config: DispatcherConfig) -> AsyncIterator[Finding]:
    """Whether results may be written as ConfigMaps, if that is configured; the rights are those of the pod."""
    if not config.status.configmap:
        return
    try:
        async with KubernetesClient(in_pod()) as kubernetes:
            for namespace in config.watched_namespaces:
                yield await configmap_finding(kubernetes, namespace)
    except ConfigError as exc:
        yield fail(
            "configmaps", str(exc), "run it in the pod: `kubectl exec deploy/... -- edgeagent doctor --dispatch`"
        )
    except EngineUnavailable as exc:
        yield fail("configmaps", str(exc), "let the pod reach the Kubernetes API server")


async def _skew(settings: ArgoSettings) -> Finding | None:
    """How far apart the clocks are; None if the server does not send its time."""
    theirs = await server_time(settings)
    if theirs is None:
        return None
    apart = abs(datetime.now(UTC) - theirs)
    if apart > MAX_SKEW:
        found = f"this machine and the engine are {apart.total_seconds():.0f} s apart"
        return warn("clock", found, "have NTP set both clocks")
    return ok("clock", "agrees with the engine's")
