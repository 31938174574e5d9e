"""A Debian of its own under systemd as its process 1, with a network, processes and control groups of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Self

from tests.fakes.chroot import Chroot
from tests.waiting import until

_GROUPS = Path("/sys/fs/cgroup")
# Joins the groups, so that they are the roots of the new namespace; then becomes process 1 of the system.
_BOOT = """
set -eu
root=$1; shift
for group in "$@"; do echo $$ > "$group/cgroup.procs"; done
exec unshare --mount --pid --fork --kill-child --cgroup --ipc --uts --net sh -euc '
    cd "$0"
    mount -t proc proc proc
    mount -t sysfs -o ro sysfs sys
    mount -t tmpfs -o mode=755 tmpfs dev
    for each in null zero full random urandom tty; do touch dev/$each; mount --bind /dev/$each dev/$each; done
    ln -s /proc/self/fd dev/fd
    ln -s pts/ptmx dev/ptmx
    mkdir dev/shm dev/pts
    mount -t tmpfs -o mode=755 tmpfs run
    mount -t tmpfs tmpfs tmp
    pivot_root . mnt
    cd /
    umount -l /mnt
    mount --make-rshared /  # as who starts a container does: credentials are mounted from a namespace of their own
    exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=journal \\
        systemd.unified_cgroup_hierarchy=%d systemd.legacy_systemd_cgroup_controller=1
' "$root"
"""


class Booted:
    """A system that runs; use as an asynchronous context manager. The machine must not be in use otherwise."""

    def __init__(self, machine: Chroot) -> None:
        self.machine = machine
        self._process: subprocess.Popen[bytes] | None = None
        self._groups: list[Path] = []
        self._init = 0

    async def __aenter__(self) -> Self:
        """Boot it, and wait until everything is started."""
        name = self.machine.root.parent.name
        unified = (_GROUPS / "cgroup.controllers").exists()
        for group in [_GROUPS] if unified else _own_groups():
            self._groups.append(_made(group / f"edgeagent-{name}"))
        script = _BOOT % unified
        command = ["sh", "-c", script, "sh", str(self.machine.root), *map(str, self._groups)]
        process = self._process = subprocess.Popen(command)  # noqa: ASYNC220  a moment, in a test

        def booted() -> bool:
            assert process.poll() is None, "systemd has ended"
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("ascii").split()
            if not children or Path(f"/proc/{children[0]}/comm").read_text("ascii") != "systemd\n":
                return False
            self._init = int(children[0])
            return self.run("systemctl", "is-system-running").stdout.strip() in {"running", "degraded"}

        await until(booted, "the end of the start")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Turn it off at once, and remove its groups."""
        process = self._process
        assert process is not None
        process.kill()  # process 1 is killed with it, and everything of its namespace with that
        process.wait()
        for group in self._groups:
            await until(lambda group=group: _removed(group), f"nothing in {group}")  # type: ignore[misc]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it as root and wait for it; its output is all in `stdout`."""
        inside = ["nsenter", f"--target={self._init}", "--all", "--root", "--wd=/", "env", "-i", "LC_ALL=C.UTF-8"]
        path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
        return subprocess.run(
            [*inside, path, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )

    def done(self, *command: str) -> str:
        """Run a command that must succeed; returns what it printed."""
        completed = self.run(*command)
        assert completed.returncode == 0, f"{' '.join(command)}: exit {completed.returncode}\n{completed.stdout}"
        return completed.stdout

    def property(self, unit: str, name: str) -> str:
        """What systemd knows of a unit."""
        return self.done("systemctl", "show", f"--property={name}", "--value", unit).strip()

    def memory_group(self, unit: str) -> str:
        """The directory, within the system, of the control group that limits a unit's memory."""
        legacy = "/memory" if (_GROUPS / "memory").exists() else ""
        return f"/sys/fs/cgroup{legacy}{self.property(unit, 'ControlGroup')}"

    def log(self, unit: str) -> str:
        """What a unit has logged, and systemd about it."""
        return self.done("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")


def _own_groups() -> list[Path]:
    """The control groups of this process, one of each hierarchy (version 1)."""
    groups = []
    for line in Path("/proc/self/cgroup").read_text("ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        mounted = _GROUPS / (controllers.removeprefix("name=") or "unified")
        if mounted.exists():
            groups.append(mounted / path.lstrip("/"))
    return groups


def _made(group: Path) -> Path:
    group.mkdir()
    for name in ("cpuset.cpus", "cpuset.mems"):  # without which nothing can be in it
        if (group / name).exists() and (group.parent / name).exists():
            (group / name).write_text((group.parent / name).read_text("ascii"), "ascii")
    return group


def _removed(group: Path) -> bool:
    """Remove a group and those below it, once nothing is in them."""
    for directory in sorted((each for each in group.rglob("*") if each.is_dir()), reverse=True):
        _try_to_remove(directory)
    return _try_to_remove(group)


def _try_to_remove(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
