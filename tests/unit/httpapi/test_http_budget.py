from __future__ import annotations

import asyncio

import pytest

from edgeagent.common.peers import limited_address
from edgeagent.config.checks import MAX_EVENT_BYTES_LIMIT
from edgeagent.httpapi.budget import MAX_REQUEST_BYTES, SMALL_BYTES, Budget
from edgeagent.httpapi.clients import PATIENCE_S, Clients
from edgeagent.httpapi.request import request_head
from edgeagent.httpapi.routes import Routes
from edgeagent.httpapi.stream import WatchRoutes
from tests.fakes.device_port import FakeDevice, FakeOperator, FakeWatch
from tests.waiting import DEADLINE_S

pytestmark = pytest.mark.virtual_time

LARGE = 100 << 10


class FakeClient:
    """A connection that gives way when it is asked to."""

    def __init__(
        self, clients: Clients, address: str = "", *, idle_s: float | None = None, slow_s: float | None = None
    ) -> None:
        now = asyncio.get_running_loop().time()
        self.address = address
        self.idle_since = None if idle_s is None else now - idle_s
        self.receiving_since = None if slow_s is None else now - slow_s
        self.held_bytes = 0
        self.gave_way = False
        self._clients = clients

    def drain(self) -> None:
        """Nothing runs."""

    def give_way(self) -> None:
        """Give back what is held, as one does that is answered."""
        self.gave_way = True
        self._clients.release(self)

    def abort(self) -> None:
        """Nothing to abort."""


def test_the_last_parts_are_kept_for_small_requests_and_for_the_unix_socket() -> None:
    budget = Budget(8 * LARGE)
    assert budget.reserve(6 * LARGE, 6 * LARGE, is_local=False)
    assert not budget.reserve(LARGE, LARGE, is_local=False)
    assert budget.reserve(SMALL_BYTES, SMALL_BYTES, is_local=False)
    assert not budget.reserve(LARGE, LARGE, is_local=False)
    assert not budget.reserve(LARGE, LARGE, is_local=True)
    assert budget.reserve(SMALL_BYTES, SMALL_BYTES, is_local=True)
    budget.give_back(6 * LARGE)
    assert budget.used_bytes == 2 * SMALL_BYTES


async def test_much_that_was_freed_is_given_back_to_the_system_once_and_small_requests_are_not_counted() -> None:
    tidied = asyncio.Event()
    budget = Budget(tidy=tidied.set)
    for _ in range(1000):
        budget.reserve(SMALL_BYTES, SMALL_BYTES, is_local=False)
        budget.give_back(SMALL_BYTES)
    assert budget._timer is None
    budget.reserve(20 << 20, 20 << 20, is_local=False)
    budget.give_back(20 << 20)
    async with asyncio.timeout(DEADLINE_S):
        await tidied.wait()
    budget.close()


async def test_every_request_that_is_taken_at_all_fits_the_budget() -> None:
    routes = Routes(FakeDevice(), FakeOperator(), None, WatchRoutes(FakeWatch()), max_event_bytes=MAX_EVENT_BYTES_LIMIT)
    for methods in (*routes._exact.values(), *routes._below.values()):
        for plan in methods.values():
            most = plan.work_bytes + plan.max_body_bytes * 2  # compressed and not, at a time
            most = max(most, plan.work_bytes + plan.max_body_bytes + (plan.weigh or (lambda _: 0))(b"{" * 1000))
            assert Budget().reserve(most, most, is_local=True)
    plan = routes.plan(request_head(b"POST", b"/v1/events", []))
    assert Budget().reserve(2 * plan.max_body_bytes + (2 << 20), MAX_REQUEST_BYTES, is_local=False)


