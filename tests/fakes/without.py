"""Programs that a test starts, on a machine on which a library is missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Python imports a module of this name at its start.
_SITECUSTOMIZE = """
from importlib.machinery import PathFinder

find_spec = PathFinder.find_spec


def missing(name, path=None, target=None):
    return None if name.partition(".")[0] in {libraries!r} else find_spec(name, path, target)


PathFinder.find_spec = missing
"""


def without(libraries: tuple[str, ...], directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take them away from everything that this test starts from now on; the test's own process is as it was."""
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(_SITECUSTOMIZE.format(libraries=libraries), "utf-8")
    paths = [str(directory), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
