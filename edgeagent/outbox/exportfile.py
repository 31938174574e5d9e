"""The export file on a disk: written beside its name, synced and only then named; read line by line.

Only one trigger at a time is in memory. The lines are those of `ports.transfer`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from edgeagent.errors import CommandFailed, MessageError, StorageFailed
from edgeagent.outbox.files import create_anew, keep_as
from edgeagent.ports.transfer import MAX_LINE_BYTES, Checker, ExportedTrigger, Lines

_FILE_MODE = 0o600  # the data of devices, wherever the operator puts it


@contextmanager
def _translated(operation: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StorageFailed(operation, str(path), exc.strerror or str(exc)) from exc


class ExportWriter:
    """A new export file. Without `finish` nothing of it is left."""

    def __init__(self, path: Path, agent: str, created: str) -> None:
        """Begin it; `created` is RFC 3339.

        Raises:
            CommandFailed: there is such a file.
            StorageFailed: it cannot be made.
        """
        self._path = path
        self._temporary = path.with_name(path.name + ".part")
        self._lines = Lines()
        self._refuse_existing()
        with _translated("create", self._temporary):
            descriptor = create_anew(self._temporary, _FILE_MODE)
        self._stream = os.fdopen(descriptor, "wb")
        self._write(self._lines.header(agent, created))

    @property
    def triggers(self) -> int:
        """How many are in it."""
        return self._lines.triggers

    def add(self, trigger: ExportedTrigger) -> None:
        """Write one trigger.

        Raises:
            StorageFailed: the disk refuses.
        """
        self._write(self._lines.trigger(trigger))

    def finish(self) -> None:
        """Write the end, sync, and give it its name. When it returns, file and name survive a power cut.

        Raises:
            CommandFailed: there is such a file by now.
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
        """Remove what was not finished."""
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
    """An export file that is read, from its beginning each time. A context manager."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            StorageFailed: it cannot be.
        """
        self._path = path
        self._checker = Checker()
        self.read_bytes = 0
        with _translated("open", path):
            self._stream = path.open("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Let go of the file."""
        self._stream.close()

    @property
    def digest(self) -> str:
        """The file's digest, once all of it was read."""
        return self._checker.digest

    @property
    def size_bytes(self) -> int:
        """How large it is."""
        return os.fstat(self._stream.fileno()).st_size

    def triggers(self) -> Iterator[ExportedTrigger]:
        """Every trigger in it. Only when the last one was taken is it known that the file is whole.

        Raises:
            CommandFailed: it is cut off or altered, or no export; names the line and the reason.
            StorageFailed: it cannot be read.
        """
        self._checker = Checker()
        self.read_bytes = 0
        with _translated("read", self._path):
            self._stream.seek(0)
        while line := self._line():
            self.read_bytes += len(line)
            with self._named():
                trigger = self._checker.take(line)
            if trigger is not None:
                yield trigger
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
