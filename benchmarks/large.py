"""Large data by HTTP into the spool: how fast it comes in, and what memory that takes, beside a plain synced write.

The reference writes the same bytes to a file on the same disk, syncs it, and takes their SHA-256, in the same turn.
What is sent is in memory, so that no disk is read.
"""

from __future__ import annotations

import hashlib
import os
import socket
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.load_processes import Agent
from benchmarks.measure import Checked, show_checked
from tests.fakes.mosquitto import free_port

_BYTES = 1 << 30
_ROUNDS = 3
_LONG_ROUNDS = 9
_BLOCK = os.urandom(1 << 20)
_LEAST_MB_PER_S = 200.0
_LEAST_RATIO = 0.5  # of the plain write: where that is slower than the least rate, the disk decides
_MORE_MIB = 24.0


class _Turn(NamedTuple):
    plain_mb_per_s: float
    spool_mb_per_s: float
    idle_mib: float
    peak_mib: float
    cpu_s: float


def run(*, long: bool) -> None:
    """Print rates and memory for bodies of 1 GiB. `long`: more rounds."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        turns = [_turn(Path(directory) / str(number)) for number in range(_LONG_ROUNDS if long else _ROUNDS)]
    plain, spool, idle, peak, cpu = (statistics.median(values) for values in zip(*turns, strict=True))
    ratio = statistics.median(turn.spool_mb_per_s / turn.plain_mb_per_s for turn in turns)
    least = _LEAST_MB_PER_S if plain >= _LEAST_MB_PER_S / _LEAST_RATIO else None
    rows = [
        Checked("plain write, SHA-256 and fsync of 1 GiB", plain, "MB/s"),
        Checked("POST of 1 GiB, from its first byte to 202", spool, "MB/s", least=least),
        Checked("the same, in ratio to the plain write", ratio, "", least=_LEAST_RATIO),
        Checked("CPU of the agent, 1 GiB", cpu, "s"),
        Checked("memory of the agent before it", idle, "MiB"),
        Checked("memory of the agent at most", peak, "MiB", limit=idle + _MORE_MIB),
    ]
    show_checked("large data, device to spool", rows)


def _turn(directory: Path) -> _Turn:
    directory.mkdir()
    plain_s = _plain(directory / "plain")
    (directory / "store").mkdir()
    port = free_port()
    config = f"""
[uplink]
url = "mqtt://127.0.0.1:1"
[http]
listen = "127.0.0.1:{port}"
[outbox]
max_bytes = "2GiB"
[artifacts]
store = "file://{directory}/store"
max_bytes = "1GiB"
[[rule]]
name = "all"
namespace = "plant"
template = "inspect"
"""
    with Agent(directory, config, links=0) as agent:
        idle_mib, before = agent.peak_mib(), agent.usage()
        spool_s = _post(port)
        return _Turn(
            _BYTES / plain_s / 1e6,
            _BYTES / spool_s / 1e6,
            idle_mib,
            agent.peak_mib(),
            agent.usage().cpu_s - before.cpu_s,
        )


def _plain(path: Path) -> float:
    begun = time.monotonic()
    digest = hashlib.sha256()
    with path.open("wb", buffering=0) as stream:
        for _ in range(_BYTES // len(_BLOCK)):
            stream.write(_BLOCK)
            digest.update(_BLOCK)
        os.fsync(stream.fileno())
    taken_s = time.monotonic() - begun
    path.unlink()
    return taken_s


def _post(port: int) -> float:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        begun = time.monotonic()
        head = b"POST /v1/events/cam-1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
        sock.sendall(head + b"Content-Length: %d\r\n\r\n" % _BYTES)
        for _ in range(_BYTES // len(_BLOCK)):
            sock.sendall(_BLOCK)
        answer = sock.recv(1 << 16)
        taken_s = time.monotonic() - begun
    if not answer.startswith(b"HTTP/1.1 202 "):
        raise RuntimeError(answer.decode("utf-8", "replace"))
    return taken_s
