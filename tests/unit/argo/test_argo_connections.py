from __future__ import annotations

import ssl

import httpx
import pytest

from edgeagent.argo import connections as connections_module
from edgeagent.argo.connections import Connections


class Transport(httpx.AsyncHTTPTransport):
    """A connection that never connects."""

    def __init__(self) -> None:
        self.closed = False

    async def aclose(self) -> None:
        """Note it."""
        self.closed = True


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Transport]:
    """Every connection that was made."""
    transports: list[Transport] = []

    def new_connection(_: ssl.SSLContext) -> Transport:
        transports.append(Transport())
        return transports[-1]

    monkeypatch.setattr(connections_module, "new_connection", new_connection)
    return transports


async def test_a_connection_is_kept_for_the_next_request_and_closed_in_the_end(made: list[Transport]) -> None:
    connections, context = Connections(2), ssl.create_default_context()
    for _ in range(3):
        async with connections.borrow(context):
            pass
    assert [transport.closed for transport in made] == [False]
    await connections.aclose()
    assert [transport.closed for transport in made] == [True]


async def test_a_connection_in_use_when_all_are_closed_closes_with_its_request(made: list[Transport]) -> None:
    connections = Connections(2)
    async with connections.borrow(ssl.create_default_context()):
        await connections.aclose()
        assert not made[0].closed
    assert made[0].closed
