"""A Debian of its own in a directory, without systemd as process 1: for packages that are installed, upgraded, removed.

What runs in it runs in a mount namespace of its own, with /proc, and sees the network of this machine. The bases are
made once, in build/chroots, and never written to. Those of other machines run under qemu, by the kernel's binfmt_misc.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from packages.cross import mirror

_CACHE = Path(__file__).parents[2] / "build/chroots"
_QEMU = {"arm64": "qemu-aarch64", "armhf": "qemu-arm"}
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_WITH_PROC = 'mount -t proc proc "$1/proc" && shift && exec chroot "$@"'


class Chroot:
    """One system, as a layer over its base; use as a context manager. `directory`: where to, removed by the caller.

    Attributes:
        root: its root directory.
    """

    def __init__(self, suite: str, architecture: str, directory: Path) -> None:
        assert os.geteuid() == 0, "these tests make chroots: run them as root"
        _can_run(architecture)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.root = directory / "root"
        layers = directory / "upper", directory / "work"
        for each in (self.root, *layers):
            each.mkdir()
        options = "lowerdir={},upperdir={},workdir={}".format(base(suite, architecture), *layers)
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(self.root)], check=True)

    def __enter__(self) -> Self:
        """Its own: it is there already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the layer away, and end what a failed test left running in it."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        subprocess.run(["umount", str(self.root)], check=True)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command as root and wait for it; its output is all in `stdout`."""
        return subprocess.run(
            self._inside(command, user=""),
            env=_environment(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def done(self, *command: str, **environment: str) -> str:
        """Run a command that must succeed; returns what it printed."""
        completed = self.run(*command, **environment)
        assert completed.returncode == 0, f"{' '.join(command)}: exit {completed.returncode}\n{completed.stdout}"
        return completed.stdout

    def spawn(self, *command: str, user: str, log: Path, **environment: str) -> subprocess.Popen[bytes]:
        """Start a program as a user of this system; it is ended with the test."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                self._inside(command, user), env=_environment(environment), stdout=output, stderr=output
            )
        self._processes.append(process)
        return process

    def copy(self, *files: Path) -> list[str]:
        """Put files into /root; returns their names there."""
        return [str(Path("/root", Path(shutil.copy(file, self.root / "root")).name)) for file in files]

    def _inside(self, command: Sequence[str], user: str) -> list[str]:
        spec = [f"--userspec={user}:"] if user else []  # with its login group
        namespace = ["unshare", "--mount", "sh", "-c", _WITH_PROC, "sh", str(self.root)]
        return [*namespace, *spec, str(self.root), *command]


def base(suite: str, architecture: str) -> Path:
    """The directory of a fresh system with Python, and with systemd's tools where no emulator has to install them."""
    made = _CACHE / f"{suite}-{architecture}"
    if not made.exists():
        assert shutil.which("mmdebstrap"), "mmdebstrap is missing: apt-get install -y mmdebstrap"
        _CACHE.mkdir(parents=True, exist_ok=True)
        unfinished = _CACHE / f"{made.name}.unfinished"
        sysusers = "systemd-standalone-sysusers" if architecture in _QEMU else "systemd"
        options = [
            "--quiet",
            "--format=directory",
            "--variant=minbase",
            f"--include=python3,{sysusers}",
            f"--architectures={architecture}",
        ]
        subprocess.run(["mmdebstrap", *options, suite, str(unfinished), mirror()], check=True)
        unfinished.rename(made)
    return made


def _environment(more: dict[str, str]) -> dict[str, str]:
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": "/root", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", **more}


def _can_run(architecture: str) -> None:
    """Let the kernel run programs of another machine; does nothing for this one's."""
    if architecture not in _QEMU or (_BINFMT / _QEMU[architecture]).exists():
        return
    if not (_BINFMT / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(_BINFMT)], check=True)
    needed = "apt-get install -y qemu-user-static binfmt-support"
    assert shutil.which("update-binfmts"), f"update-binfmts is missing: {needed}"
    subprocess.run(["update-binfmts", "--enable", _QEMU[architecture]], check=True)
    assert (_BINFMT / _QEMU[architecture]).exists(), f"this machine cannot run {architecture}: {needed}"
