"""The users who may come in with a name and a password: `mqtt.users_file`, read again when it changes.

Comparing a password costs 16 MiB and about 50 ms on purpose (`passwords`). It is done on a thread of its own, one after
the other, so that a flood of logins takes no more memory than one of them, and no time of the loop. Those that wait are
few, in all and of one address; a device beyond them is told that the server is busy, and tries again. A device that was
let in before is known again by a keyed digest in memory, so that a thousand of them come back within a second.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import stat
from collections import Counter
from pathlib import Path
from typing import Final

from edgeagent.errors import ConfigError, Problem
from edgeagent.listener.passwords import MAX_PASSWORD_BYTES, SALT_BYTES, Secret, nobodys, read_users
from edgeagent.listener.reasons import Reason
from edgeagent.ports.threads import JobThread

MAX_WAITING: Final = 64
MAX_WAITING_OF_ONE: Final = 8
_MAX_FILE_BYTES = 4 << 20
_Stamp = tuple[int, int, int]

_log = logging.getLogger(__name__)


class Users:
    """Owns the users of the file as it was read last, and a keyed digest of each password that was right.

    All methods are called in the loop's thread. Promises that a file which cannot be used changes nothing, and that
    whoever is not in the file any more, or has another password there, is not let in by an earlier login. Must never
    compare a password in the loop's thread, or keep one.

    Attributes:
        path: the file.
    """

    def __init__(self, path: str, thread: JobThread) -> None:
        """Read the file.

        Raises:
            ConfigError: it cannot be read, or something in it is wrong; each line is named.
        """
        self.path = path
        self._thread = thread
        self._nobody = nobodys(secrets.token_bytes(SALT_BYTES))
        self._key = secrets.token_bytes(32)
        self._known: dict[str, tuple[Secret, bytes]] = {}  # of each user who was let in
        self._waiting: Counter[str] = Counter()
        self._failing = False
        try:
            self._stamp = self._read_stamp()
            self._users = self._read()
        except (OSError, ValueError) as exc:
            raise ConfigError(path, [Problem("", f"cannot be used as mqtt.users_file: {_reason(exc)}")]) from exc

    async def check(self, name: str, password: bytes, address: str) -> Reason:
        """Whether this is a user's password: SUCCESS, BAD_USER_NAME_OR_PASSWORD, or SERVER_BUSY for now.

        `address`: the host that asks, of which only a few wait at a time.
        """
        self.refresh()
        if len(password) > MAX_PASSWORD_BYTES:
            return Reason.BAD_USER_NAME_OR_PASSWORD
        secret = self._users.get(name)
        digest = hmac.digest(self._key, password, hashlib.sha256)
        known = self._known.get(name)
        if known is not None and known[0] is secret and hmac.compare_digest(known[1], digest):
            return Reason.SUCCESS
        if self._waiting.total() >= MAX_WAITING or self._waiting[address] >= MAX_WAITING_OF_ONE:
            return Reason.SERVER_BUSY
        compared = secret or self._nobody
        self._waiting[address] += 1
        try:
            matches = await self._thread.call(lambda: compared.matches(password))
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]
        if not matches or secret is None or self._users.get(name) is not secret:  # it may have changed meanwhile
            return Reason.BAD_USER_NAME_OR_PASSWORD
        self._known[name] = (secret, digest)
        return Reason.SUCCESS

    def knows(self, name: str) -> bool:
        """Whether there is such a user, as of the last look at the file."""
        return name in self._users

    def refresh(self) -> None:
        """Read the file again if it changed; one that cannot be used changes nothing, and is told once."""
        try:
            stamp = self._read_stamp()
            if stamp == self._stamp and not self._failing:
                return
            users = self._read()
        except (OSError, ValueError) as exc:
            if not self._failing:
                _log.warning(
                    "the users file %s cannot be used any more (%s): the users before stay valid",
                    self.path,
                    _reason(exc),
                    extra={"event": "mqtt_users_unreadable", "path": self.path},
                )
            self._failing = True
            return
        # A user who stays the same keeps the same object, by which it is known who was let in before.
        self._users = {name: self._same(name, secret) for name, secret in users.items()}
        self._known = {name: known for name, known in self._known.items() if self._users.get(name) is known[0]}
        self._stamp, self._failing = stamp, False
        _log.info("%d users of %s", len(users), self.path, extra={"event": "mqtt_users_read", "count": len(users)})

    def _same(self, name: str, secret: Secret) -> Secret:
        before = self._users.get(name)
        return before if before is not None and before == secret else secret

    def _read_stamp(self) -> _Stamp:
        status = Path(self.path).stat()
        return status.st_mtime_ns, status.st_ino, status.st_size

    def _read(self) -> dict[str, Secret]:
        with Path(self.path).open("rb") as stream:
            data = stream.read(_MAX_FILE_BYTES + 1)
            mode = Path(self.path).stat().st_mode
        if len(data) > _MAX_FILE_BYTES:
            raise ValueError(f"it has more than {_MAX_FILE_BYTES} bytes")
        users, problems = read_users(data.decode())
        if problems:
            raise ValueError("; ".join(problems))
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            _log.warning(
                "the users file %s is open to everybody on this machine: chmod o= %s",
                self.path,
                self.path,
                extra={"event": "mqtt_users_open", "path": self.path},
            )
        return users


def _reason(exc: Exception) -> str:
    if isinstance(exc, UnicodeDecodeError):
        return f"is not UTF-8 at byte {exc.start}"
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
