"""What networks, brokers and proxies do to the engine on aiomqtt."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import client as paho

from edgeagent.common.units import Duration
from edgeagent.config.tables import FilePath
from edgeagent.errors import Denied, Unavailable
from edgeagent.links import session
from edgeagent.mqtt import engines, v311_packets
from tests.fakes.certificates import Certificates
from tests.fakes.listener import Listener
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.tcp_proxy import TcpProxy
from tests.fakes.turned_clock import TurnedLoop
from tests.waiting import DEADLINE_S, turns, until

OK = b"\x20\x02\x00\x00"
SUBSCRIBED = b"\x90\x03\x00\x01\x01"


@contextlib.asynccontextmanager
async def scripted_broker(port: int, *answers: bytes) -> AsyncIterator[str]:
    """A broker that answers each packet in turn with these bytes, and then only reads."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            if not await reader.read(1024):
                break
            writer.write(answer)
        with contextlib.suppress(ConnectionError):
            while await reader.read(1024):
                pass
        writer.close()

    async with Listener(serve, port):
        yield f"mqtt://127.0.0.1:{port}"


async def first_down(url: str, *subscribe: str, **keys: object) -> str:
    """Why the first attempt to connect to it, or the first connection, ended."""
    client = MqttClient(url, "gw", *subscribe, **{"version": "3.1.1", **keys})  # type: ignore[arg-type]
    client.start()
    try:
        return str(await client.wait_down())
    finally:
        await client.stop()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "it does not speak MQTT 3.1.1"),
        (2, "it does not allow this client id"),
        (3, "it is not available"),
        (4, "user name or password is wrong"),
        (5, "not authorized"),
        (9, "unspecified"),
    ],
)
async def test_each_refusal_of_a_connection_is_told_in_words(free_port: int, code: int, words: str) -> None:
    async with scripted_broker(free_port, bytes([0x20, 2, 0, code])) as url:
        assert words in await first_down(url)


async def test_a_refused_subscription_ends_the_attempt_and_is_told(free_port: int) -> None:
    async with scripted_broker(free_port, OK, b"\x90\x03\x00\x01\x80") as url:
        assert "subscription to secret/#" in await first_down(url, "secret/#")


async def test_a_subscription_granted_with_less_is_refused(free_port: int) -> None:
    async with scripted_broker(free_port, OK, b"\x90\x03\x00\x01\x00") as url:
        assert "it grants only QoS 0" in await first_down(url, "a")


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff" * 64,
        b"\x30\x00",
        b"\x30\x03\x00\x0ax",
        b"\x32\x04\x00\x01a\x00",
        b"\x32\x05\x00\x01a\x00\x00",
        b"\x32\x07\x00\x01a\x00\x07x!" * 2,
        b"\x34\x07\x00\x01a\x00\x07x!\x62\x02\x00\x07",
        b"\x30\x04\x00\x02\xff\xfe",
        b"\x30\xff\xff\xff\x7f",
        b"\x30\xff\xff\xff\xff\x7f",
        b"\x40\x01\x00",
        b"\x20\x02\x00\x00",
        b"\x90\x00",
        b"\xb0\x02\x00\x09",
        b"\xf0\x00",
        b"\x00\x00",
    ],
)
async def test_bytes_that_no_broker_sends_end_the_connection_and_nothing_else(free_port: int, sent: bytes) -> None:
    async with scripted_broker(free_port, OK, SUBSCRIBED + sent) as url:
        assert url in await first_down(url, "a")


