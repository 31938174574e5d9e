"""What an agent costs that has nothing to do: memory, wake-ups and processor time (goal G6).

Real agents, each with its uplink to a real Mosquitto by MQTT 5, over the bytecode that an installation leaves, and with
a ledger. Beside them a Python that has imported the libraries, and waits in a loop: what no agent can be below.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.load_processes import DEADLINE_S, Agent, Broker, Program
from benchmarks.measure import Checked, memory_mib, show_checked
from tests.fakes.mosquitto import free_port

_WATCHED_S: Final = 30.0
_LONG_WATCHED_S: Final = 300.0
_SETTLE_S: Final = 5.0  # what is loaded and written after the start
_SCRAPE_S: Final = 15.0
_LOOKED_AT: Final = (
    *("/", "/page.js", "/v1/stats", "/v1/series", "/v1/devices", "/v1/triggers?limit=50", "/v1/dead"),
    *("/v1/report?since=7d&by=rule", "/metrics"),
)
_MEMORY_LIMIT_MIB: Final = 30.0
_WAKE_UPS_LIMIT: Final = 1.0
_PROCESSOR_LIMIT: Final = 0.1
_IMPORTS: Final = "import asyncio, logging, sqlite3, h11, msgspec, mqtt5, tomli\n"
_WAIT: Final = "asyncio.run(asyncio.sleep(1e6))"
_RULE: Final = """
[[rule]]
name = "overheat"
source = "*"
namespace = "plant"
template = "inspect"
filters.data = [{ path = "body.temp", type = "number", comparator = ">=", value = ["90"] }]
"""


class _Used(NamedTuple):
    """Of all threads of a process until now: how often one waited, and the processor time."""

    waits: int
    cpu_s: float


def run(*, long: bool) -> None:
    """Print the figures of each configuration. `long`: each is watched ten times as long."""
    watched_s = _LONG_WATCHED_S if long else _WATCHED_S
    rows: list[Checked] = []
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name, _bytecode(Path(name)):
        directory = Path(name)
        subprocess.run([sys.executable, "-c", _IMPORTS], check=True)
        libraries = Program([sys.executable, "-c", _IMPORTS + _WAIT], directory / "libraries.log", lambda: True)
        with libraries as reference:
            rows += _watched("Python with the libraries", reference.pid, watched_s, is_checked=False)
        with Broker(directory / "broker") as broker, Broker(directory / "devices") as devices:
            uplink = f'[uplink]\nurl = "mqtt://localhost:{broker.port}"\n'
            local = f'[local]\nurl = "mqtt://127.0.0.1:{devices.port}"\n[[local.subscribe]]\ntopic = "events/+"\n'
            own = f'[mqtt]\nlisten = ["127.0.0.1:{free_port()}"]\n[[mqtt.subscribe]]\ntopic = "events/+"\n'
            for what, more, links in (("uplink, HTTP", "", 1), ("with a local broker", local, 2), ("listener", own, 1)):
                with _agent(directory / what.replace(", ", "-"), uplink + more, links) as (agent, _):
                    rows += _watched(what, agent.pid, watched_s)
            for what, more in (("page, stream and scraper open", ""), ("those and the listener", own)):
                with _agent(directory / what.replace(" ", "-"), uplink + more, 1) as (agent, port), _watchers(port):
                    rows += _watched(what, agent.pid, watched_s)
    show_checked("idle", rows)


@contextlib.contextmanager
def _agent(directory: Path, config: str, links: int) -> Iterator[tuple[Agent, int]]:
    """A running agent, and the port of its HTTP."""
    directory.mkdir()
    port = free_port()
    with Agent(directory, f'{config}[http]\nlisten = "127.0.0.1:{port}"\n{_RULE}', links=links) as agent:
        _look(port)
        agent.stop()  # its bytecode is there now, and that of what is loaded for a page
        agent.start()
        yield agent, port


@contextlib.contextmanager
def _bytecode(directory: Path) -> Iterator[None]:
    """Have the first start of a program leave bytecode, as pip does, whatever the environment says.

    Otherwise each start compiles the text, and what that took stays behind in the process's memory.
    """
    before = {name: os.environ.pop(name, None) for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")}
    os.environ["PYTHONPYCACHEPREFIX"] = str(directory / "bytecode")
    try:
        yield
    finally:
        del os.environ["PYTHONPYCACHEPREFIX"]
        os.environ.update({name: value for name, value in before.items() if value is not None})


@contextlib.contextmanager
def _watchers(port: int) -> Iterator[None]:
    """Who looks at an agent: a status page with its stream, and a scraper of its metrics."""
    ended = threading.Event()

    def scrape() -> None:
        while not ended.wait(_SCRAPE_S):
            _get(port, "/metrics").read()

    _look(port)
    stream = _get(port, "/v1/stream")

    def follow() -> None:
        with contextlib.suppress(OSError, ValueError):  # it is closed at the end
            while stream.readline():
                pass

    threads = [threading.Thread(target=work, daemon=True) for work in (scrape, follow)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()


def _look(port: int) -> None:
    """Ask what a page asks when it is opened, and a scraper."""
    for path in _LOOKED_AT:
        _get(port, path).read()


def _get(port: int, path: str) -> HTTPResponse:
    connection = HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    connection.request("GET", path)
    return connection.getresponse()


def _watched(name: str, process: int, seconds: float, *, is_checked: bool = True) -> list[Checked]:
    """What it uses in so many seconds, after it has come to rest; held against the goal, or only told."""
    time.sleep(_SETTLE_S)
    start, before = time.monotonic(), _used(process)
    time.sleep(seconds)
    elapsed, after = time.monotonic() - start, _used(process)
    memory = memory_mib(process)
    limits = (_MEMORY_LIMIT_MIB, _WAKE_UPS_LIMIT, _PROCESSOR_LIMIT) if is_checked else (None, None, None)
    return [
        Checked(f"{name}: resident", memory["Rss"], "MiB", limits[0]),
        Checked(f"{name}: of it not of files", memory["Anonymous"], "MiB"),
        Checked(f"{name}: its share (Pss)", memory["Pss"], "MiB"),
        Checked(f"{name}: wake-ups", (after.waits - before.waits) / elapsed, "a second", limits[1]),
        Checked(f"{name}: processor", (after.cpu_s - before.cpu_s) / elapsed * 100, "%", limits[2]),
    ]


def _used(process: int) -> _Used:
    waits, cpu_ns = 0, 0
    for thread in Path(f"/proc/{process}/task").iterdir():
        lines = (thread / "status").read_text("utf-8").splitlines()
        waits += int(next(line.split()[1] for line in lines if line.startswith("voluntary")))
        cpu_ns += int((thread / "schedstat").read_text("ascii").split()[0])
    return _Used(waits, cpu_ns / 1e9)
