from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

import edgeagent
from edgeagent.common.exposition import exposition
from edgeagent.dispatcher import gate
from edgeagent.dispatcher.gate import GateState
from edgeagent.dispatcher.metrics import PREFIX, dispatcher_families
from edgeagent.dispatcher.probes import Probes, not_ready
from edgeagent.dispatcher.stats import DispatcherStats
from edgeagent.dispatcher.statuses import StatusesStats
from edgeagent.errors import EngineRefused, ListenFailed, Unavailable
from edgeagent.httpapi.timeouts import Timeouts
from tests.fakes.dispatching import Stage, trigger
from tests.fakes.http_agent import Reply, Wire, free_listener
from tests.waiting import until, until_answer

READY = DispatcherStats(connected=True)
_MOVING_BYTES = 40  # by so much the lengths of the process's own figures may differ from one scrape to the next
SAMPLE = re.compile(rf'{PREFIX}[a-z_]+(\{{[a-z]+="[a-z0-9.]+"(,[a-z]+="[a-z0-9.]+")*\}})? \d+')


def statuses() -> StatusesStats:
    fields = StatusesStats.__struct_fields__
    values = {name: 1000 + index for index, name in enumerate(fields)}
    return msgspec.convert({**values, "leading": True}, StatusesStats)


def counting() -> DispatcherStats:
    stats = DispatcherStats(answered={200: 7, 503: 2}, connected=True, gate=GateState.HOLDING)
    for index, name in enumerate(stats.__struct_fields__):
        if isinstance(getattr(stats, name), int) and name != "connected":
            setattr(stats, name, 2000 + index)
    return stats


def metrics_text(stats: DispatcherStats, statuses: StatusesStats | None) -> str:
    return exposition(dispatcher_families(stats, statuses, version="1.2", python="3.11.2")).decode()


class Probed:
    """Probes that listen, and connections to them."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.stats = DispatcherStats()

    async def connect(self) -> Wire:
        """A raw connection."""
        return Wire(*await asyncio.open_connection("127.0.0.1", self.port))

    async def ask(self, path: str, method: str = "GET") -> Reply:
        """The answer to one request on a connection of its own, as a kubelet asks: by the pod's address."""
        wire = await self.connect()
        try:
            await wire.send(f"{method} {path} HTTP/1.1\r\nHost: 10.1.2.3:8745\r\n\r\n".encode())
            return await wire.reply(has_body=method != "HEAD")
        finally:
            await wire.close()


@asynccontextmanager
async def probing(**options: Any) -> AsyncIterator[Probed]:
    """Running probes; whatever the loop's exception handler hears fails the test."""
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unhandled.append(context))
    probed = Probed(0)
    probes = Probes(lambda: probed.stats, statuses, **options)
    probed.port = await probes.start("127.0.0.1", 0)
    try:
        yield probed
    finally:
        await probes.close()
    assert not unhandled


def test_everything_that_is_counted_is_in_the_metrics_under_a_name_of_its_own() -> None:
    text = metrics_text(counting(), statuses())
    values = [line.rpartition(" ")[2] for line in text.splitlines() if not line.startswith("#")]
    expected = [value for value in msgspec.structs.astuple(counting()) if isinstance(value, int) and value > 1]
    expected += [value for value in msgspec.structs.astuple(statuses()) if value > 1]
    assert [value for value in expected if str(value) not in values] == []


def test_the_metrics_are_in_prometheus_text_format() -> None:
    lines = metrics_text(counting(), statuses()).split("\n")
    assert lines.pop() == "", "the last line must end with a line feed"
    names: list[str] = []
    for line in lines:
        if line.startswith("# HELP "):
            names.append(line.split(" ")[2])
        elif line.startswith("# TYPE "):
            kind = "counter" if names[-1].endswith("_total") else "gauge"
            assert line == f"# TYPE {names[-1]} {kind}"
        else:
            assert SAMPLE.fullmatch(line)
            assert re.split(r"[{ ]", line)[0] == names[-1]
    assert len(set(names)) == len(names), "each family once"
    assert f'{PREFIX}answered_total{{code="503"}} 2' in lines
    assert f'{PREFIX}gate{{state="holding"}} 1' in lines
    assert f'{PREFIX}gate{{state="open"}} 0' in lines


@pytest.mark.parametrize(
    ("stats", "reason"),
    [
        (READY, None),
        (DispatcherStats(connected=True, gate=GateState.HOLDING), None),
        (DispatcherStats(connected=False), "broker"),
        (DispatcherStats(connected=True, gate=GateState.CLOSED), "does not answer"),
        (DispatcherStats(connected=True, gate=GateState.UNAUTHORIZED), "token"),
    ],
)
def test_ready_means_that_triggers_are_taken(stats: DispatcherStats, reason: str | None) -> None:
    why = not_ready(stats)
    assert why == reason if reason is None else reason in str(why)
    assert "\n" not in str(why)


