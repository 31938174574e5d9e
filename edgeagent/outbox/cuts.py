"""What the limits on age and size make the logs let go of: whole ranges, each one counted and told as a loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgeagent.common.elapsed import Instant
from edgeagent.errors import StorageFailed
from edgeagent.outbox.deadletters import TOO_OLD, DeadLetters
from edgeagent.outbox.log import Log
from edgeagent.outbox.losses import Losses
from edgeagent.outbox.reader import LogReader
from edgeagent.outbox.records import DEAD, DROPPED, EXPIRED, HIGH, NORMAL, OutboxLimits
from edgeagent.outbox.retention import Cut, release_expired, release_oldest


class Cuts:
    """Releases what the limits do not allow to stay. It owns nothing; the store keeps what is released."""

    def __init__(
        self,
        logs: Mapping[str, Log],
        readers: Mapping[str, LogReader],
        dead: DeadLetters,
        limits: OutboxLimits,
        losses: Losses,
        now: Callable[[], Instant],
        *,
        keep: Callable[[], None],
        changed: Callable[[], None],
        may_forget: Callable[[], bool],
    ) -> None:
        """`keep` writes a checkpoint; `changed` is called when the next one has something to say."""
        self._logs = logs
        self._readers = readers
        self._dead = dead
        self._limits = limits
        self._losses = losses
        self._now = now
        self._keep = keep
        self._changed = changed
        self._may_forget = may_forget

    def make_room(self, has_room: Callable[[], bool]) -> bool:
        """Whether there is room for events; drops the oldest triggers for it if that is the policy."""
        for name in (NORMAL, HIGH):
            while not has_room() and self._limits.drop_oldest:
                cut = release_oldest(self._logs[name], self._readers[name], DROPPED)
                if cut is None:
                    break
                self._cut(name, cut, DROPPED, "the outbox is full (outbox.when_full)")
                try:
                    self._keep()
                    self._logs[name].remove_released()
                except StorageFailed:
                    return False
        return has_room()

    def expire_old(self) -> None:
        """Release, as expired, whole segments older than `max_age`, even while the uplink is away."""
        now = self._now()
        for name, cut in release_expired(self._logs, self._readers, now, self._limits.max_age_ms):
            self._cut(name, cut, EXPIRED, "older than outbox.max_age")
        if (older := self._dead.cut_older(now)) is not None:
            self._cut(DEAD, older, EXPIRED, TOO_OLD)

    def drop_dead(self, cut: Cut, way: str, reason: str) -> None:
        """Let go of dead letters for newer ones.

        Raises:
            StorageFailed: the disk refuses.
        """
        self._cut(DEAD, cut, way, reason)
        self._keep()
        self._logs[DEAD].remove_front(self._may_forget)
        self._logs[DEAD].remove_released()

    def _cut(self, name: str, cut: Cut, way: str, reason: str) -> None:
        self._changed()
        if cut.released:
            self._losses.report(name, cut.first_seq, cut.end_seq, cut.released, way, reason)
