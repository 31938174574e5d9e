"""moto's server of S3, as a process: objects in memory."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, NamedTuple

from tests.fakes.mosquitto import free_port
from tests.waiting import until_accepting


class MotoServer:
    """A server for all tests of a file, because it takes seconds to start; each test has a bucket of its own.

    Attributes:
        url: its address.
    """

    def __init__(self) -> None:
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._buckets = 0
        self.url = f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start it."""
        self._process = self._spawn()
        await until_accepting(self._process, [self._port], lambda: "")

    def stop(self) -> None:
        """End it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def bucket(self) -> MotoBucket:
        """A new bucket, which takes any key."""
        import boto3  # noqa: PLC0415  half a second

        secret = "secret"  # noqa: S105  it takes any
        client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="id",
            aws_secret_access_key=secret,
        )
        self._buckets += 1
        name = f"bucket-{self._buckets}"
        client.create_bucket(Bucket=name)
        return MotoBucket(self.url, name, client)

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class MotoBucket(NamedTuple):
    """A bucket, as Amazon's own client sees it. `url`: the server's."""

    url: str
    name: str
    client: Any

    def objects(self) -> dict[str, bytes]:
        """What it holds."""
        names = [each["Key"] for each in self.client.list_objects_v2(Bucket=self.name).get("Contents", [])]
        return {name: self.client.get_object(Bucket=self.name, Key=name)["Body"].read() for name in names}

    def open_uploads(self) -> list[str]:
        """The names of multipart uploads that are not complete."""
        return [each["Key"] for each in self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])]
