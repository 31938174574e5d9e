"""Uploads in any order of events: none is lost, none is begun twice at a time, and no wait is told that is none."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edgeagent.artifacts.upload_queue import (
    LARGE_BYTES,
    MAX_AT_A_TIME,
    MAX_LARGE_AT_A_TIME,
    SELDOM_CAP_S,
    Upload,
    UploadQueue,
)
from edgeagent.errors import StoreFailed
from edgeagent.events.artifact import Artifact
from edgeagent.ports.artifacts import Turn, UploadState

NAMES = st.sampled_from([f"gw/{number}" for number in range(8)])
SIZES = st.sampled_from([1, 1000, LARGE_BYTES, LARGE_BYTES + 1, 10 * LARGE_BYTES])
CHANCES = st.floats(0, 1)


class Uploads(RuleBasedStateMachine):
    """The queue beside what is known of it from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = UploadQueue()
        self.now_s = 1000.0
        self.wanted: dict[str, Artifact] = {}
        self.ended: dict[str, UploadState] = {}
        self.sending: list[Upload] = []

    @rule(name=NAMES, size=SIZES, turn=st.sampled_from(Turn))
    def want(self, name: str, size: int, turn: Turn) -> None:
        """An upload is wanted; of one under way the content stays."""
        artifact = self.wanted.get(name, Artifact("0a" * 32, size))
        is_done = self.queue.want(name, artifact, f"/spool/{size}", turn)
        assert is_done == (self.ended.get(name) is UploadState.DONE)
        self.wanted[name] = artifact

    @rule()
    def begin(self) -> None:
        """All begin that may."""
        while (upload := self.queue.next(self.now_s)) is not None:
            assert all(upload is not other and upload.name != other.name for other in self.sending)
            assert upload.name in self.wanted
            assert upload.name not in self.ended
            self.sending.append(upload)

    @rule(
        number=st.integers(0, 7), how=st.sampled_from(["done", "refused", "failed", "seldom", "paused"]), chance=CHANCES
    )
    def end(self, number: int, how: str, chance: float) -> None:
        """One that is under way ends."""
        if not self.sending:
            return
        upload = self.sending.pop(number % len(self.sending))
        if not self.queue.is_wanted(upload):
            return
        if how == "done":
            self.queue.done(upload)
            self.ended[upload.name] = UploadState.DONE
        elif how == "refused":
            self.queue.refused(upload, "too large")
            self.ended[upload.name] = UploadState.REFUSED
        elif how == "paused":
            self.queue.paused(upload)
        else:
            error = StoreFailed("s", "away", needs_somebody=how == "seldom", retry_after_s=chance * 10)
            self.queue.failed(upload, error, self.now_s, chance)

    @rule(name=NAMES)
    def find(self, name: str) -> None:
        """The store had it already."""
        artifact = self.wanted.get(name, Artifact("0a" * 32, 1))
        is_open = name in self.wanted and name not in self.ended
        is_sending = any(upload.name == name for upload in self.sending)
        assert self.queue.found(name, artifact) == (is_open and not is_sending)
        if is_open and not is_sending:
            self.ended[name] = UploadState.DONE

    @rule(name=NAMES)
    def leave(self, name: str) -> None:
        """Nobody waits for one that has ended."""
        self.queue.leave(name)
        if self.ended.pop(name, None):
            self.wanted.pop(name)

    @rule(name=NAMES)
    def forget(self, name: str) -> None:
        """Nobody wants it any more."""
        self.queue.forget(name)
        self.wanted.pop(name, None)
        self.ended.pop(name, None)
        self.sending = [upload for upload in self.sending if upload.name != name]

    @rule(seconds=st.floats(0, SELDOM_CAP_S))
    def pass_time(self, seconds: float) -> None:
        """Time passes."""
        self.now_s += seconds

    @invariant()
    def no_more_run_than_may(self) -> None:
        """Over all, and of large ones."""
        assert len(self.sending) <= MAX_AT_A_TIME
        assert sum(upload.is_large for upload in self.sending) <= MAX_LARGE_AT_A_TIME

    @invariant()
    def every_wanted_upload_is_known_with_its_state(self) -> None:
        """And no other one."""
        sending = {upload.name for upload in self.sending}
        for name, artifact in self.wanted.items():
            progress = self.queue.progress(name, self.now_s)
            assert progress is not None
            assert progress.size == artifact.size
            if name in self.ended:
                assert progress.state is self.ended[name]
            else:
                assert (progress.state is UploadState.SENDING) == (name in sending)
                assert (progress.next_try_s is not None) == (progress.state is UploadState.FAILED)
        assert sum(self.queue.count().values()) == len(self.wanted)

    @invariant()
    def a_wait_ends_with_something_to_do(self) -> None:
        """Whoever sleeps for as long as it is told finds an upload then; without a wait there is none to begin."""
        wait_s = self.queue.wait_s(self.now_s)
        idle = len(self.wanted) - len(self.ended) - len(self.sending)
        if wait_s is None:
            assert idle == 0 or self.sending, "nothing would ever begin again"
        else:
            assert wait_s <= 2 * SELDOM_CAP_S
            chosen = self.queue.next(self.now_s + wait_s + 0.001)
            assert chosen is not None
            self.queue.paused(chosen)


TestUploads = Uploads.TestCase
