"""Where the requests to a bucket go, and what URL readers get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeagent.artifacts.http import StoreAnswer, StoreClient
from edgeagent.artifacts.s3 import S3Store
from edgeagent.config.tables import ArtifactsTable, Connection, FilePath

pytestmark = pytest.mark.virtual_time


class _Noted(StoreClient):
    """Answers every request with a success, and notes it."""

    def __init__(self) -> None:
        super().__init__("test", Connection())
        self.asked: list[tuple[str, str]] = []

    async def request(self, method: str, url: str, headers: Any, *_: Any) -> StoreAnswer:
        """See `StoreClient`."""
        assert method == "GET"
        self.asked.append((url, headers["host"]))
        assert "/s3/aws4_request" in headers["authorization"]
        return StoreAnswer(200, {}, b"")


@pytest.mark.parametrize(
    ("keys", "url", "region"),
    [
        ({"store": "s3://field"}, "https://field.s3.us-east-1.amazonaws.com/gw/e1", "us-east-1"),
        (
            {"store": "s3://field/a%20b/", "region": "eu-central-1"},
            "https://field.s3.eu-central-1.amazonaws.com/a%20b/gw/e1",
            "eu-central-1",
        ),
        ({"store": "s3://my.field"}, "https://s3.us-east-1.amazonaws.com/my.field/gw/e1", "us-east-1"),
        (
            {"store": "s3://field/p", "endpoint": "https://minio.example:9000/"},
            "https://minio.example:9000/field/p/gw/e1",
            "us-east-1",
        ),
        ({"store": "gs://field/p"}, "https://storage.googleapis.com/field/p/gw/e1", "auto"),
    ],
)
async def test_requests_go_to_the_bucket(tmp_path: Path, keys: dict[str, str], url: str, region: str) -> None:
    (tmp_path / "key").write_text("id\nsecret\n", "utf-8")
    client = _Noted()
    store = S3Store(ArtifactsTable(access_key_file=FilePath(tmp_path / "key"), **keys), client)  # type: ignore[arg-type]
    await store.read("gw/e1", 10)
    assert client.asked == [(url, url.split("/")[2])]
    assert store.url("gw/e1") == f"{keys['store'].rstrip('/')}/gw/e1"
    assert store._region == region
