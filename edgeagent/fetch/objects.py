"""Artifacts in an object store: S3 and what speaks as it, Google's and Azure's.

The library takes credentials, region and endpoint from the environment, as other programs for these stores do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import from_url

from edgeagent.common.foreign import line
from edgeagent.errors import FetchRefused, SourceUnavailable, WrongContent
from edgeagent.fetch.allowed import SourceUrl
from edgeagent.fetch.source import OpenedSource

if TYPE_CHECKING:
    from obstore import GetResult

_TIMEOUT_S = 30
_PART_BYTES = 1 << 16  # more would be lost when the connection breaks
_MAX_REASON_CHARS = 300


class ObjectSource:
    """An object of a bucket."""

    def __init__(self, url: SourceUrl, size: int) -> None:
        """Nothing is connected yet.

        Args:
            url: the claim's.
            size: what the claim says, in bytes.

        Raises:
            FetchRefused: the environment does not say enough.
        """
        self._name = url.path
        self._size = size
        self.shown = url.shown
        wait = timedelta(seconds=_TIMEOUT_S)
        try:
            # The endpoint is the environment's, and it says whether there is TLS. Trying again is the caller's, which
            # goes on where it was.
            self._store = from_url(
                f"{url.scheme}://{url.host}",
                client_options={"allow_http": True, "connect_timeout": wait, "read_timeout": wait},
                retry_config={"max_retries": 0},
            )
        except BaseError as exc:
            raise FetchRefused(self.shown, _reason(exc)) from exc

    @contextmanager
    def open(self, offset: int) -> Iterator[OpenedSource]:
        """Ask for it; see `Source`."""
        try:
            found = obstore.get(self._store, self._name, options={"range": {"offset": offset}} if offset else {})
        except (FileNotFoundError, NotFoundError) as exc:  # the library raises the first one
            raise FetchRefused(self.shown, "nothing is there") from exc
        except (PermissionDeniedError, UnauthenticatedError) as exc:
            raise FetchRefused(self.shown, f"the store refuses access ({_reason(exc)})") from exc
        except BaseError as exc:
            raise SourceUnavailable(self.shown, _reason(exc)) from exc
        if found.meta["size"] != self._size:
            raise WrongContent(self.shown, f"it has {found.meta['size']} bytes, the claim says {self._size}")
        yield OpenedSource(found.range[0], self._parts(found))

    def _parts(self, found: GetResult) -> Iterator[bytes]:
        try:
            yield from map(bytes, found.stream(_PART_BYTES))
        except BaseError as exc:
            raise SourceUnavailable(self.shown, _reason(exc)) from exc


def _reason(exc: BaseError) -> str:
    """The library's own words, without its picture of the error's inside."""
    return line(str(exc).partition("\n\nDebug source")[0], _MAX_REASON_CHARS)
