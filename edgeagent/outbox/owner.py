"""Acting as the owner of the state directory, for commands that run as root.

The agent's service user owns that directory and cannot read files that root creates there. Only the effective ids
change: a file that the operator named, for an export say, is opened as the operator, by `as_ourselves`.
"""

from __future__ import annotations

import logging
import os
import pkgutil
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path

import edgeagent
from edgeagent.errors import CommandFailed

# Modules that the standard library imports only on first use.
_LATE = ("encodings.ascii", "encodings.idna", "encodings.latin_1", "encodings.utf_8_sig", "concurrent.futures.thread")

_log = logging.getLogger(__name__)


def act_as_owner(directory: Path) -> None:
    """Act as the owner of this directory from now on, if this is root and the directory belongs to another user.

    Does nothing if the directory does not exist yet. Call this before any thread is started: it applies to all threads.

    Raises:
        CommandFailed: root may not change its ids here.
    """
    try:
        found = directory.stat()
    except OSError:  # reported where the directory is used
        return
    if os.geteuid() != 0 or found.st_uid == 0:
        return
    name = user_name(found.st_uid)
    if not _is_open_to_others(Path(os.__file__)) or not _is_open_to_others(Path(edgeagent.__file__)):
        load_everything()
    try:
        os.setgroups([found.st_gid] if name.isdecimal() else os.getgrouplist(name, found.st_gid))
        os.setegid(found.st_gid)
        os.seteuid(found.st_uid)
    except OSError as exc:
        raise CommandFailed(f"{directory} belongs to {name}: run this as that user ({exc.strerror})") from exc
    _log.info("root acts as %s, the owner of %s", name, directory, extra={"event": "acts_as_owner", "user": name})


def load_everything() -> None:
    """Import every module now: later the program's own files may not be readable."""
    names = [found.name for found in pkgutil.walk_packages(edgeagent.__path__, "edgeagent.")]
    for name in (*names, *_LATE):
        if not name.endswith("__main__"):
            with suppress(ImportError):  # an extra that is not installed will not be used
                import_module(name)


def _is_open_to_others(path: Path) -> bool:
    return all(
        each.stat().st_mode & (stat.S_IXOTH if each.is_dir() else stat.S_IROTH) for each in (path, *path.parents)
    )


def user_name(uid: int) -> str:
    """The name of a user, or the number if it has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def remedy(directory: Path) -> str:
    """What to do about a directory that this user may not use: a clause for an error message."""
    me, owner = user_name(os.geteuid()), user_name(directory.stat().st_uid)
    return f"it belongs to {owner}, and this runs as {me}: run it as {owner}, or `chown -R {me}: {directory}`"


@contextmanager
def as_ourselves() -> Iterator[None]:
    """Act as the user who started the process, for files that the operator named."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == os.getuid():
        yield
        return
    os.seteuid(os.getuid())
    os.setegid(os.getgid())
    try:
        yield
    finally:
        os.setegid(gid)
        os.seteuid(uid)


@contextmanager
def acting_as_owner(directory: Path) -> Iterator[None]:
    """Like `act_as_owner`, until the context ends.

    Raises:
        CommandFailed: root may not change its ids here.
    """
    uid, gid, groups = os.geteuid(), os.getegid(), os.getgroups()
    act_as_owner(directory)
    try:
        yield
    finally:
        if os.geteuid() != uid:
            os.seteuid(uid)
            os.setegid(gid)
            os.setgroups(groups)
