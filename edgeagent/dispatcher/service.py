"""The dispatcher as a process: its parts put together and run until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Coroutine
from typing import Any, NamedTuple

import msgspec

from edgeagent.argo.client import ArgoClient, ArgoSettings
from edgeagent.config.tables import DispatcherConfig
from edgeagent.config.tables import Engine as EngineTable
from edgeagent.core import topics
from edgeagent.core.names import agent_id_from_host
from edgeagent.dispatcher.argo import ArgoEngine
from edgeagent.dispatcher.dispatcher import Dispatcher
from edgeagent.dispatcher.dryrun import DryRun
from edgeagent.dispatcher.engine import Engine
from edgeagent.dispatcher.policy import EVERYTHING, Policy
from edgeagent.dispatcher.statuses import Statuses
from edgeagent.host import systemd
from edgeagent.host.supervisor import supervise
from edgeagent.mqtt.leave import Leave
from edgeagent.mqtt.link import Subscription, Will
from edgeagent.mqtt.session import keep_connected

log = logging.getLogger(__name__)

# Beside the creations: looking up workflows for statuses and queries, and the probe.
_MORE_CONNECTIONS = 4

Tasks = dict[str, Coroutine[Any, Any, None]]


class _Parts(NamedTuple):
    """A dispatcher and what must run with it, the link first: it is the last to be cancelled."""

    dispatcher: Dispatcher
    leave: Leave
    tasks: Tasks


def instance(config: DispatcherConfig, host: str) -> str:
    """This dispatcher's name in its group; the same at every start."""
    return config.broker.instance or agent_id_from_host(host)


def client_id(config: DispatcherConfig, host: str) -> str:
    """The configured client id with `{instance}` replaced; the same at every start, so that the session is found."""
    return config.broker.client_id.replace("{instance}", instance(config, host))


def argo_settings(engine: EngineTable) -> ArgoSettings:
    """How to reach the Argo Server that `[engine]` names."""
    return ArgoSettings(
        url=engine.url,
        token_file=engine.token_file,
        ca_file=engine.ca_file,
        cert_file=engine.cert_file,
        key_file=engine.key_file,
        insecure=engine.insecure,
        max_connections=engine.max_concurrent + _MORE_CONNECTIONS,
    )


async def serve(config: DispatcherConfig, *, stop: asyncio.Event) -> int:
    """Run a dispatcher until a signal or `stop`, and return the process's exit code. Main thread only."""
    async with contextlib.AsyncExitStack() as stack:
        dispatcher, leave, tasks = await _compose(config, stack)
        if interval_s := systemd.watchdog_interval_s():
            tasks["watchdog"] = systemd.keep_watchdog(interval_s)

        async def drain() -> None:
            systemd.stopping()
            await leave.unsubscribe()  # while triggers are still taken: those that are left in the session nobody gets
            await dispatcher.drain()

        systemd.ready()
        try:
            return await supervise(tasks, stop=stop, drain=drain)
        finally:
            counters = msgspec.to_builtins(dispatcher.stats(), str_keys=True)
            log.info("the dispatcher has stopped", extra={"event": "dispatcher_stopped", **counters})


async def _compose(config: DispatcherConfig, stack: contextlib.AsyncExitStack) -> _Parts:
    host, leave = socket.gethostname(), Leave()
    subscriptions = [Subscription(topic_filter) for topic_filter in topics.trigger_filters(config.broker.group)]
    will: Will | None = None
    tasks: Tasks = {}
    if config.engine.kind == "dry-run":
        log.warning(
            'engine.kind is "dry-run": triggers are answered, but NOTHING IS RUN', extra={"event": "dry_run_engine"}
        )
        rehearsal = DryRun()
        dispatcher = _dispatcher(config, rehearsal)
        tasks["engine"] = rehearsal.run(dispatcher.report)
    else:
        client = await stack.enter_async_context(ArgoClient(argo_settings(config.engine)))
        probed, *_ = config.watched_namespaces
        dispatcher = _dispatcher(
            config, ArgoEngine(client, probe_namespace=probed, token_file=config.engine.token_file)
        )
        statuses = Statuses(
            client,
            config.watched_namespaces,
            config.broker.group,
            instance(config, host),
            dispatcher.send,
            active=dispatcher.capacity,
        )
        dispatcher.share_with(statuses)
        subscriptions += statuses.subscriptions
        will = statuses.will
        tasks["statuses"] = statuses.run()
    link = keep_connected(
        config.broker,
        dispatcher,
        client_id=client_id(config, host),
        subscriptions=subscriptions,
        will=will,
        leave=leave,
    )
    return _Parts(dispatcher, leave, {"link": link, **tasks, "dispatcher": dispatcher.run()})


def _dispatcher(config: DispatcherConfig, engine: Engine) -> Dispatcher:
    return Dispatcher(
        engine,
        # Only a dry run may come without [[allow]].
        Policy(config.allow or [EVERYTHING]),
        bind_agent=config.engine.bind_agent,
        max_concurrent=config.engine.max_concurrent,
        max_active=config.engine.max_active if not engine.dry_run else None,
        watched=config.watched_namespaces,
    )
