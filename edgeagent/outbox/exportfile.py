"""The export file on disk: written under a temporary name, synced, and only then renamed; read line by line.

Only one trigger at a time is in memory. The format of the lines is in `ports.transfer`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from edgeagent.errors import CommandFailed, MessageError, StorageFailed
from edgeagent.outbox.files import create_anew, keep_as
from edgeagent.ports.transfer import MAX_LINE_BYTES, Checker, ExportedData, ExportedTrigger, Lines

_FILE_MODE = 0o600  # it holds the devices' data, wherever the operator puts it


@contextmanager
def _translated(operation: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StorageFailed(operation, str(path), exc.strerror or str(exc)) from exc


class ExportWriter:
    """Writes a new export file. Unless `finish` returned, nothing of it is left; an existing file is never replaced."""

    def __init__(self, path: Path, agent: str, created: str, *, with_data: bool = False) -> None:
        """Begin the file; `created` is an RFC 3339 time. `with_data`: it may hold the data of artifacts.

        Raises:
            CommandFailed: a file of this name exists, or it cannot be created.
            StorageFailed: the disk refuses.
        """
        self._path = path
        self._temporary = path.with_name(path.name + ".part")
        self._lines = Lines()
        self._refuse_existing()
        try:
            descriptor = create_anew(self._temporary, _FILE_MODE)
        except OSError as exc:
            raise CommandFailed(f"{path} cannot be written: {exc.strerror}") from exc
        self._stream = os.fdopen(descriptor, "wb")
        self._write(self._lines.header(agent, created, with_data=with_data))

    @property
    def triggers(self) -> int:
        """How many triggers were added."""
        return self._lines.triggers

    def add(self, trigger: ExportedTrigger) -> None:
        """Write one trigger.

        Raises:
            StorageFailed: the disk refuses.
        """
        self._write(self._lines.trigger(trigger))

    def add_data(self, piece: ExportedData) -> None:
        """Write a piece of the data of triggers that come later.

        Raises:
            StorageFailed: the disk refuses.
        """
        self._write(self._lines.data(piece))

    def finish(self) -> None:
        """Write the last line, sync, and give the file its name. When it returns, both survive a power cut.

        Raises:
            CommandFailed: a file of this name exists by now.
            StorageFailed: the disk refuses.
        """
        self._write(self._lines.end())
        self._refuse_existing()
        keep_as(self._stream, self._temporary, self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """See `close`."""
        self.close()

    def close(self) -> None:
        """Close the file, and remove it unless it was finished."""
        with suppress(OSError):
            self._stream.close()
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    def _refuse_existing(self) -> None:
        if os.path.lexists(self._path):
            raise CommandFailed(f"{self._path}: exists; an export is always a new file")

    def _write(self, line: bytes) -> None:
        with _translated("write", self._temporary):
            self._stream.write(line)


class ExportReader:
    """Reads an export file, from its beginning on each call of `triggers`. A context manager."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            CommandFailed: it cannot be opened.
        """
        self._path = path
        self._checker = Checker()
        self.read_bytes = 0
        try:
            self._stream = path.open("rb")
        except OSError as exc:
            raise CommandFailed(f"{path} cannot be read: {exc.strerror}") from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the file."""
        self._stream.close()

    @property
    def digest(self) -> str:
        """The file's digest; valid once all of the file was read."""
        return self._checker.digest

    @property
    def size_bytes(self) -> int:
        """The file's size."""
        return os.fstat(self._stream.fileno()).st_size

    def triggers(self) -> Iterator[ExportedTrigger]:
        """Every trigger in the file; see `items`."""
        return (item for item in self.items() if isinstance(item, ExportedTrigger))

    def items(self) -> Iterator[ExportedTrigger | ExportedData]:
        """Every trigger in the file, and the data of artifacts. Only after the last one it is known to be complete.

        Raises:
            CommandFailed: the file is cut off, altered, or no export file; names the line and the reason.
            StorageFailed: it cannot be read.
        """
        self._checker = Checker()
        self.read_bytes = 0
        with _translated("read", self._path):
            self._stream.seek(0)
        while line := self._line():
            self.read_bytes += len(line)
            with self._named():
                item = self._checker.take(line)
            if item is not None:
                yield item
        with self._named():
            self._checker.finish()

    def _line(self) -> bytes:
        with _translated("read", self._path):
            return self._stream.readline(MAX_LINE_BYTES)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except MessageError as exc:
            raise CommandFailed(f"{self._path}: {exc.member}: {exc.reason}; nothing of it is imported") from exc
