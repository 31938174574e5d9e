from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from edgeagent.argo.client import ArgoClient, ArgoSettings
from tests.fakes.argo_server import FakeArgo
from tests.fakes.http_agent import Agent, serving
from tests.waiting import DEADLINE_S


@pytest.fixture
async def argo() -> AsyncIterator[FakeArgo]:
    """An Argo Server with template inspect in namespace plant; its watches comment often."""
    async with FakeArgo(keepalive_s=0.05) as server:
        server.templates.add(("plant", "inspect"))
        yield server


@pytest.fixture
async def client(argo: FakeArgo) -> AsyncIterator[ArgoClient]:
    """The project's own client of that server."""
    async with ArgoClient(ArgoSettings(argo.url, timeout_s=DEADLINE_S)) as connected:
        yield connected


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    """The agent's HTTP server over a fake, with the usual limits."""
    async with serving() as served:
        yield served
