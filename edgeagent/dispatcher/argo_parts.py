"""The parts of a dispatcher that works with Argo; a rehearsing one does without them, and without `httpx`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import NamedTuple, Self

from edgeagent.argo.client import ArgoClient, ArgoSettings
from edgeagent.argo.kubernetes import KubernetesClient, in_pod
from edgeagent.argo.operations import ArgoOperations
from edgeagent.config.tables import DispatcherConfig, EngineTable
from edgeagent.dispatcher.argo import ArgoEngine
from edgeagent.dispatcher.capacity import Capacity
from edgeagent.dispatcher.operations import Operations
from edgeagent.dispatcher.policy import Policy
from edgeagent.errors import EngineRefused, EngineUnavailable

log = logging.getLogger(__name__)

# In addition to the creations: lookups of workflows for statuses and queries, and the probe.
_MORE_CONNECTIONS = 4


class ArgoParts(NamedTuple):
    """The client, and what is made over it. `kubernetes`: None unless results are written as ConfigMaps."""

    client: ArgoClient
    engine: ArgoEngine
    kubernetes: KubernetesClient | None

    @classmethod
    async def connect(cls, config: DispatcherConfig, stack: contextlib.AsyncExitStack) -> Self:
        """Make them, to be closed with `stack`; no server is asked anything yet.

        Raises:
            ConfigError: `status.configmap` is set, but this process is not in a cluster's pod.
        """
        client = await stack.enter_async_context(ArgoClient(argo_settings(config.engine)))
        engine = argo_engine(config, client)
        kubernetes = await stack.enter_async_context(KubernetesClient(in_pod())) if config.status.configmap else None
        return cls(client, engine, kubernetes)

    def operations(self, policy: Policy, *, capacity: Capacity) -> Operations:
        """What performs requests about workflows."""
        return Operations(ArgoOperations(self.client), self.engine, policy, capacity=capacity)

    async def check(self, url: str) -> None:
        """Log once whether the engine is available and accepts our credentials, while everything else starts.

        The result changes nothing: the first trigger finds out too. Then it waits, as a supervised task never returns.
        """
        try:
            await self.engine.probe()
            version = await self.client.check()
        except EngineUnavailable as exc:
            log.warning(
                "the workflow engine cannot be reached yet; nothing is lost meanwhile. Check engine.url, the network, "
                "and whether the server is running: %s",
                exc,
                extra={"event": "engine_unreachable", "url": url},
            )
        except EngineRefused as exc:
            log.error(  # noqa: TRY400  no fault of the program, so its traceback tells nothing
                "the workflow engine refuses our credentials; check engine.url and engine.token_file: %s",
                exc,
                extra={"event": "engine_refuses", "url": url, "status": exc.status},
            )
        else:
            extra = {"event": "engine_found", "url": url, "version": version}
            log.info("the workflow engine accepts our credentials: Argo Server %s at %s", version, url, extra=extra)
        await asyncio.Event().wait()


def argo_settings(engine: EngineTable) -> ArgoSettings:
    """The settings for reaching the Argo Server that `[engine]` names."""
    return ArgoSettings(
        url=engine.url,
        token_file=engine.token_file,
        ca_file=engine.ca_file,
        cert_file=engine.cert_file,
        key_file=engine.key_file,
        insecure=engine.insecure,
        max_connections=engine.max_concurrent + _MORE_CONNECTIONS,
    )


def argo_engine(config: DispatcherConfig, client: ArgoClient) -> ArgoEngine:
    """The engine over a client, as configured in `[engine]` and by the watched namespaces."""
    probed, *_ = config.watched_namespaces
    return ArgoEngine(client, probe_namespace=probed, token_file=config.engine.token_file)
