"""The demo's broker: Mosquitto if it is installed, else the one that the `demo` extra installs (rumqttd, `iotcore`)."""

from __future__ import annotations

import asyncio
import os
import pwd
import random
import shutil
import socket
import sys
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from edgeagent.demo.child import Child
from edgeagent.errors import CommandFailed

MOSQUITTO, IOTCORE = "mosquitto", "iotcore"
BROKERS = (MOSQUITTO, IOTCORE)

_PORTS = range(30_000, 32_768)  # Linux gives out those from 32,768 on, other systems from 49,152

# Debian installs Mosquitto in a directory that is only in root's PATH.
_SYSTEM_PROGRAMS = "/usr/sbin"

_RUMQTTD = """\
id = 0

[router]
id = 0
max_connections = 32
max_outgoing_packet_count = 200
max_segment_size = 1048576
max_segment_count = 16

[v5.1]
name = "demo"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 10000
max_payload_size = 1048576
max_inflight_count = 100
"""


class BrokerChoice(NamedTuple):
    """A broker and the program that runs it. `name` is for a person."""

    name: str
    child: Child


def choose(wanted: str | None, port: int, directory: Path) -> BrokerChoice:
    """The broker installed on this machine, configured for a port on loopback; nothing is started.

    Args:
        wanted: one of `BROKERS`; None: the first that is installed.
        port: the port to listen on.
        directory: for its configuration and its log.

    Raises:
        CommandFailed: it is not installed; says how to install one.
    """
    program = shutil.which("mosquitto", path=_search_path())
    if program is not None and wanted != IOTCORE:
        config = directory / "mosquitto.conf"
        # As root, Mosquitto would switch to another user, who cannot read this directory.
        user = pwd.getpwuid(os.geteuid()).pw_name
        config.write_text(f"user {user}\nlistener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n", "utf-8")
        return BrokerChoice("Mosquitto", Child("broker", [program, "-c", str(config)], directory))
    if find_spec("iotcore") is not None and wanted != MOSQUITTO:
        config = directory / "rumqttd.toml"
        config.write_text(_RUMQTTD.format(port=port), "utf-8")
        # -P: a folder `iotcore` in the working directory is not the package. Below CRITICAL it logs every packet.
        command = [sys.executable, "-P", "-m", "iotcore", "--config", str(config), "--log-level", "CRITICAL"]
        return BrokerChoice("rumqttd (iotcore)", Child("broker", command, directory))
    missing = f"the broker {wanted} is not installed" if wanted else "the demo needs a broker"
    raise CommandFailed(
        f"{missing}: install Mosquitto (Debian: apt-get install mosquitto), "
        "or the one of the demo extra (pip install 'edgeagent[demo]')"
    )


def free_ports(count: int) -> list[int]:
    """Different ports on loopback on which nothing listens at the moment.

    They are below those that the kernel gives to connections by itself: one of these could be taken before the program
    that it is for has started.
    """
    with ExitStack() as open_sockets:
        found: list[int] = []
        for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
            probe = open_sockets.enter_context(socket.socket())
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found.append(port)
            if len(found) == count:
                return found
    raise CommandFailed(f"the demo needs {count} free ports from {_PORTS[0]} to {_PORTS[-1]}: end what listens there")


async def accepts(port: int) -> bool:
    """Whether a program on loopback accepts connections on this port."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def _search_path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), _SYSTEM_PROGRAMS])
