from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.__main__ import main
from tests.fakes.artifact_server import ArtifactServer
from tests.fakes.fetching import CONTENT, Fetch


@pytest.fixture
def server() -> Iterator[ArtifactServer]:
    """A server that has the content of `claim`."""
    with ArtifactServer(CONTENT) as server:
        yield server


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fetch:
    """The command, in `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(["fetch", *arguments])
        except SystemExit as exc:
            code = int(exc.code or 0)
        return code, *capsys.readouterr()

    return run
