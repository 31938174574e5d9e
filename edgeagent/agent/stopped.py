"""The outbox of an agent that does not run, for commands: opened, owned and closed again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from edgeagent.agent.agent import make_store, state_directory
from edgeagent.agent.api import correlation_of, dead_letter
from edgeagent.agent.clock import Clock
from edgeagent.config.tables import AgentConfig
from edgeagent.core.ports import DeadLetter
from edgeagent.errors import CommandFailed
from edgeagent.outbox.lock import state_lock
from edgeagent.outbox.records import DEAD, NORMAL, REPLAYED, Leased
from edgeagent.outbox.store import Store


@contextmanager
def opened(config: AgentConfig) -> Iterator[Store]:
    """The store in this configuration's state directory.

    Raises:
        OutboxLocked: an agent runs.
        CommandFailed: there is none.
        StorageFailed: the disk refuses.
    """
    directory = state_directory(config)
    if not (directory / "outbox").is_dir():
        raise CommandFailed(f"{directory}: no outbox is there, and no agent answers; name its configuration with -c")
    with state_lock(directory):
        store = make_store(config, directory, Clock())
        try:
            yield store
        finally:
            store.close()


class StoppedOutbox:
    """Dead letters in a store that nobody else uses."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[DeadLetter]:
        """Every dead letter, oldest first."""
        return [dead_letter(leased) for leased in self._dead()]

    def replay(self, correlation_ids: Sequence[str]) -> list[str]:
        """Put dead letters back into the outbox; returns those that were found."""
        wanted = frozenset(correlation_ids)
        found = [leased for leased in self._dead() if correlation_of(leased) in wanted]
        for leased in found:
            self._store.move(leased, NORMAL, REPLAYED, reason="", code=0, attempts=0)
        return [correlation_of(leased) for leased in found]

    def _dead(self) -> list[Leased]:
        return [leased for part in self._store.peek(DEAD) for leased in part]
