"""A bucket of S3, or of a service that speaks its protocol: Google Cloud Storage, MinIO, Ceph.

An object of up to 8 MiB is one PUT, a larger one a multipart upload. After a failure or a restart that goes on: the id
of the upload is kept on disk, and the service itself says which parts it has. Every request is signed over the SHA-256
of its body, so that the service refuses what was changed on the way.

It is written over httpx, because no library in question continues an upload of an earlier process (ADR 15).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from edgeagent.artifacts.answers import failure_of, is_success
from edgeagent.artifacts.http import StoreAnswer, StoreClient, content_type
from edgeagent.artifacts.multipart import (
    OpenUpload,
    PartOfObject,
    completion,
    error_of,
    is_completed,
    is_etag,
    listed,
    part_bytes,
    sizes,
    upload_id,
)
from edgeagent.artifacts.places import joined
from edgeagent.artifacts.sending import Sending
from edgeagent.artifacts.sigv4 import AccessKey, S3Request, access_key, encoded, signed_headers
from edgeagent.common.foreign import line
from edgeagent.common.retry_after import http_instant
from edgeagent.config.secretfile import why_unusable
from edgeagent.config.tables import ArtifactsTable
from edgeagent.errors import StoreError, StoreFailed, StoreRefused

_GOOGLE: Final = "https://storage.googleapis.com"
_AMAZON: Final = "https://s3.{}.amazonaws.com"
_DEFAULT_REGION: Final = {"s3": "us-east-1", "gs": "auto"}
_BAD_REQUEST: Final = 400
_NOT_FOUND: Final = 404
_OK: Final = 200
_SKEWED: Final = "RequestTimeTooSkewed"
_TOO_LARGE: Final = "EntityTooLarge"
_MAX_REASON_CHARS = 200
# A service that says a later one is wrong; and a time after the year 9999 cannot be written.
_LAST_YEAR: Final = 2999

_decode = msgspec.msgpack.Decoder(OpenUpload).decode


class S3Store:
    """A bucket. See `ArtifactStore`."""

    def __init__(
        self, table: ArtifactsTable, client: StoreClient, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """`table`: without problems; `now`: the wall clock."""
        parts = urlsplit(table.store)
        self.shown = table.store
        self._client = client
        self._now = now
        self._skew = timedelta()  # of the service's clock, if ours is wrong
        self._key_file = table.access_key_file
        self._region = table.region or _DEFAULT_REGION[parts.scheme]
        self._public = table.public_url or table.store
        prefix = unquote(parts.path).strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._set_address(table.endpoint or (_GOOGLE if parts.scheme == "gs" else ""), parts.netloc)

    def _set_address(self, endpoint: str, bucket: str) -> None:
        """Amazon's buckets are hosts of their own, but with a dot in its name one would have no certificate."""
        if not endpoint and "." not in bucket:
            amazon = urlsplit(_AMAZON.format(self._region))
            self._origin, self._root = f"https://{bucket}.{amazon.netloc}", ""
        else:
            self._origin = (endpoint or _AMAZON.format(self._region)).rstrip("/")
            self._root = f"/{bucket}"
        self._host = urlsplit(self._origin).netloc

    def url(self, name: str) -> str:
        """See `ArtifactStore`."""
        return joined(self._public, name)

    async def begin(self, memory: bytes) -> bytes:
        """A bucket's name is its identity."""
        return memory

    async def put(self, sending: Sending) -> None:
        """See `ArtifactStore`."""
        size = sending.artifact.size
        if size <= part_bytes(size):
            headers = {"content-type": content_type(sending.artifact)}
            await self._send(sending, sending.artifact.sha256, size, {}, headers)
        else:
            await self._put_parts(sending)
        await self._verify(sending)

    async def abandon(self, name: str, resume: bytes) -> None:
        """See `ArtifactStore`."""
        if (upload := _known(resume)) is not None:
            answer = await self._ask("DELETE", name, {"uploadId": upload.upload_id})
            if answer.status != _NOT_FOUND:
                self._check(answer)

    async def read(self, name: str, at_most: int) -> bytes:
        """See `ArtifactStore`."""
        answer = self._check(await self._ask("GET", name, {}))
        if len(answer.body) > at_most:
            raise StoreFailed(self.shown, f"the object has more than {at_most} bytes")
        return answer.body

    async def remove(self, name: str) -> None:
        """See `ArtifactStore`."""
        self._check(await self._ask("DELETE", name, {}))

    async def room(self) -> int | None:
        """A bucket has no end."""
        return None

    async def aclose(self) -> None:
        """See `ArtifactStore`."""
        await self._client.aclose()

    async def _put_parts(self, sending: Sending) -> None:
        upload, there = await self._continued(sending)
        etags: list[str] = []
        for number, size in enumerate(sizes(sending.artifact.size, upload.part_bytes), 1):
            part = there.get(number)
            if part is not None and part.size == size:
                await sending.skip(size)
                etags.append(part.etag)
                continue
            digest = await sending.digest(size)
            query = {"partNumber": str(number), "uploadId": upload.upload_id}
            answer = await self._send(sending, digest, size, query, {})
            etag = answer.headers.get("etag", "")
            if not is_etag(etag):
                raise StoreFailed(self.shown, "it took a part, but gave no ETag for it")
            etags.append(etag)
        answer = await self._ask("POST", sending.name, {"uploadId": upload.upload_id}, completion(etags))
        if answer.status == _BAD_REQUEST:  # such as InvalidPart: the parts are not what it said
            await sending.keep(b"")
        self._check(answer)
        if not is_completed(answer.text):  # it may fail after the status was sent
            await sending.keep(b"")
            words = (
                ": ".join(part for part in error_of(answer.text) if part) or "it does not say that there is an object"
            )
            raise StoreFailed(self.shown, line(f"it could not put the parts together: {words}", _MAX_REASON_CHARS))

    async def _continued(self, sending: Sending) -> tuple[OpenUpload, Mapping[int, PartOfObject]]:
        """The upload of an earlier try and the parts that are there, or a new one."""
        earlier = _known(sending.resume)
        if earlier is not None:
            found = await self._parts(sending.name, earlier.upload_id)
            if found is not None:
                return earlier, found
        query = {"uploads": ""}
        answer = self._check(
            await self._ask("POST", sending.name, query, headers={"content-type": content_type(sending.artifact)})
        )
        new = upload_id(answer.text)
        if new is None:
            raise StoreFailed(self.shown, "it began a multipart upload, but gave no id for it", needs_somebody=True)
        upload = OpenUpload(new, part_bytes(sending.artifact.size))
        await sending.keep(msgspec.msgpack.encode(upload))
        return upload, {}

    async def _parts(self, name: str, upload: str) -> Mapping[int, PartOfObject] | None:
        """The parts that an upload has; None if it is gone, or if we may not know."""
        found: dict[int, PartOfObject] = {}
        after = 0
        while True:
            query = {"uploadId": upload, "part-number-marker": str(after)} if after else {"uploadId": upload}
            answer = await self._ask("GET", name, query)
            if 400 <= answer.status < 500 and answer.status not in {408, 429}:  # noqa: PLR2004
                return None
            page = listed(self._check(answer).text)
            found.update(page.parts)
            if page.after <= after:
                return found
            after = page.after

    async def _verify(self, sending: Sending) -> None:
        """Compare the length. No answer, or one that we may not see, changes nothing: the PUT was answered."""
        try:
            answer = await self._ask("HEAD", sending.name, {})
        except StoreFailed:
            return
        length = answer.headers.get("content-length", "")
        if answer.status == _OK and length.isdecimal() and int(length) != sending.artifact.size:
            raise StoreFailed(self.shown, f"it took the object, but holds {length} bytes of {sending.artifact.size}")

    async def _send(
        self, sending: Sending, digest: str, size: int, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> StoreAnswer:
        """PUT the next bytes of an artifact."""
        request = S3Request("PUT", self._host, self._path(sending.name), query, digest)
        signed = self._signed(request, headers)
        answer = await self._client.request("PUT", self._origin + request.target, signed, sending.chunks(size), size)
        return self._check(answer)

    async def _ask(
        self,
        method: str,
        name: str,
        query: Mapping[str, str],
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> StoreAnswer:
        digest = hashlib.sha256(body).hexdigest()
        request = S3Request(method, self._host, self._path(name), query, digest)
        return await self._client.request(
            method, self._origin + request.target, self._signed(request, headers or {}), body
        )

    def _signed(self, request: S3Request, headers: Mapping[str, str]) -> dict[str, str]:
        return signed_headers(request, headers, self._key(), self._region, self._now() + self._skew)

    def _path(self, name: str) -> str:
        return encoded(f"{self._root}/{self._prefix}{name}", is_path=True)

    def _key(self) -> AccessKey:
        try:
            return access_key(Path(self._key_file).read_text("utf-8"))
        except (OSError, ValueError) as exc:
            reason = f"artifacts.access_key_file {self._key_file}: {why_unusable(exc)}"
            raise StoreFailed(self.shown, reason, needs_somebody=True) from exc

    def _check(self, answer: StoreAnswer) -> StoreAnswer:
        """The answer, if it is a success.

        Raises:
            StoreError: it is not.
        """
        if is_success(answer.status):
            return answer
        code, message = error_of(answer.text)
        if code == _TOO_LARGE:
            raise StoreRefused(self.shown, "it takes no object of this size (EntityTooLarge)")
        theirs = http_instant(answer.headers.get("date", "")) if code == _SKEWED else None
        if theirs is not None and theirs.year <= _LAST_YEAR:
            self._skew = theirs - self._now()
            raise StoreFailed(self.shown, "this machine's clock is wrong; from now on requests go by the store's")
        words = line(": ".join(part for part in (code, message) if part), _MAX_REASON_CHARS)
        error: StoreError | None = failure_of(self.shown, answer.status, words, answer.retry_after_s)
        assert error is not None  # noqa: S101  it is no success
        raise error


def _known(resume: bytes) -> OpenUpload | None:
    """What was kept of an upload; None for nothing, or for what another version kept."""
    try:
        return _decode(resume) if resume else None
    except msgspec.MsgspecError:
        return None
