"""The dispatcher as a process: its parts are put together and run until it is asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from edgeagent.common.names import agent_id_from_host
from edgeagent.config.addresses import is_amqp, is_pubsub, split_address
from edgeagent.config.tables import DispatcherConfig
from edgeagent.dispatcher.capacity import Capacity
from edgeagent.dispatcher.dispatcher import Dispatcher
from edgeagent.dispatcher.dryrun import DryRun
from edgeagent.dispatcher.engine import Engine
from edgeagent.dispatcher.manage_link import ManageLink
from edgeagent.dispatcher.manager import MAX_CONCURRENT, Manager
from edgeagent.dispatcher.operations import Operations
from edgeagent.dispatcher.policy import EVERYTHING, Policy
from edgeagent.dispatcher.probes import Probes
from edgeagent.dispatcher.statuses import Statuses
from edgeagent.dispatcher.traces import PASSED_ON
from edgeagent.host import systemd
from edgeagent.host.supervisor import Ender, supervise
from edgeagent.links.drain import SessionDrain
from edgeagent.links.session import keep_connected
from edgeagent.ports.link import PREFETCH, Subscription
from edgeagent.wire import topics
from edgeagent.wire.messages import Status

if TYPE_CHECKING:
    from edgeagent.dispatcher.tracing_parts import DispatchTracing
    from edgeagent.dispatcher.webhooks import StatusWebhooks

log = logging.getLogger(__name__)

# Over AMQP, in addition to those in progress: triggers that are received and wait for their turn.
_WAITING_BESIDE = 32
# The same for requests about workflows.
_MAX_REQUESTS = 8 * MAX_CONCURRENT
# The longest wait before another attempt to connect. Dispatchers are few, and must be back before the gateways: these
# wait up to a minute, and are told that nobody subscribes as long as no dispatcher does.
_RECONNECT_CAP_S = 10.0
# For the engine to say which workflows are unfinished, before triggers are taken.
_FIRST_LIST_S, _LOOK_S = 10.0, 0.05

Tasks = dict[str, Coroutine[Any, Any, None]]


class _Desk(NamedTuple):
    """Where requests about workflows are answered; `link`: None if they share the dispatcher's connection."""

    manager: Manager
    link: ManageLink | None

    @property
    def shared(self) -> tuple[Manager, ...]:
        """What shares the dispatcher's connection."""
        return () if self.link is not None else (self.manager,)


class _Parts(NamedTuple):
    """A dispatcher and everything that runs with it, the links first: they are the last to be cancelled."""

    dispatcher: Dispatcher
    desk: _Desk
    session_drains: tuple[SessionDrain, ...]
    probes: Probes
    tasks: Tasks


def instance(config: DispatcherConfig, host: str) -> str:
    """This dispatcher's name in its group; the same after a restart."""
    return config.broker.instance or agent_id_from_host(host)


def client_id(config: DispatcherConfig, host: str) -> str:
    """The configured client id with `{instance}` replaced; the same after a restart, so that the session is found."""
    return config.broker.client_id.replace("{instance}", instance(config, host))


async def serve(config: DispatcherConfig, *, stop: asyncio.Event, deadline: Ender | None = None) -> int:
    """Run a dispatcher until a signal or `stop`, and return the process's exit code. Main thread only.

    `deadline`: receives the time by which the process should end.

    Raises:
        ConfigError: `status.configmap` is set, but this process is not in a cluster's pod.
        ListenFailed: the probes' address cannot be listened on.
    """
    async with contextlib.AsyncExitStack() as stack:
        dispatcher, desk, session_drains, probes, tasks = await _compose(config, stack)
        if interval_s := systemd.watchdog_interval_s():
            tasks["watchdog"] = systemd.keep_watchdog(interval_s, {})

        async def drain() -> None:
            systemd.stopping()
            probes.stop_being_ready()
            # While triggers are still taken: nobody gets those left in the session.
            await asyncio.gather(*(session_drain.unsubscribe() for session_drain in session_drains))
            await asyncio.gather(desk.manager.drain(), dispatcher.drain())

        systemd.ready()
        try:
            return await supervise(tasks, stop=stop, drain=drain, deadline=deadline)
        finally:
            counters = msgspec.to_builtins(dispatcher.stats(), str_keys=True)
            log.info("the dispatcher has stopped", extra={"event": "dispatcher_stopped", **counters})


