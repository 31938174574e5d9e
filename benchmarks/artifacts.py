"""How fast large data gets into a store, beside `cp` and `curl` on the same machine, and what memory it takes.

An upload ends when the store has the object: in a directory, synced with its name. `cp` is followed by `sync`, and the
server is Debian's nginx, over loopback. The contestants take turns; the ratio is that of the medians. Memory is what a
process takes for the object, beyond what it took for a small one before.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Checked, resident_mib, show_checked
from edgeagent.artifacts.making import make_uploader
from edgeagent.config.tables import ArtifactsTable
from edgeagent.events.artifact import Artifact
from edgeagent.outbox.disk import DiskThread
from tests.fakes.nginx import Nginx

_MIB = 1 << 20
_SIZE_MIB = 256
_LONG_SIZE_MIB = 1024
_ROUNDS = 3
_MEMORY_LIMIT_MIB = 16.0


def run(*, long: bool) -> None:
    """Print the speeds, their ratios and the memory. `long`: an object of 1 GiB instead of 256 MiB."""
    size_mib = _LONG_SIZE_MIB if long else _SIZE_MIB
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as made:
        directory = Path(made)
        content = directory / "content"
        with content.open("wb") as file:
            for _ in range(size_mib):
                file.write(os.urandom(_MIB))
        rows = [*_directory(directory, content, size_mib), *asyncio.run(_server(directory, content, size_mib))]
    show_checked(f"artifacts, an object of {size_mib} MiB", rows)


def _directory(directory: Path, content: Path, size_mib: int) -> list[Checked]:
    volume = directory / "volume"
    volume.mkdir()
    reference, ours = [], []
    mib = 0.0
    for _ in range(_ROUNDS):
        copy = volume / "copy"
        reference.append(_timed(["sh", "-c", 'cp "$0" "$1" && sync "$1" "$2"', content, copy, volume]))
        copy.unlink()
        taken_s, mib = _uploaded(content, volume.as_uri(), directory)
        ours.append(taken_s)
        shutil.rmtree(volume / "gw")
    return _rows("a directory", "cp and sync", size_mib, reference, ours, mib)


async def _server(directory: Path, content: Path, size_mib: int) -> list[Checked]:
    reference, ours = [], []
    mib = 0.0
    async with Nginx(directory / "nginx") as server:
        for _ in range(_ROUNDS):
            reference.append(_timed(["curl", "-sS", "--fail", "-T", content, f"{server.url}/copy"]))
            (server.root / "copy").unlink()
            taken_s, mib = _uploaded(content, server.url, directory)
            ours.append(taken_s)
            shutil.rmtree(server.root / "gw")
    return _rows("nginx", "curl -T", size_mib, reference, ours, mib)


def _rows(
    store: str, other: str, size_mib: int, reference: list[float], ours: list[float], mib: float
) -> list[Checked]:
    medians = statistics.median(reference), statistics.median(ours)
    return [
        Checked(f"{store}: {other}", size_mib / medians[0], "MiB/s"),
        Checked(f"{store}: an upload", size_mib / medians[1], "MiB/s"),
        Checked(f"{store}: an upload, ratio", medians[0] / medians[1], ""),
        Checked(f"{store}: memory", mib, "MiB", _MEMORY_LIMIT_MIB),
    ]


def _timed(command: list[str | Path]) -> float:
    began_s = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - began_s


def _uploaded(content: Path, store: str, directory: Path) -> tuple[float, float]:
    """Seconds and MiB of an upload in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.artifacts", str(content), store, str(directory)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    taken_s, mib = json.loads(done.stdout)
    return taken_s, mib


def _described(content: Path) -> Artifact:
    with content.open("rb") as file:
        return Artifact(hashlib.file_digest(file, "sha256").hexdigest(), content.stat().st_size)


async def _upload(content: Path, store: str, directory: Path) -> tuple[float, float]:
    """In a process of its own: a small object first, so that all is loaded; then the large one, alone."""
    ended: asyncio.Queue[str] = asyncio.Queue()
    database, thread = DiskThread("uploads"), DiskThread("store")
    state = Path(tempfile.mkdtemp(dir=directory))
    uploader = make_uploader(ArtifactsTable(store=store), state, database, thread, ended.put_nowait)
    running = asyncio.create_task(uploader.run())
    small = state / "small"
    small.write_bytes(b"small")
    large = _described(content)
    uploader.want("gw/small", Artifact(hashlib.sha256(b"small").hexdigest(), 5), str(small))
    await ended.get()
    before = most = resident_mib()
    began_s = time.perf_counter()
    uploader.want("gw/large", large, str(content))
    while ended.empty():
        most = max(most, resident_mib())
        await asyncio.wait([asyncio.ensure_future(asyncio.sleep(0.05)), running], return_when=asyncio.FIRST_COMPLETED)
    taken_s = time.perf_counter() - began_s
    progress = uploader.progress("gw/large")
    if progress is None or progress.sent_bytes != progress.size:
        raise AssertionError(f"it did not arrive: {progress}")
    running.cancel()
    await asyncio.wait([running])
    await uploader.close()
    return taken_s, most - before


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_upload(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))))
