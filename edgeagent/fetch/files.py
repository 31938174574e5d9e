"""Artifacts in a file: on a mounted volume, such as a claim of Kubernetes or NFS."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgeagent.errors import FetchRefused, SourceUnavailable, StoreError, WrongContent
from edgeagent.fetch.allowed import SourceUrl
from edgeagent.fetch.source import OpenedSource

_PART_BYTES = 1 << 20


class FileSource:
    """A file below one of some directories, wherever links in its path lead."""

    def __init__(self, url: SourceUrl, directories: Sequence[str], size: int) -> None:
        """`size`: what the claim says, in bytes."""
        self._path = Path("/", *url.segments)
        self._directories = directories
        self._size = size
        self.shown = url.shown

    @contextmanager
    def open(self, offset: int) -> Iterator[OpenedSource]:
        """Open it; see `Source`."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as exc:
            raise self._failure(exc) from exc
        try:
            self._check(descriptor)
            yield OpenedSource(offset, self._parts(descriptor, offset))
        finally:
            os.close(descriptor)

    def _check(self, descriptor: int) -> None:
        """The checks are of what was opened, so that nobody can exchange it in between."""
        at = Path(f"/proc/self/fd/{descriptor}").readlink()
        if not any(at.is_relative_to(Path(directory).resolve()) for directory in self._directories):
            raise FetchRefused(self.shown, "a link in its path leads out of what --allow names")
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise FetchRefused(self.shown, "it is no ordinary file")
        if state.st_size != self._size:
            raise WrongContent(self.shown, f"it has {state.st_size} bytes, the claim says {self._size}")

    def _parts(self, descriptor: int, offset: int) -> Iterator[bytes]:
        try:
            while part := os.pread(descriptor, _PART_BYTES, offset):
                offset += len(part)
                yield part
        except OSError as exc:
            raise self._failure(exc) from exc

    def _failure(self, exc: OSError) -> StoreError:
        if isinstance(exc, FileNotFoundError):
            return FetchRefused(self.shown, "there is no such file; is the volume mounted here?")
        if isinstance(exc, PermissionError):
            return FetchRefused(self.shown, "this user may not read it")
        return SourceUnavailable(self.shown, exc.strerror or str(exc))  # a network file system may come back
