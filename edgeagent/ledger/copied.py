"""A copy of a stopped agent's ledger, to read it without changing anything in its directory."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from edgeagent.errors import StorageFailed
from edgeagent.ledger.database import Database

_log = logging.getLogger(__name__)

# The database, and the changes that are not in it yet, as SQLite names them.
_LEDGER_FILES = ("ledger.db", "ledger.db-wal")


@contextmanager
def copied_ledger(directory: Path) -> Iterator[Database]:
    """The ledger of a state directory; an empty one if there is none, or if it cannot be read, which is logged.

    SQLite would write even to read a ledger that was not closed, so a copy is read.

    Raises:
        StorageFailed: the disk refuses.
    """
    with tempfile.TemporaryDirectory(prefix="edgeagent-") as copies:
        for name in _LEDGER_FILES:
            try:
                if (directory / name).is_file():
                    shutil.copyfile(directory / name, Path(copies) / name)
            except OSError as exc:
                raise StorageFailed("copy", str(directory / name), exc.strerror or str(exc)) from exc
        ledger = Database(Path(copies) / _LEDGER_FILES[0], begins_anew=False)
        try:
            ledger.use(ledger.open)
        except StorageFailed as exc:
            _log.warning(
                "%s cannot be read, and what it holds is not shown: %s",
                directory / _LEDGER_FILES[0],
                exc.reason,
                extra={"event": "ledger_unreadable"},
            )
            ledger = Database(Path(copies) / "empty.db")
        with closing(ledger):
            yield ledger
