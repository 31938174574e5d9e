"""The token of the MQTT session at the local broker, kept across restarts (contract section 2, DUP)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from edgeagent.outbox.files import Filesystem

_TOKEN_BYTES = 4


class LocalSession:
    """Distinguishes deliveries of the present MQTT session from those of earlier ones, whose packet ids are void.

    It owns the file `local-session` in the state directory. `token`: empty until there was a session.
    """

    def __init__(self, filesystem: Filesystem, directory: Path) -> None:
        """Read the file.

        Raises:
            StorageFailed: the file exists and cannot be read.
        """
        self._filesystem = filesystem
        self._path = directory / "local-session"
        self.token = filesystem.read(self._path).decode("ascii", "replace") if filesystem.exists(self._path) else ""

    async def renew(self) -> None:
        """Give a session that has just begun a new token, synced.

        Raises:
            StorageFailed: the token stays as it was.
        """
        token = os.urandom(_TOKEN_BYTES).hex()
        await asyncio.to_thread(self._filesystem.replace, self._path, token.encode())
        self.token = token
