"""Devices that mean no good, or are broken, at the listener of a running agent: what they get, and what others feel."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeagent.listener.passwords import SALT_BYTES, line_of, secret_of
from edgeagent.listener.reasons import Reason
from tests.fakes.mosquitto import free_port
from tests.fakes.mqtt_bytes import (
    DISCONNECT,
    MQTT_5,
    MQTT_31,
    MQTT_311,
    PINGREQ,
    connect,
    packet,
    publish,
    subscribe,
    text,
)
from tests.fakes.paho_device import PahoDevice
from tests.fakes.programs import Agent
from tests.fakes.raw_device import RawDevice
from tests.waiting import DEADLINE_S, until

RULE = """
[[rule]]
name = "all"
namespace = "plant"
template = "inspect"
"""
NOWHERE = "mqtt://127.0.0.1:1"
FLOOD_DEADLINE_S = 60.0  # for 20 messages, of which each took 5 s where a flood was not divided into turns
ROUND_TRIPS = 20
ATTEMPTS = 10_000
DEVICES = 1000
EACH = 300
KILLS = 3
MOST_IDLE_BYTES = 12 << 20
CONNACK, PUBACK, SUBACK, DISCONNECTED = 0x20, 0x40, 0x90, 0xE0


class Served:
    """A running agent that listens, and whose uplink leads nowhere."""

    def __init__(self, agent: Agent, port: int) -> None:
        self.agent = agent
        self.port = port

    @property
    def used_bytes(self) -> int:
        """What it takes of the machine's memory."""
        status = Path(f"/proc/{self.agent.pid}/status").read_text("ascii")
        match = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        assert match is not None
        return int(match[1]) << 10

    async def count(self, key: str) -> int:
        """A figure of the listener."""
        found: int = (await self.agent.get("/v1/stats"))["mqtt"][key]
        return found


@contextlib.asynccontextmanager
async def served(directory: Path, mqtt: str = "", **tables: str) -> AsyncIterator[Served]:
    """An agent with more keys of `[mqtt]`, which ends in order."""
    port = free_port()
    keys = {"mqtt": f'listen = "127.0.0.1:{port}"\n{mqtt}', **tables}
    agent = Agent(directory / "agent", NOWHERE, rules=RULE, tables=keys)
    async with agent:
        yield Served(agent, port)
        assert await agent.stop() == 0


async def round_trips(device: RawDevice, count: int = ROUND_TRIPS) -> None:
    """Publish events at QoS 1, each when the one before is acknowledged."""
    for number in range(1, count + 1):
        await device.send(publish(device.version, "events/good", b"{}", qos=1, packet_id=number))
        answer = await device.packet()
        assert (answer.first, answer.body[:2]) == (PUBACK, number.to_bytes(2, "big"))


