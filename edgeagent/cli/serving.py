"""Runs an agent whose configuration was read (`running.py`). With this module comes asyncio."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from edgeagent.config.tables import AgentConfig
from edgeagent.errors import ConfigError
from edgeagent.host import ending, log
from edgeagent.host.descriptors import raise_descriptor_limit
from edgeagent.mqtt import engines


def serve_agent(config: AgentConfig, path: Path) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code. `path`: the file that `config` was read from.

    Raises:
        ConfigError, OutboxLocked, StorageFailed, ListenFailed: the agent cannot start.
    """
    if problem := engines.qos_problem(config.uplink):
        raise ConfigError(str(path), [problem])
    log.configure(config.log.level, config.log.format, sys.stderr)
    raise_descriptor_limit()
    return ending.run(lambda deadline: _serve(config, path, deadline))


async def _serve(config: AgentConfig, path: Path, deadline: ending.Deadline) -> int:
    from edgeagent.agent.agent import serve  # noqa: PLC0415  not needed to report a configuration error

    return await serve(config, path, stop=asyncio.Event(), deadline=deadline)
