"""Many devices at the agent's own listener: what idle ones cost in memory, and what others feel of 10,000 attempts.

A device of each version connects, and subscribes to the reports about itself, as a small one does. Attempts to connect
are sockets that say nothing, a thousand in a second and some 2,000 of them open at a time, while the listener takes 200
connections.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.agent_process import agent
from benchmarks.measure import Checked, resident_mib, show_checked

_DEVICES = 1000
_LIMIT_MIB = 12.0
_ATTEMPTS = 10_000
_OPEN_ATTEMPTS = 2000
_ATTEMPTS_PER_S = 1000
_EACH = 20  # attempts before the next event
_CONNECTIONS = 200
_LIMIT_RATIO = 2.0
_DEADLINE_S = 30.0
_CONNACK = {4: b"\x20\x02\x00\x00", 5: b"\x20"}


def run(*, long: bool) -> None:
    """Print both. `long`: changes nothing."""
    del long
    rows = [
        Checked(f"{_DEVICES:,} idle devices of MQTT {name}, above none", _idle_mib(level), "MiB", _LIMIT_MIB)
        for name, level in (("3.1.1", 4), ("5", 5))
    ]
    quiet_ms, busy_ms = _latencies_ms()
    rows += [
        Checked("PUBACK, 99th percentile, nobody else", quiet_ms, "ms"),
        Checked(f"the same during {_ATTEMPTS:,} attempts, {_ATTEMPTS_PER_S:,} a second", busy_ms, "ms"),
        Checked("ratio of the two", busy_ms / quiet_ms, "", _LIMIT_RATIO),
    ]
    show_checked("devices", rows)


@contextlib.contextmanager
def _listening(mqtt: str = "") -> Iterator[tuple[int, int]]:
    """An agent that listens: its process id and port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    tables = f'[mqtt]\nlisten = "127.0.0.1:{port}"\n{mqtt}'
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd()) as directory,
        agent(Path(directory) / "state", tables) as (process, _),
    ):
        yield process, port


def _packet(first: int, body: bytes) -> bytes:
    return bytes((first, len(body))) + body


def _text(text: str) -> bytes:
    return len(text).to_bytes(2, "big") + text.encode()


def _device(port: int, level: int, client_id: str) -> socket.socket:
    """A device that was let in."""
    sock = socket.create_connection(("127.0.0.1", port), _DEADLINE_S)
    properties = b"\0" if level == 5 else b""  # noqa: PLR2004  MQTT 5
    sock.sendall(_packet(0x10, _text("MQTT") + bytes((level, 2, 0, 0)) + properties + _text(client_id)))
    if not sock.recv(1024).startswith(_CONNACK[level]):
        raise AssertionError("a device is not let in")
    return sock


def _idle_mib(level: int) -> float:
    properties = b"\0" if level == 5 else b""  # noqa: PLR2004  MQTT 5
    with _listening(f"max_connections = {2 * _DEVICES}\n") as (process, port), contextlib.ExitStack() as stack:
        before = 0.0
        for number in range(_DEVICES + 1):  # the first one brings what all of them need
            client_id = f"device-{number}"
            sock = stack.enter_context(_device(port, level, client_id))
            sock.sendall(_packet(0x82, b"\0\1" + properties + _text(f"edgeagent/status/{client_id}") + b"\1"))
            if sock.recv(1024)[0] != 0x90:  # noqa: PLR2004  SUBACK
                raise AssertionError("a device may not subscribe")
            before = before or resident_mib(process)
        return resident_mib(process) - before


def _latencies_ms() -> tuple[float, float]:
    """The 99th percentile of one device's PUBACKs, alone and during attempts to connect."""
    with _listening(f"max_connections = {_CONNECTIONS}\n") as (_, port), _device(port, 4, "good") as good:
        quiet = [_acknowledged_s(good) for _ in _paced(_ATTEMPTS // _EACH, _ATTEMPTS_PER_S / _EACH)]
        busy, attempts = list[float](), list[socket.socket]()
        for number in _paced(_ATTEMPTS, _ATTEMPTS_PER_S):
            attempt = socket.socket()
            attempt.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                attempt.connect(("127.0.0.1", port))
            attempts.append(attempt)
            if len(attempts) > _OPEN_ATTEMPTS:
                attempts.pop(0).close()
            if not number % _EACH:
                busy.append(_acknowledged_s(good))
        for attempt in attempts:
            attempt.close()
    return _p99_ms(quiet), _p99_ms(busy)


def _paced(count: int, per_s: float) -> Iterator[int]:
    """Count at this pace, as far as the machine keeps it."""
    start = time.perf_counter()
    for number in range(count):
        time.sleep(max(0.0, start + number / per_s - time.perf_counter()))
        yield number


def _acknowledged_s(sock: socket.socket) -> float:
    start = time.perf_counter()
    sock.sendall(_packet(0x32, _text("events/good") + b"\0\1{}"))
    if len(sock.recv(4)) != 4:  # noqa: PLR2004  a PUBACK
        raise AssertionError("an event is not acknowledged")
    return time.perf_counter() - start


def _p99_ms(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[-1] * 1000
