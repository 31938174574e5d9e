"""What `edgeagent doctor --dispatch` asks the Argo Server, and Kubernetes; imported only where one is configured."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from edgeagent.argo.client import ArgoClient, ArgoSettings
from edgeagent.argo.date import server_time
from edgeagent.argo.kubernetes import KubernetesClient, in_pod
from edgeagent.common.finding import Finding, fail, ok, warn
from edgeagent.config.tables import DispatcherConfig
from edgeagent.dispatcher.argo_parts import argo_engine, argo_settings
from edgeagent.dispatcher.capacity import Capacity, LimitUse
from edgeagent.dispatcher.rights import configmap_finding, template_findings, workflow_findings
from edgeagent.dispatcher.watcher import UNFINISHED
from edgeagent.errors import ConfigError, EngineRefused, EngineUnavailable

# Tokens and certificates depend on clocks: with half a minute between them, new ones are not valid yet.
MAX_SKEW = timedelta(seconds=30)


async def engine_findings(config: DispatcherConfig) -> AsyncIterator[Finding]:
    """All findings about the engine, as they are made; an unreachable server takes its full time-out."""
    async for finding in _server_findings(config, argo_settings(config.engine)):
        yield finding
    async for finding in _configmap_findings(config):
        yield finding


async def _server_findings(config: DispatcherConfig, settings: ArgoSettings) -> AsyncIterator[Finding]:
    subject = f"engine {settings.url}"
    try:
        async with ArgoClient(settings) as client:
            await argo_engine(config, client).probe()
            yield ok(subject, f"Argo Server {await client.check()}, and it accepts our credentials")
            async for finding in workflow_findings(client, config.watched_namespaces):
                yield finding
            async for finding in template_findings(client, config):
                yield finding
            for finding in await limit_findings(client, config):
                yield finding
        if skew := await _skew(settings):
            yield skew
    except EngineUnavailable as exc:
        yield fail(subject, exc.reason, "start the server, or correct the setting at fault in [engine]")
    except EngineRefused as exc:
        yield fail(
            subject, f"{exc.status}: {exc.message}", "correct engine.url, or renew the token in engine.token_file"
        )


async def limit_findings(client: ArgoClient, config: DispatcherConfig) -> list[Finding]:
    """One finding for each limit of `engine.max_active`: how much of it the engine's unfinished workflows use."""
    capacity = Capacity(config.engine.max_active, config.watched_namespaces, changed=lambda: None)
    if not capacity.uses():
        return []
    for namespace in config.watched_namespaces:
        try:
            workflows, _ = await client.list(namespace, labels=UNFINISHED)
        except EngineRefused:  # the finding about the namespace says so
            continue
        for workflow in workflows:
            capacity.started(namespace, workflow.metadata.name, workflow.template)
    return [_limit_finding(use) for use in capacity.uses()]


def _limit_finding(use: LimitUse) -> Finding:
    subject = f'max_active "{use.key}"'
    found = f"{use.active} of {use.most} unfinished workflows"
    if not use.full:
        return ok(subject, found)
    remedy = "wait until some end (`argo list --running` shows whether they do), or raise it in [engine]"
    return warn(subject, f"{found}: its triggers wait", remedy)


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
