"""The agent's own MQTT listener, made of its parts and opened."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from edgeagent.config.tables import AgentConfig, Mqtt
from edgeagent.errors import DiskReadOnly
from edgeagent.listener.access import Permissions
from edgeagent.listener.broker import DeviceBroker, broker_of
from edgeagent.listener.server import MqttListener
from edgeagent.listener.store import ListenerStore
from edgeagent.listener.users import Users
from edgeagent.outbox.disk import DiskThread
from edgeagent.ports.device import EventPort
from edgeagent.ports.event_topics import EventTopics


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


def make_listener(
    config: AgentConfig,
    mqtt: Mqtt,
    state: ListenerState,
    events: EventPort,
    own_topics: Sequence[str],
    rescue: DiskReadOnly | None,
) -> MqttListener:
    """The listener of a configuration, which listens from `start` on.

    `own_topics`: what edgeagent itself publishes on or listens to. `rescue`: the disk can only be read.

    Raises:
        ConfigError: the file of users cannot be used.
    """
    return MqttListener(
        mqtt,
        state.broker,
        state.store,
        events,
        EventTopics(mqtt.events, own_topics),
        Permissions(mqtt, config.relay.topic),
        Users(mqtt.users_file, DiskThread("users")) if mqtt.users_file else None,
        shut="" if rescue is None else "the disk of the gateway can only be read",
    )
