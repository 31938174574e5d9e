"""The bounds of the broker for devices, as a configuration sets them."""

from __future__ import annotations

from edgeagent.config.tables import Mqtt
from edgeagent.listener.broker import DeviceBroker
from edgeagent.listener.changes import Changes
from edgeagent.listener.retained import Retained
from edgeagent.listener.sessions import Sessions
from edgeagent.listener.subscriptions import Subscriptions

# Sessions without a connection, for each connection that there may be.
_WAITING_SESSIONS = 2


def broker_of(mqtt: Mqtt) -> DeviceBroker:
    """A broker with the bounds of a configuration, to which nobody is connected."""
    sessions = Sessions(_WAITING_SESSIONS * mqtt.max_connections, mqtt.session_queue)
    return DeviceBroker(sessions, Subscriptions(), Retained(mqtt.max_retained, mqtt.retained_bytes), Changes())


def limit(broker: DeviceBroker, mqtt: Mqtt) -> None:
    """Have the bounds of another configuration count from now on; what is there and over them goes as more comes."""
    broker.sessions.limit(_WAITING_SESSIONS * mqtt.max_connections, mqtt.session_queue)
    broker.retained.limit(mqtt.max_retained, mqtt.retained_bytes)
