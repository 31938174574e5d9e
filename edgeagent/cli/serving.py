"""Runs an agent whose configuration was read (`running.py`). With this module comes asyncio."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from edgeagent.config.tables import AgentConfig
from edgeagent.errors import ConfigError
from edgeagent.host import ending, log
from edgeagent.host.descriptors import raise_descriptor_limit
from edgeagent.mqtt import engines

_log = logging.getLogger(__name__)


def serve_agent(config: AgentConfig, path: Path, refused: str = "") -> int:
    """Run until SIGTERM or SIGINT; returns the exit code. `path`: of the agent's configuration.

    `refused`: why `config` is not what is in that file, but the configuration before.

    Raises:
        ConfigError, OutboxLocked, StorageFailed, ListenFailed: the agent cannot start.
    """
    if problem := engines.qos_problem(config.uplink):
        raise ConfigError(str(path), [problem])
    log.configure(config.log.level, config.log.format, sys.stderr)
    if refused:
        _log.error(
            "%s is not used: %s; the configuration before it is. Correct it and apply it again",
            path,
            refused,
            extra={"event": "config_given_up"},
        )
    raise_descriptor_limit()
    return ending.run(lambda deadline: _serve(config, path, deadline))


async def _serve(config: AgentConfig, path: Path, deadline: ending.Deadline) -> int:
    from edgeagent.agent.agent import serve  # noqa: PLC0415  not needed to report a configuration error

    return await serve(config, path, stop=asyncio.Event(), deadline=deadline)
