"""The agent's own MQTT listener, made of its parts and opened."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent.agent.device_reports import DeviceReports
from edgeagent.agent.relay import LocalRelay
from edgeagent.config.tables import AgentConfig, Mqtt
from edgeagent.errors import DiskReadOnly
from edgeagent.ledger.ledger import Ledger
from edgeagent.ledger.schema import LISTENER
from edgeagent.listener.access import Permissions
from edgeagent.listener.bounds import broker_of
from edgeagent.listener.broker import DeviceBroker
from edgeagent.listener.server import ListenerFigures, MqttListener
from edgeagent.listener.store import ListenerStore
from edgeagent.outbox.disk import DiskThread
from edgeagent.ports.device import EventPort
from edgeagent.ports.event_topics import EventTopics

if TYPE_CHECKING:
    from edgeagent.listener.users import Users

# How long what was read may take to be synced and answered at the end.
_CLOSE_S = 2.0


class ListenerState:
    """What devices left behind, as it was on disk: sessions, retained messages, what waits.

    It comes before the intake, which knows deliveries again by the sessions' tokens.
    """

    def __init__(self, mqtt: Mqtt, directory: Path) -> None:
        """A state that `open` reads."""
        self.broker: DeviceBroker = broker_of(mqtt)
        self.store = ListenerStore(directory / "listener.db", DiskThread("listener"), self.broker.changes)

    async def open(self) -> None:
        """Read it; a disk that refuses is told, and costs what was on it."""
        stored = await self.store.load()
        self.broker.restore(stored.messages, stored.sessions, asyncio.get_running_loop().time())
        self.broker.restore_waiting(stored.waiting)

    @property
    def tokens(self) -> frozenset[str]:
        """Those of the sessions that are there."""
        return frozenset(session.token for session in self.broker.sessions if session.token)


class ListenerParts:
    """The listener of a configuration with its relay; it listens from `start` on, and its `tasks` must run.

    `own_topics`: what edgeagent itself publishes on or listens to. `rescue`: the disk can only be read.
    """

    def __init__(
        self,
        config: AgentConfig,
        mqtt: Mqtt,
        state: ListenerState,
        events: EventPort,
        own_topics: Sequence[str],
        ledger: Ledger,
        rescue: DiskReadOnly | None,
    ) -> None:
        """Join the parts.

        Raises:
            ConfigError: the file of users cannot be used.
        """
        self._users_thread: DiskThread | None = None
        self._users = self._users_of(mqtt)
        self._own_topics = own_topics
        self._inline_bytes = config.inline_bytes
        self._relay_topic = config.relay.topic
        self._listener = MqttListener(
            mqtt,
            state.broker,
            state.store,
            events,
            EventTopics(mqtt.events, own_topics, config.inline_bytes),
            Permissions(mqtt, config.relay.topic),
            self._users,
            hosts=config.http.hosts,
            shut="" if rescue is None else "the disk of the gateway can only be read",
        )
        self._relay = LocalRelay(ledger, config.relay.topic, retain=config.relay.retain, way=LISTENER)
        ledger.listen(self._relay.changed)
        self._relay.up(DeviceReports(self._listener, state.store, self._relay.acknowledged))

    def _users_of(self, mqtt: Mqtt) -> Users | None:
        if not mqtt.users_file:
            return None
        from edgeagent.listener.users import Users  # noqa: PLC0415  with it come OpenSSL's hashes, 3 MiB

        if self._users_thread is None:
            self._users_thread = DiskThread("users")
        return Users(mqtt.users_file, self._users_thread)

    async def prepare(self, config: AgentConfig) -> Callable[[], None]:
        """See `Reloadable`. Connections are judged anew."""
        mqtt = config.mqtt
        if mqtt is None:  # which needs a restart
            return lambda: None
        users = self._users
        if users is not None and users.path == mqtt.users_file:
            users.refresh()
        else:
            users = self._users_of(mqtt)
        topics = EventTopics(mqtt.events, self._own_topics, self._inline_bytes)
        permissions = Permissions(mqtt, self._relay_topic)

        def take_over() -> None:
            self._users = users
            self._listener.take_over(mqtt, topics, permissions, users)

        return take_over

    @property
    def addresses(self) -> Sequence[str]:
        """Where it listens."""
        return self._listener.addresses

    async def start(self, passed: Sequence[socket.socket] = ()) -> None:
        """Listen. `passed`: sockets that listen already, each on one of the addresses.

        Raises:
            ListenFailed: an address cannot be listened on.
            ConfigError: a certificate cannot be used.
        """
        await self._listener.start(passed)

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What must run, by name; what others depend on comes first."""
        return {**self._listener.tasks(), "mqtt relay": self._relay.run()}

    async def drain(self) -> None:
        """Read nothing more, have what was read taken and answered, and say goodbye."""
        await self._listener.drain(_CLOSE_S)

    async def close(self) -> None:
        """Write what waits for devices. The tasks must have ended."""
        await self._listener.close()
        if self._users_thread is not None:
            self._users_thread.close()

    @property
    def figures(self) -> ListenerFigures:
        """What the metrics show of it."""
        return self._listener.figures

    def stats(self) -> dict[str, Any]:
        """Figures for `/v1/stats`, ready for JSON."""
        return self._listener.stats()
