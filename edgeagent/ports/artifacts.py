"""The interface to the uploads of artifacts, from the spool to the store (contract section 10).

An object's name is a function of its event, and an object's URL of the store's configuration and that name: both are
known before anything is uploaded, and another try replaces what an earlier one left.
"""

from __future__ import annotations

import enum
from typing import Protocol

import msgspec

from edgeagent.events.artifact import Artifact


class UploadState(enum.Enum):
    """What becomes of an upload.

    `WAITING`: for its turn, or for what is known of it on disk. `SENDING`: under way. `DONE`: the store has the whole
    object. `FAILED`: it will be tried again at a known time. `REFUSED`: it can never succeed as it is, because the
    store takes no object of this size, or the file is not what it was; nothing tries it again.
    """

    WAITING = "waiting"
    SENDING = "sending"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in {UploadState.DONE, UploadState.REFUSED}


class Turn(enum.IntEnum):
    """Which uploads go first. `AHEAD`: of triggers whose own turn has not come, so that it holds up no other."""

    HIGH = 0
    NORMAL = 1
    AHEAD_HIGH = 2
    AHEAD = 3


class UploadProgress(msgspec.Struct, frozen=True):
    """How far an upload is.

    `sent_bytes`: what the store has, or is believed to have, of `size`. `reason`: why the last try failed, for a
    person, "" if none did. `next_try_s`: in how many seconds it is tried again; None unless it failed.
    """

    state: UploadState
    sent_bytes: int
    size: int
    reason: str = ""
    next_try_s: float | None = None


class Uploads(Protocol):
    """Uploads artifacts, each by its object's name. All calls happen in the loop's thread, and none waits.

    How an upload ends is told by a callback `done(name)` that the composition root gives: once for each name that is
    wanted, when its state is `DONE` or `REFUSED`. It is called later than `want`, never within it.
    """

    def want(self, name: str, artifact: Artifact, path: str, turn: Turn = Turn.NORMAL) -> bool:
        """Ask that the store gets this artifact as the object of this name; `path` is the file that holds it.

        The file must stay as it is until the upload has ended. Asking again changes nothing, but that the upload may
        go earlier. Returns whether the object is in the store already, as far as is known without waiting; then `done`
        is not called any more.
        """

    def progress(self, name: str) -> UploadProgress | None:
        """How far an upload is; None for a name that is not wanted."""

    def url(self, name: str) -> str:
        """Where readers find the object of this name, whether or not it is there yet."""

    def leave(self, name: str) -> None:
        """Nobody waits for this upload, which has ended. It may be wanted again, and then is known to be done."""

    def forget(self, name: str) -> None:
        """This object is no longer wanted, because its trigger is final: nothing more is sent or known of it.

        An object that is in the store stays there.
        """
