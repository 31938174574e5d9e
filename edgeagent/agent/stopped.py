"""The outbox of an agent that does not run, for commands: opened, owned and closed again, or only looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from edgeagent.agent.api import MAX_FOUND, dead_letter, discard_dead, named
from edgeagent.agent.clock import Clock
from edgeagent.agent.lives import correlation_of
from edgeagent.agent.state import agent_id, make_store, state_directory
from edgeagent.config.tables import AgentConfig
from edgeagent.errors import CommandFailed, DiskReadOnly, StorageFailed
from edgeagent.outbox.files import Filesystem, OsFilesystem
from edgeagent.outbox.lock import looking_lock, state_lock
from edgeagent.outbox.overlay import Overlay
from edgeagent.outbox.owner import act_as_owner
from edgeagent.outbox.recorded import recorded_page
from edgeagent.outbox.records import DEAD, LOGS, NORMAL, REPLAYED, Leased
from edgeagent.outbox.store import Store
from edgeagent.outbox.transfer import release_exported, take_in, waiting, waiting_page
from edgeagent.outbox.unreadable import hide_unreadable
from edgeagent.outbox.verify import overview, verify_part
from edgeagent.ports.operator import DeadLetter, Imported, RecordedPage, Waiting, WaitingPage
from edgeagent.ports.transfer import ExportedTrigger
from edgeagent.ports.verification import Overview, VerifiedPart


@contextmanager
def opened(config: AgentConfig) -> Iterator[StoppedOutbox]:
    """The outbox in this configuration's state directory, owned; on a disk that can only be read nothing is changed.

    Raises:
        OutboxLocked: an agent runs.
        CommandFailed: there is none.
        StorageFailed: the disk refuses.
    """
    directory, clock = _existing(config), Clock()
    with state_lock(directory):
        filesystem: Filesystem = OsFilesystem()
        try:
            store = make_store(config, directory, clock, filesystem)
        except StorageFailed as exc:
            if not exc.is_read_only:
                raise
            filesystem = hide_unreadable(directory, Overlay())
            store = make_store(config, directory, clock, filesystem, DiskReadOnly(exc.operation, exc.path, exc.reason))
        with _closing(config, directory, clock, filesystem, store) as outbox:
            yield outbox


@contextmanager
def looked_at(config: AgentConfig) -> Iterator[StoppedOutbox]:
    """The outbox in this configuration's state directory, to read: nothing in the directory changes.

    Raises:
        OutboxLocked: an agent runs.
        CommandFailed: there is none.
        StorageFailed: the disk refuses.
    """
    directory, overlay, clock = _existing(config), Overlay(), Clock()
    with looking_lock(directory):
        hide_unreadable(directory, overlay, tell=True)
        store = make_store(config, directory, clock, overlay)
        with _closing(config, directory, clock, overlay, store) as outbox:
            yield outbox


@contextmanager
def _closing(
    config: AgentConfig, directory: Path, clock: Clock, filesystem: Filesystem, store: Store
) -> Iterator[StoppedOutbox]:
    try:
        yield StoppedOutbox(store, directory, clock, filesystem, agent_id(config, directory, filesystem))
    finally:
        store.close()


def _existing(config: AgentConfig) -> Path:
    directory = state_directory(config)
    if not (directory / "outbox").is_dir():
        raise CommandFailed(f"{directory}: no outbox is there, and no agent answers; name its configuration with -c")
    act_as_owner(directory)  # what root makes there the agent cannot read
    return directory


class StoppedOutbox:
    """What an operator does with a store that nobody else uses; as `OperatorPort`, without waiting."""

    def __init__(self, store: Store, directory: Path, clock: Clock, filesystem: Filesystem, agent: str) -> None:
        self._store = store
        self._directory = directory / "outbox"
        self._clock = clock
        self._filesystem = filesystem
        self.agent = agent

    def dead_letters(self) -> list[DeadLetter]:
        """Every dead letter, oldest first."""
        return [dead_letter(leased) for leased in self._all(DEAD)]

    def replay(self, correlation_ids: Sequence[str]) -> list[str]:
        """Put dead letters back into the outbox; returns those that were found."""
        wanted = frozenset(correlation_ids)
        found = [leased for leased in self._all(DEAD) if correlation_of(leased) in wanted]
        for leased in found:
            self._store.move(leased, NORMAL, REPLAYED, reason="", code=0, attempts=0)
        return [correlation_of(leased) for leased in found]

    def discard(self, correlation_ids: Sequence[str]) -> list[str]:
        """Let go of dead letters for good; returns those that were found."""
        return discard_dead(self._store, frozenset(correlation_ids))

    def waiting(self, log: str, seq: int, limit: int) -> WaitingPage:
        """Triggers that wait in a log, from `seq` on."""
        return waiting_page(self._store, log, seq, limit)

    def find_waiting(self, text: str) -> list[Waiting]:
        """Triggers in any log that a person may mean; a few at most."""
        found = (leased for name in LOGS for leased in self._all(name) if named(leased, text))
        return [waiting(leased, self._store.leased_seq(leased.log)) for leased in islice(found, MAX_FOUND)]

    def release_exported(self, ranges: Mapping[str, Sequence[tuple[int, int]]]) -> int:
        """Release what is in an export file; returns how many."""
        return release_exported(self._store, ranges)

    def take_in(self, digest: str, first_number: int, triggers: Sequence[ExportedTrigger]) -> Imported:
        """Take in triggers of an export file."""
        return take_in(self._store, digest, first_number, triggers, self._clock.now_ms())

    def overview(self) -> Overview:
        """What is known before the logs are read."""
        return overview(self._store, self._filesystem, self._directory)

    def verify(self, log: str, seq: int) -> VerifiedPart:
        """Read a part of a log."""
        return verify_part(self._store, log, seq)

    def recorded(self, log: str, seq: int) -> RecordedPage:
        """Events that are still in a log of events."""
        return recorded_page(self._store, log, seq)

    def _all(self, name: str) -> Iterator[Leased]:
        for part in self._store.peek(name):
            yield from part
