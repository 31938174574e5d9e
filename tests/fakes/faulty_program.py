"""The agent and the dispatcher as processes that a test can break: `python -m tests.fakes.faulty_program run -c FILE`.

As `edgeagent COMMAND`, with faults that begin when a file of their name appears beside the configuration:

* `disk-memory`, `disk-exit`: the next sync of events raises MemoryError, SystemExit
* `disk-hang`: it never returns
* `ledger-memory`: the next use of the ledger raises MemoryError
* `names-hang`, which must be there at the start: looking a name up never returns
* `patient`, which must be there at the start: the deadline of the process's end is ten minutes away

What hangs says so by the file `it-hangs`.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from edgeagent.__main__ import main
from edgeagent.agent import agent
from edgeagent.host import ending
from edgeagent.storage.database import DatabaseFile
from tests.fakes.faulty_filesystem import FaultyFilesystem


class _Filesystem(FaultyFilesystem):
    """The real disk, until a file says otherwise."""

    def __init__(self, faults: Path) -> None:
        super().__init__()
        self._where = faults

    def operation(self, name: str, path: Path) -> None:
        """Fail in the next sync of events as the files beside the configuration say."""
        if name != "sync" or path.parent.name != "normal":
            return
        if (self._where / "disk-memory").exists():
            raise MemoryError
        if (self._where / "disk-exit").exists():
            sys.exit(3)
        if (self._where / "disk-hang").exists():
            _hang(self._where)


def _hang(faults: Path) -> NoReturn:
    (faults / "it-hangs").touch()
    threading.Event().wait()
    raise AssertionError


def _break_ledger(faults: Path) -> None:
    use = DatabaseFile.use

    def broken(database: DatabaseFile, work: Callable[[], Any]) -> Any:
        if (faults / "ledger-memory").exists():
            raise MemoryError
        return use(database, work)

    setattr(DatabaseFile, "use", broken)  # noqa: B010  a method


def run(command: str, path: Path) -> int:
    """Run one."""
    faults = path.parent
    if (faults / "patient").exists():
        ending.Deadline.__init__.__defaults__ = (600.0,)
    if (faults / "names-hang").exists():
        socket.getaddrinfo = lambda *_, **__: _hang(faults)
    setattr(agent, "OsFilesystem", lambda: _Filesystem(faults))  # noqa: B010  the composition root's choice of a disk
    _break_ledger(faults)
    return main([command, "-c", str(path)])


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], Path(sys.argv[3])))
