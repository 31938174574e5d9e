from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from packages.suites import ROOT
from tests.fakes.chroot import Chroot
from tests.fakes.packages import NATIVE, PREVIOUS, Packages

# Without an engine, test_container.py carries out the same steps in chroots.
collect_ignore = [] if shutil.which("podman") else ["test_container_engine.py"]


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """The packages of this tree, each built when a test first asks for it."""
    return Packages(ROOT, tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="session")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """The packages of this tree under an older version: what an upgrade begins with."""
    tree = tmp_path_factory.mktemp("previous") / "tree"
    names = (
        "edgeagent",
        "packages",
        "systemd",
        "requirements",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
    )
    for name in (*names, "config.example.toml", "dispatch.example.toml"):
        place = ROOT / name
        (shutil.copytree if place.is_dir() else shutil.copy2)(place, _made(tree) / name)
    module = tree / "edgeagent/__init__.py"
    module.write_text(re.sub(r'(?<=__version__ = ").*(?=")', PREVIOUS, module.read_text("utf-8")), "utf-8")
    return Packages(tree, tmp_path_factory.mktemp("previous-packages"))


@pytest.fixture
def machine() -> Iterator[Chroot]:
    """A fresh Debian 12 of this machine's kind."""
    with tempfile.TemporaryDirectory() as directory, Chroot("bookworm", NATIVE, Path(directory)) as machine:
        yield machine


def _made(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return directory