async def test_the_connection_that_is_idle_for_longest_gives_way_to_a_new_one() -> None:
    clients = Clients(3, Budget())
    busy, old, young = FakeClient(clients), FakeClient(clients, idle_s=20), FakeClient(clients, idle_s=10)
    assert all(clients.add(client) for client in (busy, young, old))
    assert clients.add(FakeClient(clients))
    assert [client.gave_way for client in (busy, old, young)] == [False, True, False]
    assert clients.add(FakeClient(clients))
    assert young.gave_way
    assert not clients.add(FakeClient(clients)), "all are busy"


async def test_a_connection_that_has_only_come_is_not_taken_for_idle() -> None:
    clients = Clients(1, Budget())
    first = FakeClient(clients, idle_s=0)
    assert clients.add(first)
    assert not clients.add(FakeClient(clients))
    assert not first.gave_way


async def test_without_an_idle_one_a_request_that_has_been_arriving_for_long_gives_way(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clients = Clients(2, Budget())
    slow, quick = FakeClient(clients, slow_s=PATIENCE_S + 1), FakeClient(clients, slow_s=PATIENCE_S - 1)
    assert clients.add(slow)
    assert clients.add(quick)
    assert clients.add(FakeClient(clients))
    assert (slow.gave_way, quick.gave_way) == (True, False)
    assert not clients.add(FakeClient(clients))
    assert not clients.add(FakeClient(clients))
    assert [getattr(record, "event", "") for record in caplog.records] == ["http_connections_full"]


async def test_one_address_never_has_all_connections_but_loopback_may() -> None:
    clients = Clients(4, Budget())
    theirs = [FakeClient(clients, "10.0.0.9") for _ in range(5)]
    assert [clients.add(client) for client in theirs] == [True, True, True, False, False]
    assert clients.add(FakeClient(clients, "10.0.0.7"))
    ours = Clients(4, Budget())
    assert all(ours.add(FakeClient(ours, limited_address(("127.0.0.1", 1)))) for _ in range(4))


async def test_an_address_at_its_limit_replaces_its_own_idle_connection_and_nobody_elses() -> None:
    clients = Clients(4, Budget())
    other = FakeClient(clients, "10.0.0.7", idle_s=100)
    mine = [FakeClient(clients, "10.0.0.9", idle_s=10) for _ in range(3)]
    assert all(clients.add(client) for client in (other, *mine))
    assert clients.add(FakeClient(clients, "10.0.0.9"))
    assert [client.gave_way for client in (other, *mine)].count(True) == 1
    assert not other.gave_way


@pytest.mark.parametrize(
    ("peername", "address"),
    [
        (("192.0.2.1", 5), "192.0.2.1"),
        (("127.0.0.9", 5), ""),
        (("::1", 5, 0, 0), ""),
        (("2001:db8:1:2:3:4:5:6", 5, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 5, 0, 2), "fe80::/64"),
        ("", ""),
        (None, ""),
    ],
)
def test_whose_limit_a_connection_counts_towards(peername: object, address: str) -> None:
    assert limited_address(peername) == address


async def test_room_is_made_by_the_request_that_has_been_arriving_for_longest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clients = Clients(9, Budget(8 * LARGE + 8))
    slow, slower = FakeClient(clients, slow_s=PATIENCE_S + 1), FakeClient(clients, slow_s=PATIENCE_S + 2)
    quick, new = FakeClient(clients, slow_s=0), FakeClient(clients)
    for client in (slow, slower, quick, new):
        assert clients.add(client)
    small = FakeClient(clients, slow_s=PATIENCE_S + 3)
    assert clients.add(small)
    assert clients.reserve(small, 1)
    assert all(clients.reserve(client, 2 * LARGE) for client in (slow, slower, quick))
    assert clients.reserve(new, 2 * LARGE)
    assert (slow.gave_way, slower.gave_way, quick.gave_way, small.gave_way) == (False, True, False, False)
    assert not clients.reserve(new, 6 * LARGE)
    assert slow.gave_way
    assert new.held_bytes == 2 * LARGE, "what it had it keeps"
    assert [getattr(record, "event", "") for record in caplog.records] == ["http_memory_full"]
    clients.release(new)
    assert clients.reserve(new, 3 * LARGE)
