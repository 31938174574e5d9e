"""A thousand files that wait while their store is away, and what it takes to bring them there when it is back.

Each is 100 KiB of its own. The broker is there all the time, or comes back when everything is in the store: then the
triggers leave at once. `--long`: 10,000 files. The server is Debian's nginx, over loopback.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.load_processes import Agent, Broker
from benchmarks.measure import Checked, resident_mib, show_checked
from edgeagent.cli.client import AgentClient
from tests.fakes.mosquitto import free_port
from tests.fakes.nginx import Nginx

_FILES: Final = 1000
_LONG_FILES: Final = 10_000
_BYTES: Final = 100 << 10
_MORE_MIB: Final = 16.0
_DEADLINE_S: Final = 1800.0


def run(*, long: bool) -> None:
    """Print times and memory. `long`: ten times as many files."""
    asyncio.run(_measure(_LONG_FILES if long else _FILES))


async def _measure(files: int) -> None:
    for has_broker in (True, False):
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
            rows = await _turn(Path(directory), files, has_broker=has_broker)
            show_checked(f"{files} files pending, the broker {'there' if has_broker else 'away'}", rows)


async def _turn(directory: Path, files: int, *, has_broker: bool) -> list[Checked]:
    server, port = Nginx(directory / "nginx"), free_port()
    broker = Broker(directory / "broker")
    config = f"""
[uplink]
url = "mqtt://127.0.0.1:{broker.port}"
settle = "broker"
[http]
listen = "127.0.0.1:{port}"
[outbox]
max_bytes = "4GiB"
[artifacts]
store = "{server.url}"
[[rule]]
name = "all"
namespace = "plant"
template = "inspect"
"""
    if has_broker:
        broker.start()
        subscriber = _subscriber(broker)
    with Agent(directory, config, links=int(has_broker)) as agent:
        idle_mib = resident_mib(agent.pid)
        began_s = time.monotonic()
        _post(port, files)
        posted_s = time.monotonic() - began_s
        pending_mib, before = resident_mib(agent.pid), agent.usage()
        async with server:
            began_s = time.monotonic()
            _until(lambda: _stats(agent)["artifacts"]["uploaded"] >= files)
            uploaded_s, used = time.monotonic() - began_s, agent.usage()
            if not has_broker:
                broker.start()
                subscriber = _subscriber(broker)
                _until(lambda: "event=link_up" in agent.output)
            began_s = time.monotonic()
            _until(lambda: not _stats(agent)["account"]["triggers"]["pending"])
            settled_s = time.monotonic() - began_s
        peak_mib = agent.peak_mib()
    subscriber.terminate()
    subscriber.wait()
    broker.stop()
    return [
        Checked(f"{files} files of 100 KiB taken in, the store away", posted_s, "s"),
        Checked("the store is back: all of them are there after", uploaded_s, "s"),
        Checked("CPU of the agent for that", used.cpu_s - before.cpu_s, "s"),
        Checked("and all triggers are settled, from the link on, after", settled_s, "s"),
        Checked("memory of the agent before", idle_mib, "MiB"),
        Checked("memory with all of them pending", pending_mib, "MiB", limit=idle_mib + _MORE_MIB),
        Checked("memory at most", peak_mib, "MiB", limit=idle_mib + 2 * _MORE_MIB),
    ]


def _subscriber(broker: Broker) -> subprocess.Popen[bytes]:
    """Without one, nobody would take the triggers."""
    command = ["mosquitto_sub", "-p", str(broker.port), "-t", "#", "-q", "1"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def _stats(agent: Agent) -> Any:
    with AgentClient.unix(agent.state / "agent.sock") as client:
        return client.request("GET", "/v1/stats")[1]


def _post(port: int, files: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for number in range(files):
        connection.request("POST", f"/v1/events/cam-{number % 10}", os.urandom(_BYTES), {"Content-Type": "image/jpeg"})
        answer = connection.getresponse()
        if answer.read() and answer.status != http.client.ACCEPTED:
            raise RuntimeError(f"it was not accepted: {answer.status}")
    connection.close()


def _until(holds: Callable[[], Any]) -> None:
    deadline_s = time.monotonic() + _DEADLINE_S
    while not holds():
        if time.monotonic() > deadline_s:
            raise TimeoutError
        time.sleep(0.2)
