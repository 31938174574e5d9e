"""What hostile clients can make of the agent's memory, under the limits that systemd/edgeagent.service sets."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgeagent.common.units import Size
from tests.fakes.cgroup import memory_limited
from tests.fakes.mosquitto import free_port
from tests.fakes.programs import RULE, Program
from tests.waiting import DEADLINE_S, until, until_answer

UNIT = (Path(__file__).parents[2] / "systemd" / "edgeagent.service").read_text("utf-8")
BATCH_BYTES = 3_670_016  # 3.5 MiB, below the 4 MiB that a batch may have
SHORT_CONNECTIONS = 64
SENDERS = 24
BATCHES_OF_EACH = 6
# What stays when all is over: the agent at rest, and what its allocator cannot give back.
MOST_AFTER_BYTES = 96 << 20


def limit(key: str) -> int:
    """A limit of the unit, in bytes."""
    match = re.search(rf"^{key}=(\d+)M$", UNIT, re.MULTILINE)
    assert match is not None
    return Size.parse(f"{match[1]}MiB")


def batch(temp: int) -> bytes:
    """A request with as many events as a batch may have, of 3.5 MiB."""
    line = b'{"source":"boiler-1","data":{"temp":%d,"x":"%b"}}\n' % (temp, b"y" * 3600)
    body = line * (BATCH_BYTES // len(line))
    head = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


class Served:
    """A running agent that listens on TCP."""

    def __init__(self, program: Program, port: int) -> None:
        self.program = program
        self.port = port

    def memory(self, key: str) -> int:
        """`VmHWM` (the most so far) or `VmRSS` (now), in bytes."""
        status = Path(f"/proc/{self.program.pid}/status").read_text("ascii")
        match = re.search(rf"^{key}:\s+(\d+) kB$", status, re.MULTILINE)
        assert match is not None
        return int(match[1]) << 10

    async def honest(self) -> None:
        """An event of a device, sent again after a refusal as devices do, is taken."""

        def post() -> int:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
            try:
                connection.request("POST", "/v1/events/boiler-9", b'{"temp":99}')
                return connection.getresponse().status
            except OSError:
                return 0
            finally:
                connection.close()

        def taken(status: int) -> bool:
            assert status in {0, 202, 503}, status
            return status == 202

        await until_answer(lambda: asyncio.to_thread(post), taken, "an event to be taken")

    async def connect(self) -> socket.socket:
        """A connection."""
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        return sock


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """An agent under the unit's limit, whose uplink is away."""
    port = free_port()
    config = (
        f'[agent]\nid = "gw-1"\nstate_dir = "{tmp_path}/state"\n[uplink]\nurl = "mqtt://127.0.0.1:{free_port()}"\n'
        f'[http]\nlisten = "127.0.0.1:{port}"\nsocket = "{tmp_path}/s"\n[log]\nformat = "text"\n{RULE}'
    )
    program = Program("run", tmp_path, config)
    program.spawn()
    await program.logged("agent_started")
    with memory_limited(program.pid, limit("MemoryMax")):
        yield Served(program, port)
        assert await program.stop() == 0


async def test_bodies_that_never_end_take_no_more_than_their_share_and_lock_nobody_out(served: Served) -> None:
    short = batch(1)[:-1]
    socks = [await served.connect() for _ in range(SHORT_CONNECTIONS)]

    async def send(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(sock, short)

    try:
        sending = [asyncio.create_task(send(sock)) for sock in socks]
        await served.program.logged("http_memory_full")
        await served.honest()
        await asyncio.wait(sending, timeout=DEADLINE_S)
        await served.honest()
        assert served.memory("VmHWM") < limit("MemoryHigh")
    finally:
        for sock in socks:
            sock.close()
    await served.honest()
    await until(
        lambda: served.memory("VmRSS") < MOST_AFTER_BYTES, "the memory to be given back", seen=served.program.tail
    )


@pytest.mark.parametrize("temp", [1, 99], ids=["that no rule wants", "that are stored"])
async def test_batches_whose_senders_do_not_wait_take_no_more_than_their_share_and_give_it_back(
    served: Served, temp: int
) -> None:
    data = batch(temp)

    async def sender() -> None:
        for _ in range(BATCHES_OF_EACH):
            with contextlib.suppress(OSError):
                sock = await served.connect()
                try:
                    await asyncio.get_running_loop().sock_sendall(sock, data)
                finally:
                    sock.close()

    async with asyncio.timeout(3 * DEADLINE_S):  # half a gigabyte, of which each line is an event
        sending = asyncio.gather(*(sender() for _ in range(SENDERS)))
        while not sending.done():
            await served.honest()
        await sending
    await served.honest()
    assert served.memory("VmHWM") < limit("MemoryHigh")
    await until(
        lambda: served.memory("VmRSS") < MOST_AFTER_BYTES, "the memory to be given back", seen=served.program.tail
    )
