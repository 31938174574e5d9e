"""The listener on real sockets, in front of an intake that the test lets refuse or wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from edgeagent.common.units import Size
from edgeagent.config.tables import Mqtt, MqttAllow
from edgeagent.errors import MessageError, OutboxFull
from edgeagent.events.event import Draft
from edgeagent.listener import door, inbox, outgoing
from edgeagent.listener.access import Permissions
from edgeagent.listener.bounds import broker_of
from edgeagent.listener.server import MqttListener
from edgeagent.listener.store import ListenerStore
from edgeagent.listener.users import Users
from edgeagent.outbox.disk import DiskThread
from edgeagent.ports.device import RefusedEvent
from edgeagent.ports.event_topics import EventTopics
from tests.fakes.mosquitto import free_port
from tests.fakes.mqtt_bytes import DISCONNECT, connect, publish, subscribe
from tests.fakes.raw_device import RawDevice
from tests.waiting import DEADLINE_S, until

V311 = 4


class Intake:
    """An `EventPort`: takes everything, or refuses it for now while `is_full`; waits while `gate` is cleared."""

    def __init__(self) -> None:
        self.batches: list[list[Draft]] = []
        self.refused: list[MessageError] = []
        self.ended: list[str] = []
        self.is_full = False
        self.completing: dict[tuple[str, int], Callable[[], None]] = {}
        self.completes = False
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def bodies(self) -> list[bytes]:
        """The data of all that was taken."""
        return [draft.data for batch in self.batches for draft in batch]

    async def take(self, drafts: Sequence[Draft]) -> Mapping[int, RefusedEvent]:
        """See `EventPort`."""
        await self.gate.wait()
        if self.is_full:
            return {place: RefusedEvent(OutboxFull(1, 1)) for place in range(len(drafts))}
        self.batches.append(list(drafts))
        return {}

    def refuse(self, error: MessageError) -> None:
        """See `EventPort`."""
        self.refused.append(error)

    def complete(self, session: str, packet_id: int, done: Callable[[], None]) -> bool:
        """See `EventPort`; it is for the test to say `done`, if it is to be said."""
        if self.completes:
            self.completing[session, packet_id] = done
        return self.completes

    def end_session(self, session: str) -> None:
        """See `EventPort`."""
        self.ended.append(session)


class Device:
    """A raw client of MQTT 3.1.1."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def says(self, *packets: bytes) -> None:
        """Send these, at once."""
        self.writer.write(b"".join(packets))
        await self.writer.drain()

    async def hears(self, size: int) -> bytes:
        """The next bytes."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.readexactly(size)

    async def is_cut_off(self) -> None:
        """Wait for the end."""
        with contextlib.suppress(ConnectionResetError):
            async with asyncio.timeout(DEADLINE_S):
                while await self.reader.read(1 << 16):
                    pass


class Scene:
    """A listener, and devices on it."""

    def __init__(self, listener: MqttListener, intake: Intake, port: int) -> None:
        self.listener, self.intake, self.port = listener, intake, port
        self.devices: list[Device] = []

    async def stranger(self) -> Device:
        """A connection that says nothing yet."""
        self.devices.append(Device(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.devices[-1]

    async def device(self, client_id: str = "boiler-1", *, clean: bool = False) -> Device:
        """A device that was let in."""
        device = await self.stranger()
        await device.says(connect(V311, client_id, flags=0x02 if clean else 0x00))
        assert (await device.hears(4))[:2] == b"\x20\x02"
        return device


@asynccontextmanager
async def scene(directory: Path, shut: str = "", users: Users | None = None, **keys: object) -> AsyncIterator[Scene]:
    """A listener that runs."""
    port = free_port()
    everything = [MqttAllow(publish=("#",), subscribe=("#",))]
    mqtt = Mqtt(**{"listen": f"127.0.0.1:{port}", "allow": everything, **keys})  # type: ignore[arg-type]
    broker, intake = broker_of(mqtt), Intake()
    store = ListenerStore(directory / "listener.db", DiskThread("listener"), broker.changes)
    await store.load()
    topics, rights = EventTopics(mqtt.events), Permissions(mqtt, "edgeagent/status/{source}")
    listener = MqttListener(mqtt, broker, store, intake, topics, rights, users, shut=shut)
    await listener.start()
    tasks = [asyncio.create_task(task) for task in listener.tasks().values()]
    played = Scene(listener, intake, port)
    try:
        yield played
    finally:
        for device in played.devices:
            device.writer.transport.abort()
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError), ended
        await listener.close()


def event(packet_id: int, payload: bytes = b"{}", *, dup: bool = False) -> bytes:
    """A PUBLISH at QoS 1 (0 without a packet id)."""
    return publish(V311, "events/boiler-1", payload, qos=1 if packet_id else 0, packet_id=packet_id, duplicate=dup)


async def test_messages_of_all_devices_share_a_commit_and_are_answered_after_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        devices = [await it.device(f"d{number}") for number in range(3)]
        it.intake.gate.clear()
        await devices[0].says(event(1, b"0"))
        await until(lambda: len(it.listener.traffic.inbox) == 1)
        for number, device in enumerate(devices):
            await device.says(event(2, b"%d" % number), event(3, b"1%d" % number))
        await until(lambda: len(it.listener.traffic.inbox) == 7)
        it.intake.gate.set()
        for number, device in enumerate(devices):
            first = b"\x40\x02\x00\x01" if number == 0 else b""
            assert await device.hears(8 + len(first)) == first + b"\x40\x02\x00\x02\x40\x02\x00\x03"
        assert [len(batch) for batch in it.intake.batches] == [1, 6]


async def test_a_message_sent_again_while_the_first_is_on_its_way_is_in_a_later_commit(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        first = await it.device()
        it.intake.gate.clear()
        await first.says(event(9, b"x"))
        await until(lambda: len(it.listener.traffic.inbox) == 1)
        await first.says(event(1, b"a"))
        second = await it.device()  # takes over
        await second.says(event(1, b"a", dup=True))
        await until(lambda: len(it.listener.traffic.inbox) == 3)
        it.intake.gate.set()
        assert await second.hears(4) == b"\x40\x02\x00\x01"
        assert [[draft.redelivered for draft in batch] for batch in it.intake.batches] == [[False], [False], [True]]
        assert len({draft.delivery for batch in it.intake.batches[1:] for draft in batch}) == 1


async def test_held_messages_are_taken_in_order_and_other_devices_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "_HELD_RETRY_S", 0.05)
    async with scene(tmp_path) as it:
        sensor, plug = await it.device("sensor"), await it.device("plug")
        it.intake.is_full = True
        await sensor.says(*(event(number, b"%d" % number) for number in range(1, 200)))
        await until(lambda: it.listener.traffic.inbox.held)
        await sensor.says(event(0, b"200"))  # at QoS 0 it waits in the socket
        await plug.says(publish(V311, "cmnd/x", b"on", qos=1, packet_id=7))
        assert await plug.hears(4) == b"\x40\x02\x00\x07"
        # What the device sent is held, but for what its turn left unread: that waits with the connection.
        assert 0 < it.listener.stats()["waiting"] <= 199
        it.intake.is_full = False
        await sensor.hears(4 * 199)
        await until(lambda: len(it.intake.bodies) == 200)
        assert it.intake.bodies == [b"%d" % number for number in range(1, 201)]
        assert not it.listener.traffic.inbox.held


@pytest.mark.slow
async def test_what_is_held_of_all_devices_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "_HELD_RETRY_S", 0.05)
    async with scene(tmp_path) as it:
        it.intake.gate.clear()
        devices = [await it.device(f"d{number}") for number in range(40)]
        payload = b'"%s"' % (b"x" * 900_000)
        writing = [asyncio.create_task(device.says(event(1, payload), event(2, payload))) for device in devices]
        await until(lambda: it.listener.traffic.inbox.is_full)
        await until(lambda: it.listener.traffic.inbox.used_bytes < inbox.MAX_INBOX_BYTES + (4 << 20))
        it.intake.gate.set()
        await asyncio.gather(*writing)
        for device in devices:
            await device.hears(8)
        assert len(it.intake.bodies) == 80


def holds(it: Scene, size_bytes: int) -> bool:
    """Whether the listener keeps so much of packets whose end did not come yet."""
    return sum(client.partial_bytes for client in it.listener.traffic.clients) == size_bytes


async def test_large_packets_that_come_slowly_give_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "MAX_PARTIAL_BYTES", 1 << 20)
    async with scene(tmp_path) as it:
        devices = [await it.device(f"d{number}") for number in range(5)]
        for number, device in enumerate(devices, 1):
            await device.says(event(1, b"x" * 500_000)[:300_000])
            held_bytes = min(number, 3) * 300_000  # from the fourth on one gives way to each
            await until(partial(holds, it, held_bytes))
        await devices[0].is_cut_off()
        await devices[4].says(event(1, b"x" * 500_000)[300_000:])
        assert await devices[4].hears(4) == b"\x40\x02\x00\x01"


@pytest.mark.slow
async def test_what_devices_do_not_read_is_bounded_over_all_of_them_and_who_reads_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most, large, small = 4 << 20, publish(V311, "x/large", b"x" * 900_000), publish(V311, "x/small", b"on")
    monkeypatch.setattr(outgoing, "MAX_UNSENT_BYTES", most)
    monkeypatch.setattr(outgoing, "_FULL_S", 0.0)
    async with scene(tmp_path) as it, contextlib.AsyncExitStack() as stack:
        deaf = [
            await stack.enter_async_context(RawDevice(it.port, f"deaf-{number}", receive_bytes=2048))
            for number in range(40)
        ]
        for device in deaf:
            await device.send(subscribe(V311, 1, ("x/#", 0)))
            assert (await device.packet()).body[-1] == 0
        reader, sender = await it.device("reader"), await it.device("sender")
        await reader.says(subscribe(V311, 1, ("x/small", 0)))
        assert await reader.hears(5) == b"\x90\x03\x00\x01\x00"
        await sender.says(*[large] * 8)  # the system's buffers take the first ones
        await until(lambda: it.listener.stats()["received"] == 8)
        assert it.listener.stats()["dropped"] > 0
        unsent_bytes = sum(client.flush() for client in it.listener.traffic.clients)
        assert most // 2 < unsent_bytes < most + len(large)
        await sender.says(small)
        assert await reader.hears(len(small)) == small
        heard = await asyncio.gather(*[device.packet() for device in deaf[:2]])
        assert {len(each.body) for each in heard} == {len(large) - 4}


async def test_an_orderly_end_of_a_connection_is_answered_after_the_sync(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        device = await it.device()
        it.intake.gate.clear()
        await device.says(event(0, b"1"), DISCONNECT)
        await until(lambda: len(it.listener.traffic.inbox) == 1)
        assert it.listener.stats()["connections"] == 1
        it.intake.gate.set()
        await device.is_cut_off()
        assert it.intake.bodies == [b"1"]
        await until(lambda: it.listener.stats()["connections"] == 0)


async def test_who_says_nothing_gives_way_to_others_when_there_is_no_place(tmp_path: Path) -> None:
    async with scene(tmp_path, max_connections=2) as it:
        silent = await it.stranger()
        await until(lambda: it.listener.stats()["connections"] == 1)
        first, second = await it.device("a"), await it.device("b")
        await silent.is_cut_off()
        third = await it.stranger()
        await third.is_cut_off()
        assert it.listener.stats()["crowded_out"] == 2
        await first.says(event(1))
        await second.says(event(1))
        assert await first.hears(4) == await second.hears(4) == b"\x40\x02\x00\x01"


async def test_nobody_is_let_in_while_the_disk_can_only_be_read(tmp_path: Path) -> None:
    async with scene(tmp_path, shut="the disk can only be read") as it:
        device = await it.stranger()
        await device.says(connect(V311, client_id="a"))
        assert await device.hears(4) == b"\x20\x02\x00\x03"
        await device.is_cut_off()


async def test_a_session_that_ends_takes_its_deliveries_with_it(tmp_path: Path) -> None:
    async with scene(tmp_path, max_packet=Size(8192)) as it:
        device = await it.device()
        await device.says(event(1))
        await device.hears(4)
        (delivery,) = [draft.delivery for batch in it.intake.batches for draft in batch]
        assert delivery is not None
        await it.device(clean=True)
        await until(lambda: it.intake.ended == [delivery[0]])


async def test_at_the_end_what_was_read_is_answered_and_devices_are_told(tmp_path: Path) -> None:
    async with scene(tmp_path) as it:
        device = await it.device()
        it.intake.gate.clear()
        await device.says(event(1), event(2))
        await until(lambda: len(it.listener.traffic.inbox) == 2)
        draining = asyncio.create_task(it.listener.drain(30))
        await until(lambda: not it.listener.addresses)
        it.intake.gate.set()
        assert await device.hears(8) == b"\x40\x02\x00\x01\x40\x02\x00\x02"
        await device.is_cut_off()
        await draining
