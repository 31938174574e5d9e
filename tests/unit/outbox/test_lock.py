from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeagent.errors import OutboxLocked, StorageFailed
from edgeagent.outbox.lock import state_lock

HOLD = """
import sys
from pathlib import Path
from edgeagent.outbox.lock import state_lock
with state_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_owner_is_refused_and_told_who_holds_the_directory(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OutboxLocked) as caught, state_lock(tmp_path):
            pass
        assert caught.value.holder == f"process {holder.pid}"
        assert str(tmp_path) in str(caught.value)
        assert caught.value.exit_code == 75
        holder.kill()
    with state_lock(tmp_path):
        assert (tmp_path / "lock").read_text() == f"process {os.getpid()}\n"


def test_the_lock_is_given_back_at_the_end(tmp_path: Path) -> None:
    for _ in range(2):
        with state_lock(tmp_path):
            pass


def test_the_directory_is_made_with_its_parents(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    with state_lock(directory):
        assert (directory / "lock").exists()
        assert directory.stat().st_mode & 0o7 == 0, "nobody else may look into it"


def test_what_cannot_be_a_directory_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match=r"file"), state_lock(tmp_path / "file"):
        pass


def test_a_full_disk_does_not_keep_the_agent_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with state_lock(tmp_path), pytest.raises(OutboxLocked, match="another process"), state_lock(tmp_path):
        pass


@pytest.mark.parametrize("has_file", [True, False])
def test_a_directory_on_a_read_only_disk_has_one_owner_too(
    has_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_file:
        (tmp_path / "lock").write_text("process 7\n")
    real = os.open

    def read_only(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, flags, mode)

    monkeypatch.setattr("edgeagent.outbox.lock.os.open", read_only)
    before = list(tmp_path.iterdir())
    with state_lock(tmp_path), pytest.raises(OutboxLocked), state_lock(tmp_path):
        raise AssertionError
    with state_lock(tmp_path):
        assert list(tmp_path.iterdir()) == before
