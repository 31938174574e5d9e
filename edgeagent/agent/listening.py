"""Where an agent listens: its own sockets, and those that systemd holds for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from edgeagent.agent.state import socket_path
from edgeagent.common.passed_sockets import refuse_left
from edgeagent.config.addresses import split_address
from edgeagent.config.tables import AgentConfig
from edgeagent.errors import DiskReadOnly, ListenFailed
from edgeagent.host import systemd
from edgeagent.httpapi.server import HttpServer

if TYPE_CHECKING:
    from edgeagent.agent.listener_parts import ListenerParts

_log = logging.getLogger(__name__)


async def listen(
    config: AgentConfig, http: HttpServer, mqtt: ListenerParts | None, rescue: DiskReadOnly | None
) -> None:
    """Open every listener of the configuration. `rescue`: why the disk can only be read; then commands are optional.

    Raises:
        ListenFailed: an address cannot be used, or systemd passes a socket that no key names.
    """
    passed = systemd.passed_sockets()
    if mqtt is not None:
        await mqtt.start(passed.pop(systemd.MQTT_SOCKETS, ()))
    if config.http.listen:
        await http.start_tcp(*split_address(config.http.listen), passed.pop(systemd.HTTP_SOCKETS, ()))
    try:
        await http.start_unix(socket_path(config), passed.pop(systemd.UNIX_SOCKETS, ()))
    except ListenFailed as exc:
        if rescue is None:
            raise
        _log.warning(
            "commands cannot reach this agent, which runs without its socket: %s; set http.socket to a path "
            "that can be written to",
            exc,
            extra={"event": "socket_unavailable"},
        )
    for name, left in passed.items():
        refuse_left(left, name, f"{name}.listen")
