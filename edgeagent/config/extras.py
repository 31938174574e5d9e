"""Libraries that only some configurations need, and that may be missing on this machine."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from edgeagent.config.addresses import is_amqp
from edgeagent.config.devices import listen_addresses
from edgeagent.config.tables import AgentConfig, Connection
from edgeagent.errors import Problem


def missing_extras(config: AgentConfig) -> Iterator[Problem]:
    """What the configuration asks for and cannot be had without another library."""
    for path, address in listen_addresses(config.mqtt) if config.mqtt is not None else ():
        if address.is_websocket and importlib.util.find_spec("wsproto") is None:
            yield Problem(path, "WebSocket needs the extra: pip install 'edgeagent[websocket]'")
    yield from missing_for_broker("uplink", config.uplink)


def missing_for_broker(table: str, connection: Connection) -> Iterator[Problem]:
    """What a connection to a broker needs and is not there."""
    if any(map(is_amqp, connection.addresses)) and importlib.util.find_spec("pamqp") is None:
        yield Problem(f"{table}.url", "AMQP needs the extra: pip install 'edgeagent[amqp]'")