async def test_a_dispatcher_is_ready_while_its_gate_is_open_and_it_has_a_broker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "PROBE_BASE_S", 0.0)
    stage = Stage(hold_s=0.0)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(stage.dispatcher.run())
        assert not_ready(stage.dispatcher.stats()) is not None
        stage.connect()
        assert not_ready(stage.dispatcher.stats()) is None
        stage.engine.failures = [EngineRefused("argo", 401, "no"), EngineRefused("argo", 401, "no")]
        stage.dispatcher.on_messages([trigger("a", 1)])
        await until(lambda: not_ready(stage.dispatcher.stats()) is not None)
        assert "token" in str(not_ready(stage.dispatcher.stats()))
        stage.engine.failures = []
        await until(lambda: not_ready(stage.dispatcher.stats()) is None)
        stage.dispatcher.on_down(Unavailable("broker", "gone"))
        assert "broker" in str(not_ready(stage.dispatcher.stats()))
        running.cancel()


async def test_healthy_says_nothing_of_broker_and_engine() -> None:
    async with probing() as probed:
        probed.stats = DispatcherStats(connected=False, gate=GateState.UNAUTHORIZED)
        assert (await probed.ask("/healthz")).status == 200
        ready = await probed.ask("/readyz")
        assert (ready.status, ready.json["detail"]) == (503, "there is no connection to the broker")
        probed.stats = READY
        assert (await probed.ask("/readyz")).status == 200
        metrics = await probed.ask("/metrics")
        assert (metrics.status, metrics.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        told = metrics.body.decode()
        counted = [line for line in metrics_text(READY, statuses()).splitlines() if "build_info{" not in line]
        assert [line for line in counted if line not in told.splitlines()] == []
        assert f'{PREFIX}build_info{{version="{edgeagent.__version__}"' in told
        assert "\nprocess_resident_memory_bytes " in told


async def test_a_stopping_dispatcher_is_not_ready_and_still_healthy() -> None:
    probes = Probes(lambda: READY, None)
    port = await probes.start("127.0.0.1", 0)
    probes.stop_being_ready()
    probed = Probed(port)
    assert (await probed.ask("/readyz")).json["detail"] == "the dispatcher is stopping"
    assert (await probed.ask("/healthz")).status == 200
    await probes.close()
    with pytest.raises(OSError, match="Connect"):
        await probed.connect()


async def test_nothing_else_is_there() -> None:
    async with probing() as probed:
        for path in ("/", "/healthz/", "/v1/stats", "/v1/events", "/metrics.txt", "/%68ealthz"):
            assert (await probed.ask(path)).status == 404
        assert (await probed.ask("/readyz?verbose=1")).status == 503, "a query changes nothing"
        refused = await probed.ask("/healthz", "POST")
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/nothing"])
async def test_head_is_answered_as_get_without_a_body(path: str) -> None:
    async with probing() as probed:
        probed.stats = READY
        head, get = await probed.ask(path, "HEAD"), await probed.ask(path)
        if path == "/metrics":  # the figures of the process go on between the two
            assert abs(int(head.headers.pop("content-length")) - int(get.headers.pop("content-length"))) < _MOVING_BYTES
        assert (head.status, head.headers) == (get.status, get.headers)
        wire = await probed.connect()
        await wire.send(f"HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert (await wire.rest()).endswith(b"\r\n\r\n")
        await wire.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET /healthz\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"y" * 40_000 + b"\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    ],
)
async def test_hostile_bytes_are_refused_and_the_next_client_is_served(sent: bytes) -> None:
    async with probing(timeouts=Timeouts(request_s=0.2, linger_s=0.1)) as probed:
        wire = await probed.connect()
        await wire.send(sent)
        assert 400 <= (await wire.reply()).status < 500
        await wire.close()
        # It has as little time as the hostile one, which may be too little on a busy machine.
        await until_answer(lambda: probed.ask("/healthz"), lambda reply: reply.status == 200, "an answer")


async def test_a_slow_client_is_turned_out() -> None:
    async with probing(timeouts=Timeouts(request_s=0.1)) as probed:
        wire = await probed.connect()
        await wire.send(b"GET /healthz HTTP/1.1\r\nHo")
        assert (await wire.rest()).startswith(b"HTTP/1.1 408")
        await wire.close()
    async with probing(timeouts=Timeouts(idle_s=0.1)) as probed:
        idle = await probed.connect()
        assert await idle.rest() == b""
        await idle.close()


async def test_too_many_connections_are_refused_until_some_end() -> None:
    async with probing(max_connections=3) as probed:
        held = [await probed.connect() for _ in range(3)]
        for wire in held:
            await wire.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await wire.reply()).status == 200
        refused = await probed.connect()
        assert (await refused.reply()).status == 503
        await refused.close()
        await held[0].close()
        await until_answer(lambda: probed.ask("/healthz"), lambda reply: reply.status == 200, "a free connection")
        for wire in held[1:]:
            await wire.close()


async def test_an_address_in_use_is_told_with_what_to_do() -> None:
    with free_listener() as taken:
        probes = Probes(lambda: READY, None)
        port = taken.getsockname()[1]
        with pytest.raises(ListenFailed, match=rf"127.0.0.1:{port}: address already in use: set http.listen"):
            await probes.start("127.0.0.1", port)
        with pytest.raises(ListenFailed, match=r"set http\.listen"):
            await probes.start("no..name", 0)
        await probes.close()
