"""The dispatcher as a process: its parts put together and run until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Coroutine
from typing import Any

import msgspec

from edgeagent.config.tables import DispatcherConfig
from edgeagent.core import topics
from edgeagent.core.names import agent_id_from_host
from edgeagent.dispatcher.dispatcher import Dispatcher
from edgeagent.dispatcher.dryrun import DryRun
from edgeagent.dispatcher.policy import EVERYTHING, Policy
from edgeagent.host import systemd
from edgeagent.host.supervisor import supervise
from edgeagent.mqtt.link import Subscription
from edgeagent.mqtt.session import keep_connected

log = logging.getLogger(__name__)


def client_id(config: DispatcherConfig, host: str) -> str:
    """The configured client id with `{instance}` replaced; the same at every start, so that the session is found."""
    return config.broker.client_id.replace("{instance}", config.broker.instance or agent_id_from_host(host))


async def serve(config: DispatcherConfig, *, stop: asyncio.Event) -> int:
    """Run a dispatcher until a signal or `stop`, and return the process's exit code. Main thread only."""
    log.warning(
        'engine.kind is "dry-run": triggers are answered, but NOTHING IS RUN', extra={"event": "dry_run_engine"}
    )
    engine = DryRun()
    dispatcher = Dispatcher(engine, Policy(config.allow or [EVERYTHING]), bind_agent=config.engine.bind_agent)
    link = keep_connected(
        config.broker,
        dispatcher,
        client_id=client_id(config, socket.gethostname()),
        subscriptions=[Subscription(topic_filter) for topic_filter in topics.trigger_filters(config.broker.group)],
    )
    tasks: dict[str, Coroutine[Any, Any, None]] = {
        "link": link,
        "engine": engine.run(dispatcher.report),
        "dispatcher": dispatcher.run(),
    }
    if interval_s := systemd.watchdog_interval_s():
        tasks["watchdog"] = systemd.keep_watchdog(interval_s)

    async def drain() -> None:
        systemd.stopping()
        await dispatcher.drain()

    systemd.ready()
    try:
        return await supervise(tasks, stop=stop, drain=drain)
    finally:
        counters = msgspec.to_builtins(dispatcher.stats(), str_keys=True)
        log.info("the dispatcher has stopped", extra={"event": "dispatcher_stopped", **counters})
