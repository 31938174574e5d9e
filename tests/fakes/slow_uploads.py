"""A store that takes its time, for agents in virtual time."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from edgeagent.agent.uploading import Uploading
from edgeagent.agent.uploads_ahead import UploadsAhead
from edgeagent.events.artifact import Artifact
from edgeagent.ports.artifacts import Turn, UploadProgress, UploadState


class SlowUploads:
    """`Uploads` that are done some seconds after they were wanted, or once the store is `back`.

    Attributes:
        uploading: over these uploads.
        stored: by the object's name, what was in the file that holds the artifact when its upload ended.
        wanted: the names, in order.
        seconds: how long each takes that is begun from now on.
        ahead: asks for uploads ahead of their triggers, if a scene made it.
        most_open: how many were known at a time.
    """

    def __init__(self, directory: Path, seconds: float, *, is_away: bool = False) -> None:
        """`directory`: of the outbox."""
        self.stored: dict[str, bytes] = {}
        self.wanted: list[str] = []
        self.seconds = seconds
        self.ahead: UploadsAhead | None = None
        self.most_open = 0
        self._is_away = is_away
        self._open: dict[str, Path] = {}
        self._states: dict[str, UploadState] = {}
        self.uploading = Uploading(self, lambda artifact: str(directory / "outbox" / "spool" / artifact.sha256))

    def want(self, name: str, artifact: Artifact, path: str, turn: Turn = Turn.NORMAL) -> bool:  # noqa: ARG002
        """See `Uploads`."""
        assert path.endswith(artifact.sha256)
        if name not in self._states and name in self.stored:
            self._states[name] = UploadState.DONE
            asyncio.get_running_loop().call_soon(self._told, name)
            return False  # it is looked up first
        if name not in self._states:
            self.wanted.append(name)
            self._states[name] = UploadState.WAITING
            self._open[name] = Path(path)
            self.most_open = max(self.most_open, len(self._states))
            if not self._is_away:
                self._begin(name)
        return self._states[name] is UploadState.DONE

    def progress(self, name: str) -> UploadProgress | None:
        """See `Uploads`."""
        state = self._states.get(name)
        return UploadProgress(state, 0, 0, "too large") if state is not None else None

    def url(self, name: str) -> str:
        """See `Uploads`."""
        return f"https://store.example/{name}"

    def leave(self, name: str) -> None:
        """See `Uploads`."""
        self._states.pop(name, None)

    def forget(self, name: str) -> None:
        """See `Uploads`."""
        self._states.pop(name, None)
        self._open.pop(name, None)

    def pause(self) -> None:
        """Nothing more is begun until the store is `back`."""
        self._is_away = True

    def back(self) -> None:
        """The store is there again."""
        self._is_away = False
        for name in self._open:
            if self._states[name] is UploadState.WAITING:
                self._begin(name)

    def refuse(self, name: str) -> None:
        """The store can never take this one."""
        self._end(name, UploadState.REFUSED)

    def _begin(self, name: str) -> None:
        self._states[name] = UploadState.SENDING
        asyncio.get_running_loop().call_later(self.seconds, self._end, name, UploadState.DONE)

    def _end(self, name: str, state: UploadState) -> None:
        path = self._open.pop(name, None)
        if path is not None:
            if state is UploadState.DONE:
                self.stored[name] = path.read_bytes()
            self._states[name] = state
            self._told(name)

    def _told(self, name: str) -> None:
        self.uploading.ended(name)
        if self.ahead is not None:
            self.ahead.ended(name)

    def digests(self) -> set[str]:
        """The SHA-256 of everything that is in the store."""
        return {hashlib.sha256(data).hexdigest() for data in self.stored.values()}
