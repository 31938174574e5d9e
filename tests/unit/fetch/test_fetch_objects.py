"""`edgeagent fetch` from an object store: a server that answers as S3 does to what a reader asks."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from edgeagent.__main__ import main
from tests.fakes.artifact_server import ArtifactServer

CONTENT = random.Random(17).randbytes(300_000)  # noqa: S311  no secret
CLAIM = json.dumps({"url": "s3://plant/gw/frame.jpg", "size": len(CONTENT), "sha256": sha256(CONTENT).hexdigest()})


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ArtifactServer]:
    monkeypatch.chdir(tmp_path)
    with ArtifactServer(CONTENT) as server:
        for name, value in {
            "AWS_ENDPOINT_URL": server.base,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "anna",
            "AWS_SECRET_ACCESS_KEY": "open sesame",
        }.items():
            monkeypatch.setenv(name, value)
        yield server


def test_an_object_of_a_bucket_is_fetched_with_the_credentials_of_the_environment(
    store: ArtifactServer, tmp_path: Path
) -> None:
    assert main(["fetch", CLAIM]) == 0
    assert (tmp_path / "frame.jpg").read_bytes() == CONTENT
    path, headers = store.requests[0]
    assert path == "/plant/gw/frame.jpg"
    assert "Credential=anna/" in headers["authorization"]


@pytest.mark.slow
def test_what_broke_off_goes_on_where_it_was(store: ArtifactServer, tmp_path: Path) -> None:
    store.cut_after = [100_000]
    assert main(["fetch", CLAIM]) == 0
    assert (tmp_path / "frame.jpg").read_bytes() == CONTENT
    assert any(asked.startswith("bytes=") for asked in store.asked_ranges)


@pytest.mark.parametrize(
    ("status", "code", "why"),
    [(404, 1, "nothing is there"), (403, 1, "the store refuses access"), (503, 69, "s3://plant/gw/frame.jpg: ")],
)
def test_what_the_store_refuses_is_told_in_one_line(
    store: ArtifactServer, capsys: pytest.CaptureFixture[str], status: int, code: int, why: str
) -> None:
    store.statuses = [status] * 3
    assert main(["fetch", CLAIM, "--retry", "0"]) == code
    err = capsys.readouterr().err
    assert (err.count("\n"), why in err) == (1, True)


def test_an_object_of_another_size_is_not_read(
    store: ArtifactServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.content += b"more"
    assert main(["fetch", CLAIM]) == 1
    assert "it has 300004 bytes, the claim says 300000" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


def test_a_bucket_that_is_not_allowed_is_not_asked(store: ArtifactServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", CLAIM, "--allow", "s3://other"]) == 1
    assert "s3://plant/gw/frame.jpg is below no --allow" in capsys.readouterr().err
    assert store.requests == []