async def _compose(config: DispatcherConfig, stack: contextlib.AsyncExitStack) -> _Parts:
    webhooks, tracing = _webhooks(config), _tracing(config)
    spans = tracing.counts if tracing is not None else None
    outcomes = None if webhooks is None else lambda: webhooks.outcomes
    if config.engine.kind == "dry-run":
        log.warning(
            'engine.kind is "dry-run": triggers are answered, but NOTHING IS RUN', extra={"event": "dry_run_engine"}
        )
        rehearsal = DryRun()
        dispatcher = _dispatcher(config, rehearsal, tracing)
        desk = _desk(config, dispatcher, None)
        dispatcher.share_with(*desk.shared)
        managed = _managed(config, desk)
        probes = Probes(dispatcher.stats, None, webhooks=outcomes, managed=managed, spans=spans)
        probes = await _listening(config, probes, stack)
        tasks = {
            "engine": rehearsal.run(_reported(dispatcher, webhooks, tracing)),
            "manager": desk.manager.run(),
            **_tasks_of(webhooks, tracing),
        }
        return _joined(config, dispatcher, desk, probes, tasks)
    from edgeagent.dispatcher.argo_parts import ArgoParts  # noqa: PLC0415  a rehearsal does without httpx

    argo = await ArgoParts.connect(config, stack)
    dispatcher = _dispatcher(config, argo.engine, tracing)
    statuses = Statuses(
        argo.client,
        config.watched_namespaces,
        config.broker.group,
        instance(config, socket.gethostname()),
        dispatcher.send,
        active=dispatcher.capacity,
        configmaps=argo.kubernetes,
        webhooks=webhooks,
        published=tracing.report if tracing is not None else lambda _: None,
    )
    operations = argo.operations(_policy(config), capacity=dispatcher.capacity)
    desk = _desk(config, dispatcher, operations)
    dispatcher.share_with(statuses, *desk.shared)
    managed = _managed(config, desk)
    probes = Probes(dispatcher.stats, statuses.stats, webhooks=outcomes, managed=managed, spans=spans)
    probes = await _listening(config, probes, stack)
    tasks = {
        "engine": argo.check(config.engine.url),
        "statuses": statuses.run(),
        "manager": desk.manager.run(),
        **_tasks_of(webhooks, tracing),
    }
    return _joined(config, dispatcher, desk, probes, tasks, statuses)


def _webhooks(config: DispatcherConfig) -> StatusWebhooks | None:
    """The webhooks, if configured."""
    if not config.webhook:
        return None
    from edgeagent.dispatcher.webhooks import StatusWebhooks  # noqa: PLC0415  costs memory, and few use it

    return StatusWebhooks(config.webhook, config.broker.group)


def _tracing(config: DispatcherConfig) -> DispatchTracing | None:
    """What tells spans, if configured."""
    if config.tracing is None:
        return None
    from edgeagent.dispatcher.tracing_parts import DispatchTracing  # noqa: PLC0415  as above

    return DispatchTracing(config.tracing, config.broker, instance(config, socket.gethostname()))


def _tasks_of(*parts: StatusWebhooks | DispatchTracing | None) -> Tasks:
    return {name: task for each in parts if each is not None for name, task in each.tasks().items()}


def _reported(
    dispatcher: Dispatcher, webhooks: StatusWebhooks | None, tracing: DispatchTracing | None
) -> Callable[[Sequence[Status]], None]:
    """Where a dry run's statuses go."""

    def report(statuses: Sequence[Status]) -> None:
        dispatcher.report(statuses)
        if webhooks is not None:
            webhooks.report(statuses)
        if tracing is not None:
            tracing.report(statuses)

    return report


async def _listening(config: DispatcherConfig, probes: Probes, stack: contextlib.AsyncExitStack) -> Probes:
    """The probes, if configured, listening from before the connection is made until after it has ended."""
    if config.http.listen:
        stack.push_async_callback(probes.close)
        await probes.start(*split_address(config.http.listen))
    return probes


