"""The interface of a store: where artifacts are put, whatever it is."""

from __future__ import annotations

from typing import Protocol

from edgeagent.artifacts.sending import Sending


class ArtifactStore(Protocol):
    """Puts objects by their names; it repeats nothing by itself.

    Attributes:
        shown: the store for logs and people, without anything secret.
    """

    shown: str

    def url(self, name: str) -> str:
        """Where readers find the object of this name."""

    async def begin(self, memory: bytes) -> bytes:
        """Before the first upload: see whether this is the store that it was.

        Args:
            memory: what it returned last, in an earlier process; b"" if that is not known.

        Raises:
            StoreFailed: it is not.
        """

    async def put(self, sending: Sending) -> None:
        """Put an artifact; when this returns, readers find the whole object, and nothing of it is lost in a crash.

        Cancelling it, and whatever it raises, leaves the object as it was before.

        Raises:
            StoreError: it is not there: `StoreFailed`, `StoreRefused` or `UploadPaused`.
        """

    async def abandon(self, name: str, resume: bytes) -> None:
        """Remove what a try that will not be continued left behind, of which `Sending.keep` kept this.

        Raises:
            StoreError: it stays there.
        """

    async def read(self, name: str, at_most: int) -> bytes:
        """The object of this name, for `doctor`.

        Raises:
            StoreError: it cannot be read, or has more than `at_most` bytes.
        """

    async def remove(self, name: str) -> None:
        """Remove an object, for `doctor`.

        Raises:
            StoreError: it cannot be removed.
        """

    async def room(self) -> int | None:
        """How many more bytes fit; None if that is not known."""

    async def aclose(self) -> None:
        """Close what is open."""
