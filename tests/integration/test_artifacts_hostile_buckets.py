"""A service that speaks S3 and fails in every way."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.artifacts.http import StoreClient
from edgeagent.artifacts.s3 import S3Store
from edgeagent.config.tables import ArtifactsTable, Connection, FilePath
from edgeagent.errors import StoreFailed, StoreRefused
from tests.fakes.artifact_store import put_object, sending
from tests.fakes.hasty_store import Asked, hasty_store

LARGE = bytes(16 << 20)  # two parts


COMPLETED = b"<CompleteMultipartUploadResult><Key>gw/e1</Key></CompleteMultipartUploadResult>"


class FakeBucket:
    """A service that speaks S3 as the test says: a status and a body for each kind of request."""

    def __init__(self, **answers: tuple[int, bytes]) -> None:
        self.answers = answers
        self.head_length = ""

    async def behave(self, asked: Asked) -> None:
        """See `Behaviour`."""
        await asked.body()
        kind = {"POST": "complete" if "uploadId" in asked.target else "create", "PUT": "put"}.get(asked.method, "")
        status, body = self.answers.get(kind, (200, COMPLETED if kind == "complete" else b""))
        more = {"content_length": self.head_length} if asked.method == "HEAD" and self.head_length else {}
        asked.answer(status, body, etag='"e"', date="Fri, 20 Mar 2026 12:00:00 GMT", **more)


CREATE = b"<R><UploadId>u1</UploadId></R>"


@pytest.mark.parametrize(
    ("answers", "words", "is_large"),
    [
        (
            {"put": (403, b"<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>")},
            "SignatureDoes",
            False,
        ),
        ({"put": (503, b"<Error><Code>SlowDown</Code></Error>")}, "SlowDown", False),
        ({"put": (403, b"<Error><Code>RequestTimeTooSkewed</Code></Error>")}, "clock is wrong", False),
        ({"put": (400, b"<Error><Code>XAmzContentSHA256Mismatch</Code></Error>")}, "SHA256Mismatch", False),
        ({"create": (200, b"<R></R>")}, "gave no id", True),
        ({"create": (200, b"<R><UploadId>" + b"u" * 5000 + b"</UploadId></R>")}, "gave no id", True),
        (
            {"create": (200, CREATE), "complete": (200, b"<Error><Code>InternalError</Code></Error>")},
            "InternalError",
            True,
        ),
        ({"create": (200, CREATE), "complete": (200, b"<Error/>")}, "could not put the parts together", True),
        ({"create": (200, CREATE), "complete": (200, b" " * 100)}, "does not say that there is an object", True),
        ({"create": (200, CREATE), "put": (500, b"")}, "500", True),
    ],
)
async def test_a_bucket_that_fails_is_tried_again(
    tmp_path: Path, answers: dict[str, tuple[int, bytes]], words: str, is_large: bool
) -> None:
    bucket = FakeBucket(**answers)
    async with hasty_store(bucket.behave) as (url, _):
        with pytest.raises(StoreFailed, match=words):
            await put_object(s3(url, tmp_path), tmp_path, LARGE if is_large else b"x")


@pytest.mark.parametrize(
    "answer",
    [
        (400, b"<Error><Code>InvalidPart</Code></Error>"),
        (200, b"<Error><Code>InternalError</Code></Error>"),
        (200, b""),
    ],
)
async def test_parts_that_become_no_object_are_sent_again(tmp_path: Path, answer: tuple[int, bytes]) -> None:
    bucket = FakeBucket(create=(200, CREATE), complete=answer)
    async with hasty_store(bucket.behave) as (url, _), sending(tmp_path, "gw/e1", LARGE) as one:
        store = s3(url, tmp_path)
        with pytest.raises(StoreFailed, match=r"InvalidPart|put the parts together"):
            await store.put(one)
        await store.aclose()
    assert one.resume == b"", "the next try would trust the parts that are there"


async def test_a_bucket_that_lies_about_the_length_is_found_out(tmp_path: Path) -> None:
    bucket = FakeBucket(create=(200, CREATE))
    bucket.head_length = "5"
    async with hasty_store(bucket.behave) as (url, _):
        with pytest.raises(StoreFailed, match="holds 5 bytes"):
            await put_object(s3(url, tmp_path), tmp_path, LARGE)


async def test_an_object_too_large_for_a_bucket_is_refused_for_good(tmp_path: Path) -> None:
    bucket = FakeBucket(put=(400, b"<Error><Code>EntityTooLarge</Code></Error>"))
    async with hasty_store(bucket.behave) as (url, _):
        with pytest.raises(StoreRefused, match="EntityTooLarge"):
            await put_object(s3(url, tmp_path), tmp_path, b"x")


async def test_a_clock_that_is_wrong_is_corrected_by_the_services(tmp_path: Path) -> None:
    times: list[str] = []

    async def behave(asked: Asked) -> None:
        await asked.body()
        if asked.method == "HEAD":
            asked.answer(403)
            return
        times.append(asked.headers["x-amz-date"])
        body = b"" if len(times) > 1 else b"<Error><Code>RequestTimeTooSkewed</Code></Error>"
        asked.answer(200 if len(times) > 1 else 403, body, date="Fri, 20 Mar 2099 12:00:00 GMT")

    async with hasty_store(behave) as (url, _):
        store = s3(url, tmp_path)
        with pytest.raises(StoreFailed, match="clock is wrong") as caught:
            await put_object(store, tmp_path, b"x")
        assert not caught.value.needs_somebody
        await put_object(store, tmp_path, b"x")
    assert times[1].startswith("20990320T12")


def s3(url: str, directory: Path) -> S3Store:
    (directory / "key").write_text("id\nsecret\n", "utf-8")
    table = ArtifactsTable(store="s3://bucket", endpoint=url, access_key_file=FilePath(directory / "key"))
    return S3Store(table, StoreClient("test", Connection()))


async def test_a_service_in_the_year_9999_does_not_set_the_clock(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        await asked.body()
        skewed = b"<Error><Code>RequestTimeTooSkewed</Code></Error>"
        asked.answer(403, skewed, date="Fri, 31 Dec 9999 23:59:59 GMT")

    async with hasty_store(behave) as (url, _):
        store = s3(url, tmp_path)
        for _ in range(2):  # a time after that one is none
            with pytest.raises(StoreFailed, match="RequestTimeTooSkewed"):
                await put_object(store, tmp_path, b"x")
