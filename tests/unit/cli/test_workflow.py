"""What `edgeagent workflow` asks the agent for."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from edgeagent.cli import workflow
from edgeagent.config.tables import AgentConfig
from edgeagent.ports.manage import ManagedRequest, ManageOrder


class Client:
    """An agent that takes every order."""

    def __init__(self) -> None:
        self.orders: list[ManageOrder] = []

    def perform(self, _call: Any, order: ManageOrder) -> ManagedRequest:
        """Take it."""
        self.orders.append(order)
        return ManagedRequest("r", order.operation, "plant", "waiting", "", "")


@pytest.mark.parametrize(("given", "ttl_s"), [([], 3600.0), (["--ttl", "90s"], 90.0), (["--ttl", "0s"], 0.0)])
def test_the_ttl_is_the_one_that_is_given(given: list[str], ttl_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()

    @contextmanager
    def agent_client(_config: AgentConfig) -> Iterator[Client]:
        yield client

    monkeypatch.setattr(workflow, "agent_client", agent_client)
    monkeypatch.setattr(workflow, "client_config", lambda _args: AgentConfig())
    parser = argparse.ArgumentParser()
    workflow.add_parser(parser.add_subparsers())
    args = parser.parse_args(["workflow", "stop", "9f2c61d0", *given])
    assert args.run(args) == 0
    assert [order.ttl_s for order in client.orders] == [ttl_s]
