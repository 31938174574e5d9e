"""Podman with images, volumes and containers of a test's own, beside those that the machine has."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Self

_GROUPS = Path("/sys/fs/cgroup")
# Without systemd; with numbers of open files and processes that it may set everywhere, which its own are not; and with
# locks that have nothing in common with those of the machine's own containers.
_CONTAINERS = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
netns = "host"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "{directory}/libpod"
{runtime}
"""
_STORAGE = """
[storage]
driver = "overlay"
graphroot = "{directory}/storage"
runroot = "{directory}/run"
"""


class Podman:
    """The engine; use as a context manager.

    `directory`: where it keeps everything, removed by the caller. Its name must be short: Podman refuses long ones.
    """

    def __init__(self, directory: Path) -> None:
        assert os.geteuid() == 0, "this makes an image of a system with owners: run it as root"
        self._directory = directory
        settings = {"directory": directory, "runtime": _runtime()}
        files = {
            "CONTAINERS_CONF": self._written("containers.conf", _CONTAINERS.format_map(settings)),
            "CONTAINERS_STORAGE_CONF": self._written("storage.conf", _STORAGE.format_map(settings)),
        }
        # Podman 5 warns of version 1 of control groups at each command.
        self._environment = {**os.environ, **files, "PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}

    def __enter__(self) -> Self:
        """Nothing runs yet: each command is a process of its own."""
        return self

    def __exit__(self, *_: object) -> None:
        """End and remove its containers, so that nothing is mounted any more."""
        self.done("rm", "--force", "--all", "--volumes", "--time", "0")

    def run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of podman's and wait for it."""
        return subprocess.run(
            ["podman", *arguments], cwd=cwd, env=self._environment, check=False, capture_output=True, text=True
        )

    def done(self, *arguments: str, cwd: Path | None = None) -> str:
        """Run a command that must succeed; returns what it printed."""
        ended = self.run(*arguments, cwd=cwd)
        said = f"podman {' '.join(arguments)}: exit {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        assert ended.returncode == 0, said
        return ended.stdout

    def take(self, system: Path, name: str) -> None:
        """Make an image of a system in a directory."""
        archive = self._directory / "system.tar"
        subprocess.run(["tar", "--create", "--file", str(archive), "--directory", str(system), "."], check=True)
        self.done("import", str(archive), name)
        archive.unlink()

    def authorities(self) -> list[str]:
        """Options of a build: pip there trusts whom this machine trusts. A proxy may have an authority of its own."""
        known = ssl.get_default_verify_paths().cafile
        if known is None:
            return []
        settings = self._written("pip.conf", "[global]\ncert = /run/authorities.pem\n")
        return ["--volume", f"{known}:/run/authorities.pem:ro", "--volume", f"{settings}:/etc/pip.conf:ro"]

    def _written(self, name: str, text: str) -> str:
        file = self._directory / name
        file.write_text(text, "utf-8")
        return str(file)


def _runtime() -> str:
    """What starts containers: the default, crun, knows no control groups of both versions at once."""
    if not (_GROUPS / "unified").exists():
        return ""
    assert shutil.which("runc"), "runc is missing, which this machine's control groups need: apt-get install -y runc"
    return 'runtime = "runc"'
