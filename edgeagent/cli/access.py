"""Access of an operator's commands: to a running agent over its Unix socket, otherwise to its state directory."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Protocol

from edgeagent.cli.client import AgentClient
from edgeagent.cli.find_agent import client_config, socket_path
from edgeagent.errors import AgentUnreachable, OutboxLocked
from edgeagent.ports.call import A, Call, R


class OutboxAccess(Protocol):
    """The outbox of a running agent or of a stopped one. A change is synced when `perform` returns."""

    @property
    def agent(self) -> str:
        """The agent's id."""

    def perform(self, call: Call[A, R], arguments: A) -> R:
        """Perform a call of `ports/operator.py`; its changes are synced when this returns.

        Raises:
            AgentUnreachable, AgentRefused: a running agent does not answer, or refuses.
            EdgeAgentError: as for `OperatorPort`, on a stopped one.
        """


def with_outbox(
    args: argparse.Namespace, work: Callable[[argparse.Namespace, OutboxAccess], int], *, read_only: bool
) -> int:
    """Do some work with the outbox. `read_only`: change nothing in a stopped agent's directory.

    Raises:
        OutboxLocked: the agent runs, but its socket cannot be reached, such as while it starts.
        CommandFailed: there is no outbox, or the work fails.
    """
    config = client_config(args)
    with AgentClient.unix(socket_path(config)) as client:
        try:
            running = RunningOutbox(client)
        except AgentUnreachable:
            running = None
        if running is not None:
            return work(args, running)
    # Imported only here: it loads the whole agent.
    from edgeagent.agent.stopped import looked_at, opened  # noqa: PLC0415

    try:
        with looked_at(config) if read_only else opened(config) as stopped:
            return work(args, stopped)
    except OutboxLocked as exc:
        silent = f", and no agent answers on {socket_path(config)}"
        why = f"{silent}: if it has just been started, try again; else see its log"
        raise OutboxLocked(exc.directory, exc.holder, why) from exc


class RunningOutbox:
    """The outbox of a running agent. The caller opens and closes the client."""

    def __init__(self, client: AgentClient) -> None:
        """Ask the agent for its id.

        Raises:
            AgentUnreachable: no agent is running.
        """
        self._client = client
        self.agent = str(client.request("GET", "/v1/stats")[1]["agent"])

    def perform(self, call: Call[A, R], arguments: A) -> R:
        """See `OutboxAccess`."""
        return self._client.perform(call, arguments)