def _prefetch(config: DispatcherConfig) -> int:
    """How many triggers may be here, unacknowledged: those in progress, and some that are checked meanwhile."""
    if not is_amqp(config.broker.addresses[0]):
        return PREFETCH
    return config.engine.max_concurrent + _WAITING_BESIDE


def _joined(
    config: DispatcherConfig,
    dispatcher: Dispatcher,
    desk: _Desk,
    probes: Probes,
    tasks: Tasks,
    statuses: Statuses | None = None,
) -> _Parts:
    """All parts, with the links for them."""
    session_drain = SessionDrain()
    group, name = config.broker.group, client_id(config, socket.gethostname())
    subscriptions = _subscriptions(topics.trigger_filters(group))
    # A broker's access list may refuse what nobody uses.
    manages = _subscriptions(topics.manage_filters(group)) if config.manages else []
    if desk.link is None:
        subscriptions += manages
    links: Tasks = {}
    connection = keep_connected(
        config.broker,
        dispatcher,
        client_id=name,
        subscriptions=subscriptions if statuses is None else subscriptions + statuses.subscriptions,
        will=None if statuses is None else statuses.will,
        drain=session_drain,
        answers_first=True,
        prefetch=_prefetch(config),
        mark=f"dispatch {group}",
        cap_s=_RECONNECT_CAP_S,
    )
    links["link"] = _once_known(dispatcher.capacity, connection)
    drains = [session_drain]
    if desk.link is not None and manages:
        drains.append(SessionDrain())
        links["manage link"] = keep_connected(
            config.broker,
            desk.link,
            client_id=f"{name}-manage",
            subscriptions=manages,
            drain=drains[-1],
            answers_first=True,
            prefetch=_MAX_REQUESTS,
            mark=f"dispatch {group}",
            cap_s=_RECONNECT_CAP_S,
        )
    return _Parts(dispatcher, desk, tuple(drains), probes, {**links, **tasks, "dispatcher": dispatcher.run()})


async def _once_known(capacity: Capacity, connection: Coroutine[Any, Any, None]) -> None:
    """Connect when it is known how many workflows are unfinished: triggers wait at the broker meanwhile.

    An engine that is away or refuses does not keep a dispatcher from its broker: it answers what can be answered.
    """
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_LIST_S):
                while not capacity.is_known:  # noqa: ASYNC110  it is pure, and knows of no event
                    await asyncio.sleep(_LOOK_S)
    except BaseException:
        connection.close()
        raise
    await connection


def _managed(config: DispatcherConfig, desk: _Desk) -> Callable[[], Mapping[tuple[str, str], int]] | None:
    """What counts the requests about workflows, where some may come."""
    return (lambda: desk.manager.counts) if config.manages else None


def _subscriptions(filters: Sequence[str]) -> list[Subscription]:
    return [Subscription(topic_filter) for topic_filter in filters]


def _dispatcher(config: DispatcherConfig, engine: Engine, tracing: DispatchTracing | None) -> Dispatcher:
    return Dispatcher(
        engine if tracing is None else tracing.traced(engine),
        _policy(config),
        bind_agent=config.engine.bind_agent,
        max_concurrent=config.engine.max_concurrent,
        max_active=config.engine.max_active if not engine.dry_run else None,
        watched=config.watched_namespaces,
        prefetch=_prefetch(config),
        traces=tracing or PASSED_ON,
    )


def _policy(config: DispatcherConfig) -> Policy:
    # Only a dry run may be configured without [[allow]].
    return Policy(config.allow or [EVERYTHING])


def _desk(config: DispatcherConfig, dispatcher: Dispatcher, operations: Operations | None) -> _Desk:
    """What answers requests about workflows. `operations`: None for a dry run.

    Over Pub/Sub they come by the subscription of the triggers, so they share its link.
    """
    link = None if is_pubsub(config.broker.addresses[0]) else ManageLink()
    host = dispatcher if link is None else link
    manager = Manager(
        operations,
        _policy(config),
        bind_agent=config.engine.bind_agent,
        send=host.send,
        acknowledge=host.acknowledge,
    )
    if link is not None:
        link.share_with(manager)
    return _Desk(manager, link)
