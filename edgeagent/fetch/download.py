"""Brings an artifact to a file: what is there already counts, and only what the claim says becomes the file.

The bytes go to `{file}.part`, which a later run continues, in another process too. When it has the claim's size and
hash it is synced and takes the file's name; until then nobody sees anything but what was there before.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from edgeagent.common.backoff import full_jitter
from edgeagent.errors import CommandFailed, SourceUnavailable, StoreError, WrongContent
from edgeagent.fetch.source import Source
from edgeagent.wire.claim import Claim

_READ_BYTES = 1 << 20
# As the umask has it: the container that reads the file may run as another user than the step that fetched it.
_FILE_MODE = 0o666
_BASE_S, _CAP_S = 0.5, 15.0

# Syncs a temporary file and gives it its name: `outbox.files.keep_as`.
Keep = Callable[[BinaryIO, Path, Path], None]


class FetchPatience(NamedTuple):
    """`give_up_s`: how long to go on after the last byte that came."""

    give_up_s: float
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Fetched(NamedTuple):
    """`resumed`: how many bytes an earlier run had left; `was_there`: nothing had to be fetched."""

    resumed: int = 0
    was_there: bool = False


class Download:
    """One artifact on its way to one file. It owns the file's `.part` while it runs."""

    def __init__(
        self,
        claim: Claim,
        source: Source,
        target: Path,
        keep: Keep,
        patience: FetchPatience,
        told: Callable[[int], None],
    ) -> None:
        """Nothing is read yet. `told` is called with how many bytes are there."""
        self._claim = claim
        self._source = source
        self._target = target
        self._part = target.with_name(target.name + ".part")
        self._keep = keep
        self._patience = patience
        self._told = told
        self._hash = hashlib.sha256()
        self._have = 0

    def run(self) -> Fetched:
        """Fetch it.

        Raises:
            StoreError: it is not there, or something else is. What came stays in `.part` if more of it may come.
            CommandFailed: the file cannot be written, or somebody else fetches it at this moment.
            StorageFailed: the disk refuses to keep it.
        """
        try:
            if self._is_there():
                return Fetched(was_there=True)
            with self._locked() as stream:
                try:
                    resumed = self._bring(stream)
                except StoreError as exc:
                    if not self._have or isinstance(exc, WrongContent):
                        self._part.unlink(missing_ok=True)
                    raise
                self._keep(stream, self._part, self._target)
        except OSError as exc:
            raise CommandFailed(f"fetch: {self._target} cannot be written: {exc.strerror or exc}") from exc
        return Fetched(resumed)

    def _bring(self, stream: BinaryIO) -> int:
        """Fill `.part` with what the claim says; returns how much of it was there already."""
        resumed = self._take_up(stream)
        self._complete(stream)
        if resumed and not self._is_right():  # an earlier run left something else
            resumed = 0
            self._start_over(stream)
            self._complete(stream)
        if not self._is_right():
            found = self._hash.hexdigest()
            raise WrongContent(self._source.shown, f"it has the sha256 {found}, the claim says {self._claim.sha256}")
        return resumed

    def _is_there(self) -> bool:
        """Whether the file is what the claim says.

        Raises:
            CommandFailed: there is a device or something else that is no file, which must not be replaced by one.
        """
        try:
            if not stat.S_ISREG(self._target.stat().st_mode):
                raise CommandFailed(f"fetch: {self._target} is there, and is no ordinary file")
            with self._target.open("rb") as stream:
                if os.fstat(stream.fileno()).st_size != self._claim.size:
                    return False
                return hashlib.file_digest(stream, "sha256").hexdigest() == self._claim.sha256
        except FileNotFoundError:
            return False

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """The `.part`, for us alone."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(self._part, flags, _FILE_MODE)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise CommandFailed(f"fetch: {self._part} is there, and is no ordinary file")
        with os.fdopen(descriptor, "r+b", 0) as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise CommandFailed(f"fetch: another process is writing {self._part}") from exc
            yield stream

    def _take_up(self, stream: BinaryIO) -> int:
        """Go on where an earlier run ended; returns how many bytes it left."""
        if os.fstat(stream.fileno()).st_size > self._claim.size:
            self._start_over(stream)
        while part := stream.read(_READ_BYTES):
            self._hash.update(part)
            self._have += len(part)
        return self._have

    def _start_over(self, stream: BinaryIO) -> None:
        stream.truncate(0)
        stream.seek(0)
        self._hash, self._have = hashlib.sha256(), 0

    def _is_right(self) -> bool:
        return self._have == self._claim.size and self._hash.hexdigest() == self._claim.sha256

    def _complete(self, stream: BinaryIO) -> None:
        """Read until all bytes are there; again after a failure, as long as something comes from time to time."""
        failures, progress_s = 0, self._patience.now()
        while self._have < self._claim.size:
            before = self._have
            try:
                self._read(stream)
            except SourceUnavailable:
                now_s = self._patience.now()
                if self._have > before:
                    failures, progress_s = 0, now_s
                if now_s - progress_s >= self._patience.give_up_s:
                    raise
                self._patience.sleep(full_jitter(failures, random.random(), base_s=_BASE_S, cap_s=_CAP_S))  # noqa: S311
                failures += 1

    def _read(self, stream: BinaryIO) -> None:
        size = self._claim.size
        with self._source.open(self._have) as opened:
            if opened.offset != self._have:
                self._start_over(stream)
            for part in opened.parts:
                if self._have + len(part) > size:
                    raise WrongContent(self._source.shown, f"it goes on after the {size} bytes that the claim says")
                written = 0
                while written < len(part):  # a nearly full disk may cut a write short
                    written += stream.write(part[written:])
                self._hash.update(part)
                self._have += len(part)
                self._told(self._have)
        if self._have < size:
            raise SourceUnavailable(self._source.shown, f"it ended after {self._have} of {size} bytes")
