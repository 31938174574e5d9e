"""The Debian packages of a tree, built as `make deb` does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from packages.suites import MACHINES, SUITES, debian_version

PREVIOUS = "0.1.9"
# A time for trees that are no checkout.
EPOCH = 1_700_000_000
NATIVE = {machine: architecture for architecture, machine in MACHINES.items()}[os.uname().machine]


class Built(NamedTuple):
    """The packages for one release and machine."""

    agent: Path
    httpx: Path
    dispatcher: Path


class Packages:
    """Builds the packages of a tree into a directory, each once."""

    def __init__(self, tree: Path, directory: Path) -> None:
        self._tree = tree
        self._directory = directory

    def version(self, suite: str) -> str:
        """The version of those for a release."""
        return debian_version(self._tree, SUITES[suite])

    def build(self, suite: str, architecture: str) -> Built:
        """Those for one release and machine."""
        version = self.version(suite)
        built = Built(
            self._directory / f"edgeagent_{version}_{architecture}.deb",
            self._directory / f"edgeagent-httpx_{version}_all.deb",
            self._directory / f"edgeagent-dispatcher_{version}_all.deb",
        )
        if not built.agent.exists():
            build(self._tree, suite, architecture, self._directory)
        return built


def build(tree: Path, suite: str, architecture: str, into: Path) -> None:
    """Build the packages of a tree, as `make deb` does, for one release and machine."""
    command = [sys.executable, "-m", "packages", "--suite", suite, "--arch", architecture, "--output", str(into)]
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}
    done = subprocess.run(command, cwd=tree, env=env, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
