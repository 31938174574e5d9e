"""How a command finds its agent."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from edgeagent.cli.client import AgentClient
from edgeagent.config import agent_config_path, load_agent
from edgeagent.config.tables import AgentConfig
from edgeagent.host import systemd

# The socket of the systemd unit's agent: an operator's shell has no $RUNTIME_DIRECTORY.
_UNIT_SOCKET = Path("/run/edgeagent/agent.sock")


def client_config(args: argparse.Namespace) -> AgentConfig:
    """The agent's configuration, for a command that only communicates with it; without a file, the defaults.

    Raises:
        ConfigError: the file that is named, or exists at the usual path, cannot be used.
    """
    path = agent_config_path(args.config)
    if not args.config and "EDGEAGENT_CONFIG" not in os.environ and not _may_exist(path):
        return AgentConfig()
    return load_agent(path, needs_files=False)


def socket_path(config: AgentConfig) -> Path:
    """The Unix socket on which this configuration's agent listens."""
    if config.http.socket:
        return Path(config.http.socket)
    path = systemd.runtime_directory(systemd.state_directory(config.agent.state_dir)) / "agent.sock"
    return _UNIT_SOCKET if not _may_exist(path) and _may_exist(_UNIT_SOCKET) else path


def _may_exist(path: Path) -> bool:
    """Whether a file is there, or in a directory that is kept from this user: whoever opens it then says so."""
    try:
        return path.exists()
    except PermissionError:
        return True


def agent_client(config: AgentConfig) -> AgentClient:
    """A client of this configuration's agent, on its Unix socket."""
    return AgentClient.unix(socket_path(config))
