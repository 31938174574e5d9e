"""`edgeagent` as another user than the one who runs the tests, if that is root: `python -m tests.fakes.as_user run …`.

Everything is imported before, because that user may not be able to read the interpreter's directories. Where the tests
do not run as root it is the same user, and what root has made is stood in for by files that nobody may open.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534
IS_ROOT = os.getuid() == 0


def give(path: Path) -> None:
    """Let the other user own everything in a directory, as `chown -R` and `chmod -R u+rwX` do."""
    for each in (path, *path.rglob("*")):
        _mend(each)
    for each in path.rglob("*"):  # in what could not be listed before
        _mend(each)


def take(path: Path) -> None:
    """Leave this as root leaves it: the other user may not open it."""
    if IS_ROOT:
        os.chown(path, 0, 0)
        path.chmod(0o700 if path.is_dir() else 0o600)
    else:
        path.chmod(0)


@contextmanager
def another_user() -> Iterator[None]:
    """Inside, this process may do what the other user may."""
    if IS_ROOT:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(os.getuid())


def _mend(path: Path) -> None:
    if path.is_symlink():
        return
    path.chmod(path.stat().st_mode | (0o700 if path.is_dir() else 0o600))
    if IS_ROOT:
        os.chown(path, NOBODY, NOBODY)


if __name__ == "__main__":
    from edgeagent.__main__ import main
    from edgeagent.outbox.owner import load_everything

    load_everything()
    if IS_ROOT:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    sys.exit(main())
