"""Files of the state directory that this user may not open, usually root's. The agent starts all the same.

They are put aside, and the log names the command that repairs them. Triggers in them count as exported, not as lost: a
later start imports them once the files can be opened (`mended`).
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.errors import StorageFailed
from edgeagent.outbox.files import Filesystem, may_not_open, may_not_read, put_aside, rename
from edgeagent.outbox.owner import user_name
from edgeagent.outbox.records import LOGS
from edgeagent.outbox.segment import number_of

if TYPE_CHECKING:
    from edgeagent.outbox.overlay import Overlay

ASIDE = "unreadable"
_AGENT_ID = "agent-id"
_LEDGER = ("ledger.db", "ledger.db-wal", "ledger.db-shm")
_FILES = (_AGENT_ID, "local-session", "requests", "outbox/cursor", "outbox/recent", "outbox/firings", "outbox/rates")
_DIRECTORIES = ("outbox", *(f"outbox/{name}" for name in LOGS))
# An empty file named by this prefix and a log's end seq at the time when a segment of it was imported.
BELOW = "below-"
SEGMENT_NAME_CHARS = 24  # a suffix after these distinguishes it from another file of the same name

_log = logging.getLogger(__name__)


def put_unreadable_aside(state: Path) -> None:
    """Put aside the files that cannot be opened in a state directory that the caller owns; log them and earlier ones.

    Raises:
        StorageFailed: the disk refuses.
    """
    for path in list(files_aside(state)):
        if may_not_open(path):
            _report(path, path, state)
        elif path.name.startswith(_AGENT_ID):  # the agent's id: the one used meanwhile gives way
            rename(path, state / _AGENT_ID)
    for path in (state / name for name in _DIRECTORIES):
        if os.path.isdir(path) and may_not_open(path):  # noqa: PTH112  as below
            _report(path, put_aside(path, path.with_name(f"{path.name}.{ASIDE}")), state)
    names = [*_FILES, *(f"outbox/{log}/{name}" for log in LOGS for name in _segments(state / "outbox" / log))]
    if any(may_not_open(state / name) for name in _LEDGER):
        names += [name for name in _LEDGER if os.path.lexists(state / name)]
    for path in (state / name for name in names):
        if path.name in _LEDGER or may_not_open(path):
            _report(path, put_aside(path, state / ASIDE / path.relative_to(state)), state)


def hide_unreadable(state: Path, overlay: Overlay, *, tell: bool = False) -> Overlay:
    """Like `put_unreadable_aside`, in memory, for a disk that can only be read; returns the overlay.

    `tell`: log each such file.
    """
    directories = [state / name for name in _DIRECTORIES]
    closed = [path for path in directories if os.path.isdir(path) and may_not_read(path)]  # noqa: PTH112  as below
    names = [*_FILES, *(f"outbox/{log}/{name}" for log in LOGS for name in _segments(state / "outbox" / log))]
    for path in (*closed, *(path for path in (state / name for name in names) if may_not_read(path))):
        aside = path.with_name(f"{path.name}.{ASIDE}") if path in closed else state / ASIDE / path.relative_to(state)
        overlay.hide(path, aside / path.name if path in closed else aside)
        if tell:
            _log.error(
                "%s may not be read by %s: its content is not forwarded, and not lost",
                path,
                user_name(os.geteuid()),
                extra={"event": "unreadable_file", "path": str(path)},
            )
    return overlay


def is_aside(filesystem: Filesystem, outbox: Path, log: str, seq: int) -> bool:
    """Whether segments of a log are put aside, or were when it ended after `seq`: what it misses is then not lost."""
    for name in _names_aside(filesystem, outbox, log):
        below = name.removeprefix(BELOW)
        if below == name or (below.isdecimal() and seq < int(below)):
            return True
    return False


def newest_is_aside(filesystem: Filesystem, outbox: Path, log: str, number: int) -> bool:
    """Whether the segment of a log with this number, or a later one, is put aside."""
    for name in _names_aside(filesystem, outbox, log):
        found = number_of(name[:SEGMENT_NAME_CHARS])
        if not name.startswith(BELOW) and (found is None or found >= number):
            return True
    return False


def _names_aside(filesystem: Filesystem, outbox: Path, log: str) -> Iterator[str]:
    """The names of a log's files put aside; the directory's name if its content cannot be listed."""
    for parent in (outbox.parent / ASIDE / outbox.name / log, outbox / f"{log}.{ASIDE}"):
        try:
            yield from filesystem.list(parent) if filesystem.exists(parent) else []
        except StorageFailed:  # it cannot be opened itself
            yield log


def files_aside(state: Path) -> Iterator[Path]:
    """Every file that is put aside, and every directory there that cannot be opened."""
    roots = [state / ASIDE, state / f"outbox.{ASIDE}", *(state / "outbox" / f"{log}.{ASIDE}" for log in LOGS)]
    for root in roots:
        if os.path.isdir(root) and may_not_open(root):  # noqa: PTH112  Path's raises in what is closed to us
            yield root
        for parent, directories, names in os.walk(root):
            below = Path(parent)
            yield from (below / name for name in sorted(directories) if may_not_open(below / name))
            yield from (below / name for name in sorted(names))


def anything_aside(state: Path) -> bool:
    """Whether records are in files that are put aside, and may come back."""
    return any(not path.name.startswith(BELOW) for path in files_aside(state))


def _report(path: Path, aside: Path, state: Path) -> None:
    found, owner = aside.lstat(), user_name(state.stat().st_uid)
    _log.error(
        "%s cannot be opened (it belongs to %s, mode %04o): nothing in it is lost. It is put aside as %s, and restored "
        "at the first start after `chown -R %s: %s`",
        path,
        user_name(found.st_uid),
        stat.S_IMODE(found.st_mode),
        aside,
        owner,
        state,
        extra={"event": "unreadable_file", "path": str(path), "aside": str(aside)},
    )


def _segments(directory: Path) -> list[str]:
    try:
        return [name for name in sorted(os.listdir(directory)) if number_of(name) is not None]  # noqa: PTH208  names
    except OSError:  # the directory does not exist yet, or the error is reported where it is used
        return []
