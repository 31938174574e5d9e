"""`edgeagent fetch` as a process that is killed, and on a disk that takes no more."""

from __future__ import annotations

import json
import random
import resource
import signal
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path

from tests.fakes.artifact_server import ArtifactServer

CONTENT = random.Random(18).randbytes(3_000_000)  # noqa: S311  no secret
REACHED = 1_000_000


def command(server: ArtifactServer) -> list[str]:
    reference = {"url": f"{server.base}/frame.jpg", "size": len(CONTENT), "sha256": sha256(CONTENT).hexdigest()}
    return [sys.executable, "-m", "edgeagent", "fetch", json.dumps(reference), f"--allow={server.base}", "--json"]


def test_a_fetch_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    with ArtifactServer(CONTENT) as server:
        server.cut_after, server.hold = [REACHED], threading.Event()
        process = subprocess.Popen(command(server), cwd=tmp_path)
        part = tmp_path / "frame.jpg.part"
        while process.poll() is None and not (part.exists() and part.stat().st_size == REACHED):
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "frame.jpg").exists()
        again = subprocess.run(command(server), cwd=tmp_path, capture_output=True, check=True)
        assert json.loads(again.stdout)["resumed"] == REACHED
        assert server.asked_ranges == ["", f"bytes={REACHED}-"]
    assert (tmp_path / "frame.jpg").read_bytes() == CONTENT
    assert not part.exists()


def test_a_disk_that_takes_no_more_is_told_and_what_came_is_of_use_later(tmp_path: Path) -> None:
    def little_space() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (REACHED, REACHED))

    with ArtifactServer(CONTENT) as server:
        full = subprocess.run(
            command(server), cwd=tmp_path, capture_output=True, text=True, preexec_fn=little_space, check=False
        )
        assert (full.returncode, full.stderr) == (1, "edgeagent: fetch: frame.jpg cannot be written: File too large\n")
        again = subprocess.run(command(server), cwd=tmp_path, capture_output=True, check=True)
        assert 0 < json.loads(again.stdout)["resumed"] <= REACHED
    assert (tmp_path / "frame.jpg").read_bytes() == CONTENT
