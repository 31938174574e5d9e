"""Where an operator's commands work: on a running agent over its Unix socket, else on its state directory."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Protocol

from edgeagent.cli.client import AgentClient
from edgeagent.cli.options import client_config, socket_path
from edgeagent.errors import AgentUnreachable
from edgeagent.ports.call import A, Call, R


class OutboxAccess(Protocol):
    """An outbox, of an agent that runs or of a stopped one."""

    @property
    def agent(self) -> str:
        """The agent's id."""

    def perform(self, call: Call[A, R], arguments: A) -> R:
        """Do what a call of `ports/operator.py` says; what it changes is synced when it returns.

        Raises:
            AgentUnreachable, AgentRefused: a running agent does not answer, or says no.
            EdgeAgentError: as `OperatorPort`, on a stopped one.
        """


def with_outbox(
    args: argparse.Namespace, work: Callable[[argparse.Namespace, OutboxAccess], int], *, only_looks: bool
) -> int:
    """Do some work where the outbox is. `only_looks`: on a stopped agent's directory nothing may change.

    Raises:
        OutboxLocked: the agent runs, but its socket cannot be reached.
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
    # Only here: it loads all of the agent.
    from edgeagent.agent.stopped import looked_at, opened  # noqa: PLC0415

    with looked_at(config) if only_looks else opened(config) as stopped:
        return work(args, stopped)


class RunningOutbox:
    """The outbox of a running agent, reached by a client that somebody else closes."""

    def __init__(self, client: AgentClient) -> None:
        """Ask the agent for its name.

        Raises:
            AgentUnreachable: none runs.
        """
        self._client = client
        self.agent = str(client.request("GET", "/v1/stats")[1]["agent"])

    def perform(self, call: Call[A, R], arguments: A) -> R:
        """See `OutboxAccess`."""
        return self._client.perform(call, arguments)
