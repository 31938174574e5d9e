"""The outbox of a stopped agent, for commands: opened, owned and closed again, or only read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from edgeagent.agent.clock import Clock
from edgeagent.agent.operator import Operator
from edgeagent.agent.state import agent_id, make_store, state_directory
from edgeagent.agent.stopped_where import where_stopped
from edgeagent.config.tables import AgentConfig
from edgeagent.errors import CommandFailed, DiskReadOnly, StorageFailed
from edgeagent.outbox.files import Filesystem, OsFilesystem
from edgeagent.outbox.lock import reading_lock, state_lock
from edgeagent.outbox.overlay import Overlay
from edgeagent.outbox.owner import act_as_owner
from edgeagent.outbox.steps import finished
from edgeagent.outbox.store import Store
from edgeagent.outbox.unreadable import hide_unreadable
from edgeagent.ports.call import A, Call, R
from edgeagent.ports.operator import WHERE
from edgeagent.ports.where import Courses, WhereQuery


@contextmanager
def opened(config: AgentConfig) -> Iterator[StoppedOutbox]:
    """Open the outbox of this configuration, and own it; on a disk that can only be read nothing is changed.

    Raises:
        OutboxLocked: an agent runs.
        CommandFailed: there is no outbox.
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
    """Open the outbox of this configuration for reading; nothing in the directory changes.

    Raises:
        OutboxLocked: an agent runs.
        CommandFailed: there is no outbox.
        StorageFailed: the disk refuses.
    """
    directory, overlay, clock = _existing(config), Overlay(), Clock()
    with reading_lock(directory):
        hide_unreadable(directory, overlay, tell=True)
        store = make_store(config, directory, clock, overlay)
        with _closing(config, directory, clock, overlay, store) as outbox:
            yield outbox


@contextmanager
def _closing(
    config: AgentConfig, directory: Path, clock: Clock, filesystem: Filesystem, store: Store
) -> Iterator[StoppedOutbox]:
    try:
        operator = Operator(store, directory / "outbox", filesystem, clock.now_ms)
        agent = agent_id(config, directory, filesystem)
        yield StoppedOutbox(operator, agent, partial(where_stopped, config, directory, agent, store, clock.now_ms))
    finally:
        store.close()


def _existing(config: AgentConfig) -> Path:
    directory = state_directory(config)
    if not (directory / "outbox").is_dir():
        text = "no outbox is there, and no agent answers; name its configuration with -c, or use sudo for the service's"
        raise CommandFailed(f"{directory}: {text}")
    act_as_owner(directory)  # the agent could not read files that root creates there
    return directory


class StoppedOutbox:
    """The operator's calls on a store that nothing else uses. `agent`: the id of the agent to which it belongs."""

    def __init__(self, operator: Operator, agent: str, where: Callable[[WhereQuery], Courses]) -> None:
        self._operator = operator
        self._beside_outbox: dict[str, Callable[[Any], Any]] = {WHERE.name: where}
        self.agent = agent

    def perform(self, call: Call[A, R], arguments: A) -> R:
        """Perform a call at once; raises as `OperatorPort` does."""
        if (own := self._beside_outbox.get(call.name)) is not None:
            done: R = own(arguments)
            return done
        return finished(self._operator.perform(call, arguments))
