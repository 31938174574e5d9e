"""The state that an agent keeps on its disk, and where: the state directory, the id, the socket, the outbox."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from edgeagent.agent.clock import Clock
from edgeagent.common.names import agent_id_from_host, is_agent_id
from edgeagent.config.tables import AgentConfig
from edgeagent.errors import ConfigError, DiskReadOnly, Problem, StorageFailed
from edgeagent.host import systemd
from edgeagent.links.subscribed import SubscribedTopics
from edgeagent.outbox.files import Filesystem
from edgeagent.outbox.records import SPOOL, DeadLimits, OutboxLimits
from edgeagent.outbox.store import Store
from edgeagent.rules.ruleset import RuleSet

_SALT_BYTES = 4


def state_directory(config: AgentConfig) -> Path:
    """The directory in which this agent keeps its state."""
    return systemd.state_directory(config.agent.state_dir)


def socket_path(config: AgentConfig) -> Path:
    """The path of this agent's Unix socket."""
    if config.http.socket:
        return Path(config.http.socket)
    return systemd.runtime_directory(state_directory(config)) / "agent.sock"


def agent_id(config: AgentConfig, directory: Path, filesystem: Filesystem) -> str:
    """The configured id, else the one kept in the state directory, else the host's name, which is then kept."""
    if config.agent.id:
        return config.agent.id
    path = directory / "agent-id"
    if filesystem.exists(path):
        kept = filesystem.read(path).decode("ascii", "replace").strip()
        if not is_agent_id(kept):
            raise ConfigError(str(path), [Problem("", f"{kept!r} is not an agent id; set agent.id")])
        return kept
    made = agent_id_from_host(socket.gethostname())
    filesystem.replace(path, made.encode() + b"\n")
    return made


def make_store(
    config: AgentConfig, directory: Path, clock: Clock, filesystem: Filesystem, rescue: DiskReadOnly | None = None
) -> Store:
    """Open the outbox of a state directory that the caller owns. `rescue`: why its disk can only be read."""
    limits = OutboxLimits(
        int(config.outbox.max_bytes),
        int(config.outbox.segment_bytes),
        config.outbox.dedupe_events,
        int(config.outbox.max_age * 1000),
        config.outbox.when_full == "drop_oldest",
        DeadLimits(
            int(config.outbox.dead_max_bytes), int(config.outbox.dead_max_age * 1000), config.outbox.dead_when_full
        ),
        # Events that came while there were artifacts may still be there when there are none any more.
        spool=config.artifacts is not None or filesystem.exists(directory / "outbox" / SPOOL),
    )
    make: Callable[..., Store] = partial(Store, filesystem)
    if rescue is not None:
        from edgeagent.outbox.rescue import RescueStore  # noqa: PLC0415  only for a disk that is worn out

        make = partial(RescueStore, reason=rescue)
    return make(
        directory / "outbox",
        limits,
        boot=clock.boot,
        new_salt=lambda: int.from_bytes(os.urandom(_SALT_BYTES)),
        now_ms=clock.now_ms,
        uptime_ms=clock.uptime_ms,
        remembered=RuleSet(config.rule).remembered,
    )


def subscribed_topics(filesystem: Filesystem, path: Path) -> SubscribedTopics:
    """The topics subscribed to at a broker, as this file of the state directory remembers them."""

    async def write(text: bytes) -> None:
        await asyncio.to_thread(filesystem.replace, path, text)

    text = b""
    with contextlib.suppress(StorageFailed):  # then a topic that left the configuration may stay subscribed
        text = filesystem.read(path) if filesystem.exists(path) else b""
    return SubscribedTopics(text, write)
