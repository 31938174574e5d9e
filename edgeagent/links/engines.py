"""Which package drives the connections to a broker, by the scheme of its URL.

None is imported before a session begins, so that a process has in memory only the protocols that it speaks.
"""

from __future__ import annotations

import importlib
from typing import cast

from edgeagent.config.addresses import split_broker_url
from edgeagent.config.tables import Connection
from edgeagent.links.driver import LinkEngine

_MQTT, _AMQP, _PUBSUB = "edgeagent.mqtt.dialer", "edgeagent.amqp.dialer", "edgeagent.pubsub.dialer"
ENGINES = {
    "mqtt": _MQTT,
    "mqtts": _MQTT,
    "ws": _MQTT,
    "wss": _MQTT,
    "amqp": _AMQP,
    "amqps": _AMQP,
    "pubsub": _PUBSUB,
}
# The schemes whose sockets the session secures.
_TLS_SCHEMES = frozenset({"mqtts", "wss", "amqps", "pubsub"})


def engine_of(connection: Connection) -> LinkEngine:
    """The engine for a connection; the configuration makes sure that all its addresses have the same."""
    scheme, _, _ = split_broker_url(connection.addresses[0])
    return cast("LinkEngine", importlib.import_module(ENGINES[scheme]))


def has_tls(address: str) -> bool:
    """Whether the connection is made with the session's certificates."""
    return split_broker_url(address)[0] in _TLS_SCHEMES
