"""The releases that no checkpoint holds yet, and when the next checkpoint is due."""

from __future__ import annotations

from collections.abc import Sequence

from edgeagent.outbox.records import Leased
from edgeagent.outbox.runs import ReleasedRun, runs_of

# A checkpoint is due this long after the first of them, or when there are so many: a crash forgets the rest, which are
# sent again.
CHECKPOINT_S = 5.0
CHECKPOINT_RELEASES = 1000


class Unkept:
    """Collects releases for the next commit, and says when one of these has to write a checkpoint.

    Before a checkpoint is written, others may have to write what became of the triggers in it: from `hold` on, further
    releases are left for the checkpoint after it, and it is written once `release_hold` was called.
    """

    def __init__(self) -> None:
        """Nothing is released."""
        self._runs: list[ReleasedRun] = []
        self._later: list[ReleasedRun] = []
        self._triggers = 0
        self._at: float | None = None
        self._held = self._is_ready = False

    @property
    def all(self) -> tuple[ReleasedRun, ...]:
        """Everything released that no commit has taken."""
        return (*self._runs, *self._later)

    @property
    def at(self) -> float | None:
        """When a checkpoint is due, in the caller's clock; None if nothing is released, or while one is held."""
        return self._at if not self._held else None

    @property
    def is_full(self) -> bool:
        """Whether a checkpoint is due because of how many there are."""
        return self._triggers >= CHECKPOINT_RELEASES

    @property
    def is_held(self) -> bool:
        """Whether the next checkpoint waits, or waited, for others."""
        return self._held

    @property
    def is_ready(self) -> bool:
        """Whether the next commit has to write a checkpoint, since nobody has to write anything before it."""
        return self._is_ready

    def add(self, leased: Sequence[Leased], way: str, now: float) -> None:
        """Add triggers that ended in this way."""
        (self._later if self._held else self._runs).extend(runs_of(leased, way))
        self._triggers += len(leased)
        if self._at is None:
            self._at = now + CHECKPOINT_S

    def is_due(self, now: float) -> bool:
        """Whether a checkpoint is due."""
        return self.is_full or (self._at is not None and now >= self._at)

    def hasten(self, now: float) -> None:
        """Have the next checkpoint due at once."""
        self._at = now

    def hold(self) -> None:
        """Leave what is released from now on for the checkpoint after the next."""
        self._held = True

    def release_hold(self) -> None:
        """Let the next commit write the checkpoint."""
        self._is_ready = True

    def take(self) -> list[ReleasedRun]:
        """What a commit has to release in the store, without a checkpoint of its own."""
        taken, self._runs = self._runs, []
        return taken

    def take_for_checkpoint(self) -> list[ReleasedRun]:
        """What a commit has to release in the store and write in its checkpoint."""
        if not self._is_ready:  # the last one, for which nobody is waited
            self._runs, self._later = [*self._runs, *self._later], []
        taken, self._runs, self._later = self._runs, self._later, []
        self._held = self._is_ready = False
        return taken

    def written(self, now: float, *, kept: bool) -> None:
        """Note that a commit with a checkpoint ended. `kept`: it is on disk; otherwise it is tried again later."""
        if kept:
            self._triggers = sum([run.triggers for run in self.all])
        self._at = now + CHECKPOINT_S if self._triggers else None
