"""The agent's composition root: it makes every part, connects them, runs them until a stop, and drains them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent.agent.artifacts import hurrying, make_artifacts
from edgeagent.agent.chores import Chores
from edgeagent.agent.clock import Clock
from edgeagent.agent.config_trial import note_start
from edgeagent.agent.connections import uplink_connection
from edgeagent.agent.device_service import DeviceService
from edgeagent.agent.figures import Figures
from edgeagent.agent.intake import EventIntake
from edgeagent.agent.listening import listen
from edgeagent.agent.local_session import LocalSession
from edgeagent.agent.lookup import TriggerLookup
from edgeagent.agent.operator_service import OperatorService
from edgeagent.agent.own_listener import make_listener, opened_listener_state, ways_to_devices
from edgeagent.agent.reload import Reloader
from edgeagent.agent.request_door import RequestDoor
from edgeagent.agent.spooling import make_spool
from edgeagent.agent.state import agent_id, make_store, state_directory
from edgeagent.agent.tracing import make_tracing, traces_of
from edgeagent.agent.trial_watch import trial_tasks
from edgeagent.agent.uplink_parts import make_uplink
from edgeagent.agent.watch_service import make_watch
from edgeagent.agent.webhooks import opened_webhooks
from edgeagent.agent.where_call import where_call, with_more
from edgeagent.common.elapsed import Since
from edgeagent.config.tables import AgentConfig, Local
from edgeagent.errors import DiskReadOnly, StorageFailed
from edgeagent.events.dedupe import Dedupe, Deliveries
from edgeagent.host import systemd
from edgeagent.host.memory import FreeMemory
from edgeagent.host.supervisor import Ender, supervise
from edgeagent.host.troubles import LastTroubles
from edgeagent.httpapi.server import HttpServer
from edgeagent.ledger.ledger import Ledger
from edgeagent.links.rotation import Rotation
from edgeagent.outbox.disk import DiskThread
from edgeagent.outbox.files import Filesystem, OsFilesystem
from edgeagent.outbox.lock import state_lock
from edgeagent.outbox.metering import DiskMeter, MeteredFilesystem
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.owner import act_as_owner
from edgeagent.outbox.store import Store
from edgeagent.outbox.unreadable import files_aside, hide_unreadable, put_unreadable_aside
from edgeagent.rules.ruleset import RuleSet
from edgeagent.wire.topics import own_topics

if TYPE_CHECKING:
    from edgeagent.agent.local_parts import LocalParts

_HTTP_CLOSE_S = 2.0

_log = logging.getLogger(__name__)


async def serve(
    config: AgentConfig,
    path: Path,
    *,
    stop: asyncio.Event,
    filesystem: Filesystem | None = None,
    deadline: Ender | None = None,
) -> int:
    """Run an agent until a signal or `stop`, and return the process's exit code. Call it in the main thread only.

    `path`: the file that `config` was read from; SIGHUP reads it again. `filesystem`: where the outbox is kept, the
    real disk by default. `deadline`: is notified when the process should end.

    Raises:
        OutboxLocked: another process owns the state directory.
        StorageFailed: the state directory cannot be used.
        ListenFailed: a listener cannot be opened.
    """
    directory = state_directory(config)
    act_as_owner(directory)
    with state_lock(directory), LastTroubles() as troubles:
        note_start(path, directory)
        agent = await _opened(config, path, directory, filesystem or OsFilesystem(), troubles)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, agent.reload_soon)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # `edgeagent run` holds it back until now
        try:
            return await agent.serve(stop, deadline)
        finally:
            loop.remove_signal_handler(signal.SIGHUP)


async def _opened(
    config: AgentConfig, path: Path, directory: Path, filesystem: Filesystem, troubles: LastTroubles
) -> _Agent:
    """Return an agent with its outbox and ledger open; in rescue mode if the disk can only be read."""
    try:
        put_unreadable_aside(directory)
        agent = _Agent(config, path, directory, filesystem, agent_id(config, directory, filesystem), troubles)
        await agent.open()
    except StorageFailed as exc:
        if not exc.is_read_only:
            raise
        from edgeagent.outbox.overlay import Overlay  # noqa: PLC0415  only for a disk that is worn out

        rescue, memory = DiskReadOnly(exc.operation, exc.path, exc.reason), hide_unreadable(directory, Overlay())
        _log.error("%s", rescue, extra={"event": "agent_rescue", "path": exc.path})
        agent = _Agent(config, path, directory, memory, agent_id(config, directory, memory), troubles, rescue)
        await agent.open()
    return agent


class _Agent:
    """All parts of one agent: owns them, opens them, runs them, and closes them in order.

    Promises that nothing is accepted before the outbox is open, and that what was accepted is synced before it closes.
    """

    def __init__(
        self,
        config: AgentConfig,
        path: Path,
        directory: Path,
        filesystem: Filesystem,
        agent: str,
        troubles: LastTroubles,
        rescue: DiskReadOnly | None = None,
    ) -> None:
        """`troubles`: receives what is logged.

        `rescue`: why the disk can only be read; then `filesystem` keeps in memory what is written.
        """
        self._config = config
        self._path = path
        self._directory = directory
        self._filesystem = filesystem
        self._id = agent
        self._troubles = troubles
        self._rescue = rescue
        self._clock = Clock()
        self._started = Since(self._clock.instant())
        self._rules = RuleSet(config.rule)
        self._chores = Chores()
        self._meter = DiskMeter()
        self._rotations = {"uplink": Rotation(config.uplink)}
        if config.local is not None:
            self._rotations["local"] = Rotation(config.local)
        self._hangup = asyncio.Event()

    def reload_soon(self) -> None:
        """Read the configuration again as soon as the agent runs."""
        self._hangup.set()

    async def open(self) -> None:
        """Open the outbox and the ledger.

        Raises:
            StorageFailed: the disk refuses.
        """
        config = self._config
        self._outbox = await Outbox.open(self._open_store, commit_delay_s=config.outbox.commit_delay)
        self._ledger_disk = DiskThread("ledger")
        self._ledger = Ledger(self._directory / "ledger.db", self._ledger_disk, relay=ways_to_devices(config))
        self._ledger_disk.died = self._ledger.thread_died
        await self._ledger.open()
        self._outbox.before_checkpoint = self._ledger.attempt
        self._tracing = make_tracing(config, self._id, self._ledger)
        self._webhooks = await opened_webhooks(config.relay, self._id, self._ledger, self._clock)
        self._devices = await opened_listener_state(config, self._directory)

    async def serve(self, stop: asyncio.Event, deadline: Ender | None) -> int:
        """Run until `stop` is set or a part fails; returns the exit code. See the function `serve`."""
        self._join()
        await listen(self._config, self._http, self._mqtt, self._rescue)
        _log.info(
            "agent %s runs: rules: %d, triggers waiting: %d, listening on %s",
            self._id,
            len(list(self._rules)),
            self._outbox.health.account.pending,
            ", ".join([*self._http.addresses, *(self._mqtt.addresses if self._mqtt is not None else ())]),
            extra={"event": "agent_started", "agent": self._id},
        )
        systemd.ready()
        try:
            return await supervise(self._tasks(), stop=stop, drain=self._drain, deadline=deadline)
        finally:
            await self._close()

    def _open_store(self) -> Store:
        filesystem = MeteredFilesystem(self._filesystem, self._meter)
        store = make_store(self._config, self._directory, self._clock, filesystem, self._rescue)
        if self._rescue is None and any(files_aside(self._directory)):
            from edgeagent.outbox.mended import take_up_mended  # noqa: PLC0415  hardly ever there are any

            take_up_mended(store, self._directory, self._clock.now_ms())
        return store

    def _join(self) -> None:
        """Make the parts that need the open outbox and ledger."""
        config, outbox, ledger, clock = self._config, self._outbox, self._ledger, self._clock
        traces = traces_of(config.tracing)
        dedupe = Dedupe(config.outbox.dedupe_events)
        for key, digest in outbox.recent_keys:
            dedupe.add(key, digest)
        deliveries = Deliveries()
        self._session = LocalSession(self._filesystem, self._directory)
        tokens = {self._session.token} | (self._devices.tokens if self._devices is not None else frozenset())
        for delivery in outbox.recent_deliveries:
            if delivery.session in tokens:
                deliveries.add(delivery.session, delivery.packet_id, delivery.digest, delivery.event_id)
        self._intake = EventIntake(
            self._id,
            self._rules,
            outbox,
            dedupe,
            clock,
            max_event_bytes=config.outbox.max_event_bytes,
            deliveries=deliveries,
            refuse_when_dead_full=config.outbox.dead_when_full == "refuse",
        )
        self._spool = make_spool(config, outbox, self._directory)
        self._mqtt = make_listener(
            config, self._devices, self._intake, self._own_topics(), ledger, self._rescue, self._spool
        )
        self._reloader = Reloader(self._path, config, self._rules, self._intake.rule_counts, self._mqtt)
        self._requests = RequestDoor(self._id, config.uplink, self._rules, clock, self._filesystem, self._directory)
        self._artifacts = make_artifacts(config, self._directory, outbox, self._rules, clock, self._spool)
        uploading = self._artifacts.uploading if self._artifacts is not None else None
        self._uplink = make_uplink(
            config,
            self._id,
            rules=self._rules,
            outbox=outbox,
            ledger=ledger,
            chores=self._chores,
            clock=clock,
            rule_counts=self._intake.rule_counts,
            firing_limits=self._intake.firing_limits,
            identity=lambda: self._reloader.identity,
            traces=traces,
            requests=self._requests,
            uploading=uploading,
            ahead=self._artifacts.ahead if self._artifacts is not None else None,
        )
        self._local = self._make_local(config.local) if config.local is not None else None
        self._reloader.taken_over = hurrying(self._uplink.sender.wake, self._artifacts)
        figures = Figures(
            self._id,
            self._started,
            outbox=outbox,
            meter=self._meter,
            intake=self._intake,
            uplink=self._uplink,
            ledger=ledger,
            clock=clock,
            rotations=self._rotations,
            troubles=self._troubles,
            http=lambda: self._http.stats(),  # noqa: PLW0108  there is no server yet
            local=self._local.broker if self._local is not None else None,
            mqtt=self._mqtt,
            webhooks=self._webhooks,
            tracing=self._tracing,
            spool=self._spool,
            managed=self._requests.figures,
            artifacts=self._artifacts,
            is_rescue=self._rescue is not None,
            config=lambda: self._reloader.identity,
        )
        lookup = TriggerLookup(outbox)
        device = DeviceService(
            self._intake,
            outbox,
            ledger,
            self._rules,
            lookup,
            ends_published=config.uplink.settle == "broker",
            figures=figures,
            canary=self._uplink.canary,
            traces=traces,
        )
        notices = self._local.notices if self._local is not None else None
        operator = OperatorService(
            outbox,
            self._directory / "outbox",
            now_ms=clock.now_ms,
            wake=outbox.on_change,  # connected by `make_uplink`, above
            is_draining=lambda: self._intake.draining,
            reload=self._reloader.reload,
            where=with_more(
                where_call(config, self._uplink, outbox, ledger, lookup, self._rules, clock, notices, uploading),
                self._requests,
                self._webhooks,
            ),
            report=self._uplink.reporter.report,
            requests=self._requests,
        )
        self._watch = make_watch(
            self._id,
            self._rules,
            clock,
            figures.stats,
            outbox=outbox,
            ledger=ledger,
            intake=self._intake,
            uplink=self._uplink,
            traces=traces,
        )
        self._http = HttpServer(
            device,
            operator,
            self._watch,
            max_event_bytes=config.outbox.max_event_bytes,
            max_connections=config.http.max_connections,
            token_file=config.http.token_file,
            hosts=config.http.hosts,
            page=config.http.page,
            stops=config.http.stop_triggers,
            tidy=FreeMemory().give_back,
            large=self._spool.large if self._spool is not None else None,
        )

    def _make_local(self, local: Local) -> LocalParts:
        from edgeagent.agent.local_parts import LocalParts  # noqa: PLC0415  only for those who use it

        config, events = self._config, self._intake if self._spool is None else self._spool.events(self._intake)
        parts = config.relay, events, self._ledger, self._clock, self._session, self._own_topics()
        return LocalParts(local, *parts, config.inline_bytes)

    def _own_topics(self) -> tuple[str, ...]:
        up = self._config.uplink
        return own_topics(self._id, up.trigger_topic, up.response_topic, up.reply_prefix, up.status_topics)

    def _tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        tasks: dict[str, Coroutine[Any, Any, None]] = {
            "outbox": self._outbox.run(),
            "ledger": self._ledger.run(),
            "chores": self._chores.run(),
            "sender": self._uplink.sender.run(),
            "status queries": self._uplink.queries.run(),
            "state": self._uplink.announcer.run(),
            "reload": self._reloader.run(self._hangup),
            "watch": self._watch.run(),
            "uplink": uplink_connection(
                self._config.uplink,
                self._id,
                self._uplink,
                self._rotations["uplink"],
                filesystem=self._filesystem,
                directory=self._directory,
                uptime_s=self._clock.uptime_ms() / 1000,
            ),
        }
        tasks |= {"report": self._uplink.reporter.run(), "requests": self._requests.run()}
        tasks |= trial_tasks(self._directory, self._path, self._uplink.notices)
        if self._uplink.canaries is not None:
            tasks["canary"] = self._uplink.canaries.run()
        if self._local is not None:
            tasks |= self._local.tasks(self._id, self._rotations["local"], self._filesystem, self._directory)
        for parts in (self._mqtt, self._webhooks, self._tracing, self._spool, self._artifacts):
            tasks |= parts.tasks() if parts is not None else {}
        if interval_s := systemd.watchdog_interval_s():
            outbox, ledger = self._outbox, self._ledger_disk
            disks = {"disk": lambda: outbox.beside(lambda _: None), "ledger": lambda: ledger.call(lambda: None)}
            tasks["watchdog"] = systemd.keep_watchdog(interval_s, disks)
        return tasks

    async def _drain(self) -> None:
        """Refuse new events, wait until what is in flight is acknowledged, and publish that the agent goes offline."""
        systemd.stopping()
        if self._mqtt is not None:
            await self._mqtt.drain()
        self._intake.draining = True
        await self._http.close(_HTTP_CLOSE_S)
        await self._uplink.sender.drain()
        await self._chores.idle()
        with contextlib.suppress(StorageFailed):  # then the answers that were not kept come again
            await self._ledger.committed()
        await self._uplink.announcer.leave()

    async def _close(self) -> None:
        await self._http.close(0.0)
        try:
            if self._mqtt is not None:
                await self._mqtt.close()
            if self._artifacts is not None:
                await self._artifacts.close()
            await self._ledger.close()
        finally:
            if self._spool is not None:
                self._spool.close()
            await self._outbox.close()
        account = self._outbox.health.account
        _log.info("agent %s has stopped", self._id, extra={"event": "agent_stopped", "pending": account.pending})
