"""Which upload goes next, and when one that failed is tried again. Pure.

Those whose triggers wait for them go before those that are made ahead, and of each kind the oldest first.

Each upload that failed has a wait of its own. Beside it, the store has one: after a failure, and until something
succeeds, uploads are tried one at a time, the smallest first, with growing waits. So a store that is away costs one
request now and then, however many artifacts wait, and one artifact that the store does not like holds up no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

import msgspec

from edgeagent.common.backoff import full_jitter
from edgeagent.errors import StoreFailed
from edgeagent.events.artifact import Artifact
from edgeagent.ports.artifacts import Turn, UploadProgress, UploadState

# How many uploads run at a time, and how many of them may be large, so that small ones never wait for long.
MAX_AT_A_TIME: Final = 4
MAX_LARGE_AT_A_TIME: Final = 2
LARGE_BYTES: Final = 4 << 20
# The ceilings of the first wait and of all. The second pair: of what needs somebody, such as a wrong password.
RETRY_BASE_S: Final = 1.0
RETRY_CAP_S: Final = 300.0
SELDOM_BASE_S: Final = 60.0
SELDOM_CAP_S: Final = 3600.0


class Upload(msgspec.Struct, gc=False):
    """An artifact on its way. `path`: of its file; `due_s`: no try before; `asked_s`: the same, by the store.

    `needs_somebody`: its last failure's. `turn`: which go before it.
    """

    name: str
    artifact: Artifact
    path: str
    turn: Turn = Turn.NORMAL
    state: UploadState = UploadState.WAITING
    sent_bytes: int = 0
    failures: int = 0
    needs_somebody: bool = False
    due_s: float = 0.0
    asked_s: float = 0.0
    reason: str = ""

    @property
    def is_large(self) -> bool:
        """Whether it may keep others waiting."""
        return self.artifact.size > LARGE_BYTES


class UploadQueue:
    """Owns the uploads that are wanted, until each is forgotten. Times are monotonic seconds.

    Attributes:
        failures: how often in a row anything failed, since something succeeded last.
    """

    def __init__(self) -> None:
        # Not ended, in the order in which they are looked at.
        self._lines: dict[Turn, dict[str, Upload]] = {turn: {} for turn in Turn}
        self._ended: dict[str, Upload] = {}
        self._sending = 0
        self._sending_large = 0
        self._store_due_s = self._store_asked_s = 0.0
        self.failures = 0

    def want(self, name: str, artifact: Artifact, path: str, turn: Turn = Turn.NORMAL) -> bool:
        """Add an upload, if it is not there; returns whether it is done. Another content of a name replaces the first.

        One that is there goes earlier, if that is what `turn` says.

        An upload that is under way with other content must be given up first: `is_sending_other`.
        """
        found = self._ended.get(name) or self._open(name)
        if found is not None and found.artifact == artifact:
            if turn < found.turn and not found.state.has_ended:
                del self._lines[found.turn][name]
                found.turn = turn
                self._lines[turn][name] = found
            return found.state is UploadState.DONE
        self.forget(name)
        self._lines[turn][name] = Upload(name, artifact, path, turn)
        return False

    def is_sending_other(self, name: str, artifact: Artifact) -> bool:
        """Whether an upload of this name, with other content, is under way."""
        found = self._open(name)
        return found is not None and found.state is UploadState.SENDING and found.artifact != artifact

    def next(self, now_s: float) -> Upload | None:
        """The upload to begin now, which is under way from here on; None if none may begin."""
        if self.failures and (self._sending or now_s < self._store_due_s):
            return None
        if self._sending >= MAX_AT_A_TIME:
            return None
        may_be_large = self._sending_large < MAX_LARGE_AT_A_TIME
        ready = (
            upload
            for upload in self._all_open()
            if upload.state is not UploadState.SENDING
            and upload.due_s <= now_s
            and (may_be_large or not upload.is_large)
        )
        if self.failures:
            chosen = min(ready, key=lambda upload: upload.artifact.size, default=None)
        else:
            chosen = next(ready, None)
        if chosen is not None:
            self._count(chosen, 1)
            chosen.state = UploadState.SENDING
            chosen.sent_bytes = 0
        return chosen

    def wait_s(self, now_s: float) -> float | None:
        """In how many seconds `next` may find something that it does not find now; None: until something happens."""
        if self._sending >= MAX_AT_A_TIME or (self.failures and self._sending):
            return None
        may_be_large = self._sending_large < MAX_LARGE_AT_A_TIME
        due = [
            upload.due_s
            for upload in self._all_open()
            if upload.state is not UploadState.SENDING and (may_be_large or not upload.is_large)
        ]
        if not due:
            return None
        due_s = min(due) if not self.failures else max(min(due), self._store_due_s)
        return max(due_s - now_s, 0.0)

    def done(self, upload: Upload) -> None:
        """The store has it. What failed because the store was away is tried again at once."""
        self._end(upload, UploadState.DONE, "")
        upload.sent_bytes = upload.artifact.size
        if self.failures:
            self.failures = 0
            for other in self._all_open():
                if other.state is UploadState.FAILED and not other.needs_somebody:
                    other.due_s = other.asked_s

    def found(self, name: str, artifact: Artifact) -> bool:
        """The store had it already, which says nothing about the store now; returns whether somebody waits for that."""
        upload = self._open(name)
        if upload is None or upload.artifact != artifact or upload.state is UploadState.SENDING:
            return False
        self._ended[name] = self._lines[upload.turn].pop(name)
        upload.state, upload.reason, upload.sent_bytes = UploadState.DONE, "", artifact.size
        return True

    def refused(self, upload: Upload, reason: str) -> None:
        """The store can never have it."""
        self._end(upload, UploadState.REFUSED, reason)

    def failed(self, upload: Upload, error: StoreFailed, now_s: float, chance: float) -> None:
        """It is tried again later, behind the others. `chance`: a random number from 0 to 1."""
        self._count(upload, -1)
        upload.state, upload.reason, upload.needs_somebody = UploadState.FAILED, error.reason, error.needs_somebody
        fraction = (1 + chance) / 2  # the upper half: never at once
        base_s, cap_s = (SELDOM_BASE_S, SELDOM_CAP_S) if error.needs_somebody else (RETRY_BASE_S, RETRY_CAP_S)
        own_s = full_jitter(upload.failures, fraction, base_s=base_s, cap_s=cap_s)
        store_s = full_jitter(self.failures, fraction, base_s=RETRY_BASE_S, cap_s=RETRY_CAP_S)
        upload.failures += 1
        self.failures += 1
        upload.asked_s = now_s + error.retry_after_s
        upload.due_s = max(now_s + own_s, upload.asked_s)
        self._store_asked_s = upload.asked_s
        self._store_due_s = max(now_s + store_s, upload.asked_s)
        line = self._lines[upload.turn]
        if line.get(upload.name) is upload:
            line[upload.name] = line.pop(upload.name)

    def hurry(self) -> None:
        """Somebody mended something: what failed is tried again now, but no earlier than the store asked for."""
        self._store_due_s = self._store_asked_s
        for upload in self._all_open():
            if upload.state is UploadState.FAILED:
                upload.due_s = upload.asked_s

    def paused(self, upload: Upload) -> None:
        """It was given up because the bandwidth ended; it keeps its place."""
        self._count(upload, -1)
        upload.state = UploadState.WAITING

    def leave(self, name: str) -> None:
        """Nobody waits for it, if it has ended."""
        self._ended.pop(name, None)

    def forget(self, name: str) -> None:
        """Nobody wants it any more."""
        self._ended.pop(name, None)
        upload = self._open(name)
        if upload is not None:
            del self._lines[upload.turn][name]
        if upload is not None and upload.state is UploadState.SENDING:
            self._count(upload, -1)
            upload.state = UploadState.WAITING  # for no place: it is in no line any more

    def is_wanted(self, upload: Upload) -> bool:
        """Whether this very upload is still wanted, and has not ended."""
        return self._open(upload.name) is upload

    def progress(self, name: str, now_s: float) -> UploadProgress | None:
        """How far an upload is; None for one that nobody wants."""
        upload = self._open(name) or self._ended.get(name)
        if upload is None:
            return None
        next_try_s = None
        if upload.state is UploadState.FAILED:
            next_try_s = max(upload.due_s, self._store_due_s, now_s) - now_s
        return UploadProgress(upload.state, upload.sent_bytes, upload.artifact.size, upload.reason, next_try_s)

    def count(self) -> dict[UploadState, int]:
        """How many uploads are in each state."""
        counts = dict.fromkeys(UploadState, 0)
        for upload in chain(self._all_open(), self._ended.values()):
            counts[upload.state] += 1
        return counts

    def open_bytes(self) -> int:
        """The size of what is not in the store yet."""
        return sum(upload.artifact.size - upload.sent_bytes for upload in self._all_open())

    def _open(self, name: str) -> Upload | None:
        return next((line[name] for line in self._lines.values() if name in line), None)

    def _all_open(self) -> Iterator[Upload]:
        return chain.from_iterable(line.values() for line in self._lines.values())

    def _end(self, upload: Upload, state: UploadState, reason: str) -> None:
        self._count(upload, -1)
        upload.state, upload.reason = state, reason
        del self._lines[upload.turn][upload.name]
        self._ended[upload.name] = upload

    def _count(self, upload: Upload, step: int) -> None:
        self._sending += step
        self._sending_large += step * upload.is_large