async def test_a_connection_over_a_packet_that_cannot_be_taken_is_closed_at_once_and_raises_nothing(
    free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays the packet that paho is in the middle of: reading on, it would take it again."""

    def fail(*_: object) -> None:
        raise LookupError("an unknown property")

    monkeypatch.setattr(v311_packets, "message_from", fail)
    monkeypatch.setattr(session, "CLOSE_TIMEOUT_S", 600.0)  # the session sees to it only then
    raised: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (OK, SUBSCRIBED + b"\x30\x04\x00\x01ax"):
            await reader.read(1024)
            writer.write(answer)
        with contextlib.suppress(ConnectionError):
            while await reader.read(1024):
                pass
        closed.set()

    client = MqttClient(f"mqtt://127.0.0.1:{free_port}", "gw", "a", version="3.1.1")
    async with Listener(serve, free_port):
        client.start()
        try:
            assert "an unknown property" in str(await client.wait_down())
            await until(closed.is_set)
        finally:
            await client.stop()
    assert raised == []


@pytest.mark.parametrize("sent", [b"\x30\x04\x00\x01ax", b"\xff" * 8, SUBSCRIBED])
async def test_bytes_before_the_answer_to_connect_are_no_connection(free_port: int, sent: bytes) -> None:
    async with scripted_broker(free_port, sent) as url:
        assert url in await first_down(url, "a", connect_timeout=Duration(2))


async def test_an_acknowledgement_of_nothing_is_ignored(free_port: int) -> None:
    answers = [OK, SUBSCRIBED + b"\x40\x02\x00\x63\x30\x04\x00\x01ax"]
    async with scripted_broker(free_port, *answers) as url, MqttClient(url, "gw", "a", version="3.1.1") as client:
        assert (await client.message()).payload == b"x"
        assert client.acks == []


async def test_packets_cut_into_single_bytes_arrive_whole(free_port: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (OK, SUBSCRIBED + b"\x32\x07\x00\x01a\x00\x07x!" + b"\x30\x04\x00\x01ay"):
            await reader.read(1024)
            for byte in answer:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)
        await reader.read()
        writer.close()

    client = MqttClient(f"mqtt://127.0.0.1:{free_port}", "gw", "a", version="3.1.1")
    async with Listener(serve, free_port), client:
        assert [(await client.message()).payload for _ in range(2)] == [b"x!", b"y"]


async def test_a_half_open_connection_is_found_within_one_and_a_half_keep_alive_periods(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = TurnedLoop(monkeypatch)
    monkeypatch.setattr(paho, "time_func", asyncio.get_running_loop().time)  # it has a clock of its own
    async with (
        TcpProxy(broker.port) as proxy,
        MqttClient(proxy.url, "gw", version="3.1.1", keepalive=Duration(600)) as client,
    ):
        await client.publish("a")
        proxy.stalled = proxy.swallow_upward = True
        time.turn(451)
        await until(lambda: proxy.swallowed_bytes, "a ping that nobody answers")
        time.turn(390)  # about 60 are left, of which a busy machine takes few
        await turns()
        assert client.downs == []
        time.turn(61)
        assert "nothing came from the broker" in str(await client.wait_down())


async def test_a_broker_that_says_nothing_is_given_up_after_connect_timeout(free_port: int) -> None:
    async with scripted_broker(free_port) as url:
        for address in (url, url.replace("mqtt:", "ws:")):
            error = await first_down(address, connect_timeout=Duration(0.5))
            assert error.endswith("no connection within 0.5 s (connect_timeout)") or "timed out" in error


@pytest.mark.parametrize("scheme", ["mqtt", "ws"])
async def test_cancellation_ends_it_promptly_and_closes_what_was_being_made(free_port: int, scheme: str) -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        arrived.set()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        gone.set()
        writer.close()

    async with Listener(serve, free_port):
        client = MqttClient(f"{scheme}://127.0.0.1:{free_port}", "gw", version="3.1.1", connect_timeout=Duration(60))
        client.start()
        await arrived.wait()
        async with asyncio.timeout(DEADLINE_S):
            await client.stop()
        await asyncio.wait_for(gone.wait(), DEADLINE_S)
    assert client.downs == []


async def test_a_web_server_that_is_no_broker_is_told(free_port: int) -> None:
    async with scripted_broker(free_port, b"HTTP/1.1 404 Not Found\r\n\r\n") as url:
        assert "WebSocket" in await first_down(url.replace("mqtt:", "ws:"))


async def test_a_password_that_no_connect_can_carry_is_denied(broker: Mosquitto, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"x" * 70_000)
    error = await first_down(broker.url, username="gw", password_file=FilePath(file))
    assert "no CONNECT can be made" in error
    assert "xxx" not in error


@pytest.mark.parametrize(("ours_s", "brokers_s"), [(60, 1), (1, 0)])
async def test_the_brokers_keep_alive_counts_unless_it_does_not_watch(
    free_port: int, monkeypatch: pytest.MonkeyPatch, ours_s: int, brokers_s: int
) -> None:
    monkeypatch.setattr(engines, "codec_fault", lambda: "No module named 'mqtt5'")
    async with scripted_broker(free_port, bytes([0x20, 6, 0, 0, 3, 0x13, 0, brokers_s])) as url:
        error = await first_down(url, version="5", keepalive=Duration(ours_s))
    assert "nothing came from the broker" in error


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("scheme", ["mqtts", "wss"])
async def test_tls_trusts_only_the_configured_authority_and_the_right_name(
    tmp_path: Path, free_port: int, certificates: Certificates, scheme: str
) -> None:
    files = [f"certfile {certificates.file('server.pem')}", f"keyfile {certificates.file('server.key')}"]
    websocket = ["protocol websockets"] if scheme == "wss" else []
    lines = [f"listener {free_port} 127.0.0.1", *files, *websocket]
    async with Mosquitto(tmp_path, config=lines) as broker:
        url = f"{scheme}://127.0.0.1:{free_port}"
        keys: dict[str, Any] = {"version": "3.1.1", "ca_file": certificates.file("ca.pem")}
        assert broker.url
        async with MqttClient(url, "gw", "a", **keys) as client:
            await client.publish("a", b"x" * 50_000)
            assert len((await client.message()).payload) == 50_000
        error = await first_down(url, ca_file=certificates.file("other-ca.pem"))
        assert "its certificate is not trusted" in error
        async with MqttClient(url, "gw", version="3.1.1", insecure=True):
            pass


class HttpProxy:
    """As much of an HTTP proxy as CONNECT needs; remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        target = head.split()[1]
        self.asked.append(target)
        host, _, port = target.rpartition(":")
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(1 << 16):
                    sink.write(data)
            sink.close()

        try:
            await asyncio.gather(pipe(reader, up_writer), pipe(up_reader, writer))
        finally:
            up_writer.transport.abort()


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_a_connection_goes_through_the_configured_proxy(broker: Mosquitto, free_port: int, version: str) -> None:
    proxy = HttpProxy()
    async with Listener(proxy.serve, free_port):
        keys: dict[str, Any] = {"version": version, "proxy": f"http://127.0.0.1:{free_port}"}
        async with MqttClient(broker.url, "gw", "a", **keys) as client:
            await client.publish("a", b"by proxy")
            assert (await client.message()).payload == b"by proxy"
    assert proxy.asked == [f"127.0.0.1:{broker.port}"]


async def test_a_proxy_that_is_not_there_is_told(broker: Mosquitto, free_port: int) -> None:
    client = MqttClient(broker.url, "gw", proxy=f"socks5://127.0.0.1:{free_port}")
    client.start()
    error = await client.wait_down()
    await client.stop()
    assert isinstance(error, Unavailable)
    assert not isinstance(error, Denied)