@contextmanager
def flooding(port: int, data: bytes) -> Iterator[None]:
    """A device says the same as fast as it can, and reads what it gets."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(connect(MQTT_311, "evil"))
    assert sock.recv(4) == b"\x20\x02\x00\x00"

    def write() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(data)

    def read() -> None:
        with contextlib.suppress(OSError):
            while sock.recv(1 << 16):
                pass

    threads = [threading.Thread(target=work) for work in (write, read)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        sock.close()


@pytest.mark.parametrize(
    "data",
    [
        publish(MQTT_311, "no/right", b"") * 20_000,
        publish(MQTT_311, "events/evil", b"{}") * 10_000,
        publish(MQTT_311, "events/", b"{}") * 10_000,
        PINGREQ * 100_000,
        subscribe(MQTT_311, 1, *[(f"no/{number}", 0) for number in range(500)]) * 50,
        (PINGREQ + subscribe(MQTT_311, 1, *[("edgeagent/status/" + "a/" * 10 + "a", 0)] * 350)) * 100,
    ],
    ids=[
        "what it may not publish",
        "events",
        "events without a source",
        "pings",
        "subscriptions",
        "deep subscriptions between pings",
    ],
)
async def test_a_device_that_floods_leaves_the_others_their_acknowledgements(tmp_path: Path, data: bytes) -> None:
    async with served(tmp_path) as it, RawDevice(it.port, "good") as good:
        before = it.used_bytes
        with flooding(it.port, data):
            async with asyncio.timeout(FLOOD_DEADLINE_S):
                await round_trips(good)
            assert it.used_bytes - before < 48 << 20
        await round_trips(good)
        assert it.agent.log.count("WARNING") + it.agent.log.count("ERROR") < 10, it.agent.tail()


FAULTS_BEFORE: dict[str, tuple[bytes, Reason | None]] = {
    "no CONNECT": (PINGREQ, None),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", None),
    "TLS where there is none": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", None),
    "another protocol": (packet(0x10, text("MQTX"), b"\x05\x02\x00\x3c\x00", text("a")), None),
    "a flag in the first byte": (b"\x11" + connect(MQTT_5)[1:], None),
    "the reserved flag": (connect(MQTT_5, flags=0x03), Reason.MALFORMED_PACKET),
    "a client id that is no UTF-8": (connect(MQTT_5, b"\xc3\x28"), Reason.MALFORMED_PACKET),
    "a client id with NUL": (connect(MQTT_5, b"a\x00b"), Reason.MALFORMED_PACKET),
    "256 MB announced": (b"\x10\xff\xff\xff\x7f", None),
    "a length of five bytes": (b"\x10\xff\xff\xff\xff\x7f", None),
}


async def test_who_does_not_even_connect_as_it_should_is_told_why_and_is_gone(tmp_path: Path) -> None:
    async with served(tmp_path) as it, RawDevice(it.port, "good") as good:
        for fault, (data, reason) in FAULTS_BEFORE.items():
            device = RawDevice(it.port)
            await device.open()
            await device.send(data)
            answer = await device.rest()
            assert reason is None or (answer[0], answer[3]) == (CONNACK, reason), fault
            device.close()
            await round_trips(good, 1)


FAULTS: dict[str, tuple[Callable[[int], bytes], Reason]] = {
    "a second CONNECT": (connect, Reason.PROTOCOL_ERROR),
    "a wildcard in a topic": (lambda v: publish(v, "events/#"), Reason.TOPIC_NAME_INVALID),
    "NUL in a topic": (lambda v: publish(v, "events/a\x00"), Reason.MALFORMED_PACKET),
    "a topic that is no UTF-8": (lambda v: publish(v, b"events/\xff"), Reason.MALFORMED_PACKET),
    "QoS 3": (lambda _: packet(0x36, text("events/a"), b"\x00\x01\x00"), Reason.MALFORMED_PACKET),
    "packet id 0": (lambda v: publish(v, qos=1, packet_id=0), Reason.PROTOCOL_ERROR),
    "flags of SUBSCRIBE": (lambda v: b"\x80" + subscribe(v, 1, ("a", 0))[1:], Reason.MALFORMED_PACKET),
    "SUBSCRIBE to nothing": (lambda v: subscribe(v, 1), Reason.PROTOCOL_ERROR),
    "a reserved packet": (lambda _: packet(0x00), Reason.MALFORMED_PACKET),
    "an answer of the server": (lambda _: packet(0xD0), Reason.PROTOCOL_ERROR),
    "256 MB announced": (lambda _: b"\x30\xff\xff\xff\x7f", Reason.PACKET_TOO_LARGE),
    "a length of five bytes": (lambda _: b"\x30\xff\xff\xff\xff\x7f", Reason.MALFORMED_PACKET),
    "a PUBLISH that ends in its topic": (lambda _: packet(0x30, b"\x00\x09even"), Reason.MALFORMED_PACKET),
}


@pytest.mark.parametrize("version", [MQTT_31, MQTT_311, MQTT_5])
async def test_what_is_against_the_protocol_ends_the_connection_with_its_reason_and_keeps_what_came_before(
    tmp_path: Path, version: int
) -> None:
    async with served(tmp_path) as it, RawDevice(it.port, "good") as good:
        for fault, (make, reason) in FAULTS.items():
            async with RawDevice(it.port, "evil", version) as device:
                await device.send(publish(version, "events/evil", b"{}"), make(version))
                answer = await device.rest()
                if version == MQTT_5:
                    assert (answer[0], answer[2]) == (DISCONNECTED, reason), fault
                else:
                    assert answer == b"", fault
            await round_trips(good, 1)
        await it.agent.account(pending=2 * len(FAULTS))
        assert it.agent.log.count("\n") < 20, it.agent.tail()


async def test_what_a_device_may_not_do_is_refused_and_counted_and_reaches_nobody(tmp_path: Path) -> None:
    async with served(tmp_path) as it, RawDevice(it.port, "evil", MQTT_5) as evil, RawDevice(it.port, "good") as good:
        await good.send(subscribe(MQTT_311, 1, ("edgeagent/status/good", 1)))
        assert (await good.packet()).body[2] == 1
        for number, topic in enumerate(("edgeagent/status/good", "argo/workflows/trigger", "$SYS/x", "other"), 1):
            await evil.send(publish(MQTT_5, topic, b"{}", qos=1, packet_id=number, retain=True))
            answer = await evil.packet()
            assert (answer.first, answer.body[2]) == (PUBACK, Reason.NOT_AUTHORIZED), topic
        await evil.send(subscribe(MQTT_5, 9, ("#", 1), ("+/#", 0), ("$SYS/#", 0), ("argo/#", 2)))
        answer = await evil.packet()
        assert (answer.first, answer.body[-4:]) == (SUBACK, bytes([Reason.NOT_AUTHORIZED] * 4))
        await round_trips(good, 2)  # and nothing else came
        will = RawDevice(it.port, "will", MQTT_5)
        await will.open()
        parts = (b"\x00", text("edgeagent/status/good"), text(b"{}"))
        await will.send(connect(MQTT_5, "will", *parts, flags=0x06))
        assert (await will.rest())[:4][3] == Reason.NOT_AUTHORIZED
        will.close()
        stats = (await it.agent.get("/v1/stats"))["mqtt"]
        assert (stats["denied"], stats["retained"], stats["connects_refused"]) == (4, 0, 1)


@pytest.mark.parametrize("version", [MQTT_31, MQTT_311, MQTT_5])
async def test_an_event_of_a_device_that_publishes_at_qos_0_and_is_gone_at_once_is_stored(
    tmp_path: Path, version: int
) -> None:
    async with served(tmp_path) as it:
        for number in range(50):
            device = RawDevice(it.port, f"esp-{number}", version)
            await device.open()
            ends = DISCONNECT if number % 2 else b""
            await device.send(
                connect(version, f"esp-{number}"), publish(version, "events/esp", b'{"n":%d}' % number), ends
            )
            device.close()
        await it.agent.account(pending=50)


async def test_ten_thousand_attempts_cost_those_that_are_there_nothing(tmp_path: Path) -> None:
    async with served(tmp_path, "max_connections = 200") as it, RawDevice(it.port, "good") as good:
        before, socks = it.used_bytes, list[socket.socket]()
        for number in range(ATTEMPTS):
            sock = socket.socket()
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(("127.0.0.1", it.port))
            socks.append(sock)
            if number % 1000 == 0:
                await round_trips(good, 1)
            if len(socks) > 2000:
                socks.pop(0).close()
        await round_trips(good)
        assert await it.count("crowded_out") > 0
        assert await it.count("connections") <= 200
        for sock in socks:
            sock.close()
        async with RawDevice(it.port, "later") as later:
            await round_trips(later, 1)
        assert it.used_bytes - before < 24 << 20
        assert it.agent.log.count("\n") < 40, it.agent.tail()


@pytest.mark.parametrize("version", [MQTT_311, MQTT_5])
async def test_a_thousand_idle_devices_take_little_memory(tmp_path: Path, version: int) -> None:
    async with served(tmp_path) as it:
        before, devices = it.used_bytes, list[RawDevice]()
        for number in range(DEVICES):
            device = RawDevice(it.port, f"device-{number}", version)
            await device.__aenter__()
            await device.send(subscribe(version, 1, (f"edgeagent/status/device-{number}", 1)))
            assert (await device.packet()).body[-1] == 1
            devices.append(device)
        assert await it.count("connections") == DEVICES
        assert it.used_bytes - before <= MOST_IDLE_BYTES
        for device in devices:
            device.close()


async def test_clients_that_take_each_others_place_again_and_again_cost_the_others_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as it, RawDevice(it.port, "good") as good:

        async def storm() -> None:
            for _ in range(100):
                async with RawDevice(it.port, "twin") as twin:
                    await twin.send(publish(MQTT_311, "events/twin", b"{}"))

        async with asyncio.timeout(3 * DEADLINE_S):
            await asyncio.gather(*[storm() for _ in range(10)], round_trips(good, 100))
        assert await it.count("sessions") <= 2
        await it.agent.stats(lambda stats: stats["mqtt"]["connections"] == 1, "the twins to be gone")


async def test_devices_that_publish_and_leave_while_the_outbox_is_full_lock_nobody_out(tmp_path: Path) -> None:
    small = 'max_bytes = "1MiB"\nsegment_bytes = "64KiB"\nmax_event_bytes = "32KiB"'
    async with served(tmp_path, "max_connections = 20", outbox=small) as it, RawDevice(it.port, "full") as device:
        await device.send(*[publish(MQTT_311, "events/full", b'"%b"' % (b"x" * 20_000))] * 60)
        await it.agent.logged("mqtt_held")
        for number in range(60):
            async with RawDevice(it.port, f"esp-{number}") as leaving:
                await leaving.send(publish(MQTT_311, "events/esp", b"{}"), DISCONNECT)
        async with RawDevice(it.port, "other") as other:
            await other.send(PINGREQ)
            assert (await other.packet()).first == 0xD0  # PINGRESP


async def test_a_flood_of_wrong_passwords_costs_the_others_nothing(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text(line_of("pump", secret_of(b"right", b"0" * SALT_BYTES)) + "\n", "utf-8")
    users.chmod(0o600)
    async with served(tmp_path, f'users_file = "{users}"') as it, RawDevice(it.port, "good") as good:
        before = it.used_bytes

        async def guess(number: int) -> int:
            device = RawDevice(it.port)
            await device.open()
            await device.send(connect(MQTT_5, f"evil-{number}", text("pump"), text(f"no-{number}"), flags=0xC2))
            answer = await device.rest()
            device.close()
            return answer[3]

        async with asyncio.timeout(3 * DEADLINE_S):
            *answers, _ = await asyncio.gather(*[guess(number) for number in range(500)], round_trips(good, 100))
        assert set(answers) == {Reason.BAD_USER_NAME_OR_PASSWORD, Reason.SERVER_BUSY}
        assert await it.count("connects_refused") == len(answers)
        assert it.used_bytes - before < 24 << 20
        assert it.agent.log.count("\n") < 20, it.agent.tail()


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_kill_9_with_twenty_devices_in_mid_stream_loses_and_doubles_nothing(tmp_path: Path, version: str) -> None:
    port = free_port()
    agent = Agent(tmp_path / "agent", NOWHERE, rules=RULE, tables={"mqtt": f'listen = "127.0.0.1:{port}"'})
    await agent.start()
    async with contextlib.AsyncExitStack() as stack:
        devices = [
            await stack.enter_async_context(PahoDevice(port, f"device-{number}", version=version))
            for number in range(20)
        ]

        most = EACH // (2 * KILLS + 2)  # of each, before the next kill: half as many again as it waits for

        async def feed(device: PahoDevice, qos: int, place: int) -> None:
            for number in range(EACH):
                await device.until(
                    lambda it: number - len(it.acknowledged) < 50 and number < most,  # noqa: B023
                    "acknowledgements",
                )
                device.publish(f"events/device-{place}", b'{"n": %d}' % number, qos, number=number)

        feeding = asyncio.gather(*[feed(device, 1 + place % 2, place) for place, device in enumerate(devices)])
        for part in range(1, KILLS + 1):
            most = (2 * part + 1) * EACH // (2 * KILLS + 2)
            wanted = part * EACH * len(devices) // (KILLS + 1)
            await until(
                lambda: sum(len(device.acknowledged) for device in devices) >= wanted,  # noqa: B023
                deadline_s=3 * DEADLINE_S,
            )
            await agent.kill()
            assert not feeding.done(), "nothing was under way"
            await agent.start()
        most = EACH
        await feeding
        for device in devices:
            await device.until(lambda it: len(it.acknowledged) == EACH, "all acknowledgements")
    stats = await agent.account(pending=EACH * len(devices))
    assert stats["account"]["events"]["stored"] == EACH * len(devices)
    await agent.stop()
