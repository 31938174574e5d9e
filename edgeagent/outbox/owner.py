"""Acting as the owner of the state directory, for commands that run as root.

What root makes there its owner cannot read, and the agent of a service is that owner. Only the effective ids change:
what an operator named (a file to export to, say) is opened as the operator, by `as_ourselves`.
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

# What the standard library loads only when it is used.
_LATE = ("encodings.ascii", "encodings.idna", "encodings.latin_1", "encodings.utf_8_sig", "concurrent.futures.thread")

_log = logging.getLogger(__name__)


def act_as_owner(directory: Path) -> None:
    """From now on act as the owner of this directory, if we are root and it is somebody else's.

    Nothing happens where the directory is not there yet. All threads are meant, so this comes before any is begun.

    Raises:
        CommandFailed: root may not change its ids here.
    """
    try:
        found = directory.stat()
    except OSError:  # told by who uses it
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
    """Load what is else loaded when it is used: from now on the program's own files may not be readable."""
    names = [found.name for found in pkgutil.walk_packages(edgeagent.__path__, "edgeagent.")]
    for name in (*names, *_LATE):
        if not name.endswith("__main__"):
            with suppress(ImportError):  # an extra that is not installed: nobody will use it
                import_module(name)


def _is_open_to_others(path: Path) -> bool:
    return all(
        each.stat().st_mode & (stat.S_IXOTH if each.is_dir() else stat.S_IROTH) for each in (path, *path.parents)
    )


def user_name(uid: int) -> str:
    """The name of a user, or the number of one that has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def remedy(directory: Path) -> str:
    """What to do about a directory that this user may not use: a sentence for an error."""
    me, owner = user_name(os.geteuid()), user_name(directory.stat().st_uid)
    return f"it belongs to {owner}, and this runs as {me}: run it as {owner}, or `chown -R {me}: {directory}`"


@contextmanager
def as_ourselves() -> Iterator[None]:
    """Act as who began the process, for what an operator named."""
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
    """As `act_as_owner`, for a while.

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
