"""A memory limit around a process, as systemd sets it, where this machine lets us: cgroup v2, else v1."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_V2 = Path("/sys/fs/cgroup")
_V1 = Path("/sys/fs/cgroup/memory")


@contextmanager
def memory_limited(pid: int, limit_bytes: int) -> Iterator[bool]:
    """Hold a process to so many bytes: the kernel kills it when it needs more. Yields whether that could be done."""
    for root, limit in ((_V2, "memory.max"), (_V1, "memory.limit_in_bytes")):
        group = root / f"edgeagent-test-{pid}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            for name, value in ((limit, limit_bytes), ("cgroup.procs", pid)):
                with (group / name).open("r+") as file:  # in another file system it is not there, and is not made
                    file.write(str(value))
        except OSError:
            group.rmdir()
            continue
        try:
            yield True
        finally:
            _leave(root, group)
        return
    yield False


def _leave(root: Path, group: Path) -> None:
    for pid in (group / "cgroup.procs").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            (root / "cgroup.procs").write_text(pid)
    group.rmdir()
