"""A container of Azure Blob Storage, over the library obstore (the extra `azure`).

A try that was broken off begins anew: the library tells nobody which blocks it sent, and the service forgets those
that no blob was made of.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import obstore
from obstore import exceptions
from obstore.store import AzureStore as Container

from edgeagent.artifacts.places import joined
from edgeagent.artifacts.sending import Sending
from edgeagent.artifacts.sigv4 import access_key
from edgeagent.common.foreign import line
from edgeagent.config.secretfile import why_unusable
from edgeagent.config.tables import ArtifactsTable
from edgeagent.errors import StoreError, StoreFailed, StoreRefused

# A blob has at most 50,000 blocks; what the library holds in memory is a few of them.
_BLOCK_BYTES: Final = 4 << 20
_MAX_BLOCKS: Final = 50_000
_AT_A_TIME: Final = 2
_TIMEOUT: Final = timedelta(seconds=120)
_TOO_LARGE: Final = "status code: 413"
_MAX_REASON_CHARS = 200
# For what is not there it raises Python's own error, which is none of its family.
_FAILURES: Final = (exceptions.BaseError, FileNotFoundError)


class AzureStore:
    """A container. See `ArtifactStore`."""

    def __init__(self, table: ArtifactsTable) -> None:
        """`table`: without problems."""
        parts = urlsplit(table.store)
        self.shown = table.store
        self._container = parts.netloc
        self._prefix = unquote(parts.path).strip("/")
        self._key_file = table.access_key_file
        self._endpoint = table.endpoint
        self._public = table.public_url or table.store

    def url(self, name: str) -> str:
        """See `ArtifactStore`."""
        return joined(self._public, name)

    async def begin(self, memory: bytes) -> bytes:
        """A container's name is its identity."""
        return memory

    async def put(self, sending: Sending) -> None:
        """See `ArtifactStore`."""
        size = sending.artifact.size
        pieces = _Pieces(sending)
        try:
            await obstore.put_async(
                self._store(),
                sending.name,
                pieces,
                attributes={"Content-Type": sending.artifact.content_type or "application/octet-stream"},
                use_multipart=True,
                chunk_size=max(_BLOCK_BYTES, -(-size // _MAX_BLOCKS)),
                max_concurrency=_AT_A_TIME,
            )
        except _FAILURES as exc:
            raise pieces.error or self._failure(exc) from exc
        found = (await self._head(sending.name))["size"]
        if found != size:
            raise StoreFailed(self.shown, f"it took the object, but holds {found} bytes of {size}")

    async def abandon(self, name: str, resume: bytes) -> None:
        """The service forgets by itself what no blob was made of."""

    async def read(self, name: str, at_most: int) -> bytes:
        """See `ArtifactStore`."""
        if (await self._head(name))["size"] > at_most:
            raise StoreFailed(self.shown, f"the object has more than {at_most} bytes")
        try:
            answer = await obstore.get_async(self._store(), name)
            return bytes(await answer.bytes_async())
        except _FAILURES as exc:
            raise self._failure(exc) from exc

    async def remove(self, name: str) -> None:
        """See `ArtifactStore`."""
        try:
            await obstore.delete_async(self._store(), name)
        except _FAILURES as exc:
            raise self._failure(exc) from exc

    async def room(self) -> int | None:
        """A container has no end."""
        return None

    async def aclose(self) -> None:
        """The library closes its connections by itself."""

    async def _head(self, name: str) -> obstore.ObjectMeta:
        try:
            return await obstore.head_async(self._store(), name)
        except _FAILURES as exc:
            raise self._failure(exc) from exc

    def _store(self) -> Container:
        """Made for each use: the key may have been exchanged."""
        try:
            key = access_key(Path(self._key_file).read_text("utf-8"))
        except (OSError, ValueError) as exc:
            reason = f"artifacts.access_key_file {self._key_file}: {why_unusable(exc)}"
            raise StoreFailed(self.shown, reason, needs_somebody=True) from exc
        try:
            return Container(
                self._container,
                prefix=self._prefix or None,
                account_name=key.id,
                access_key=key.secret,
                endpoint=self._endpoint or f"https://{key.id}.blob.core.windows.net",
                client_options={
                    "allow_http": self._endpoint.startswith("http://"),
                    "connect_timeout": timedelta(seconds=10),
                    "timeout": _TIMEOUT,
                },
                retry_config={"max_retries": 0},
            )
        except _FAILURES as exc:
            raise self._failure(exc) from exc

    def _failure(self, exc: exceptions.BaseError | FileNotFoundError) -> StoreError:
        told = str(exc).partition("\n")[0]  # what follows is for the library's authors
        words = line(told, _MAX_REASON_CHARS)
        if _TOO_LARGE in told:
            return StoreRefused(self.shown, f"it takes no object of this size: {words}")
        closed = isinstance(exc, (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError))
        return StoreFailed(self.shown, words, needs_somebody=closed or isinstance(exc, FileNotFoundError))


class _Pieces:
    """The bytes of an artifact for the library, which wraps what is raised here: it is kept as it was."""

    def __init__(self, sending: Sending) -> None:
        self._sending = sending
        self.error: StoreError | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while block := await self._sending.block():
                yield block
        except StoreError as exc:
            self.error = exc
            raise
