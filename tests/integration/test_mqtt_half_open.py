from __future__ import annotations

import asyncio

import mqtt5
import pytest

from edgeagent.common.units import Duration
from edgeagent.errors import Denied
from tests.fakes.link import code_of
from tests.fakes.listener import Listener
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.tcp_proxy import TcpProxy
from tests.fakes.turned_clock import TurnedLoop
from tests.waiting import turns


async def test_a_half_open_connection_is_found_within_one_and_a_half_keep_alive_periods(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = TurnedLoop(monkeypatch)
    async with TcpProxy(broker.port) as proxy, MqttClient(proxy.url, "gw", keepalive=Duration(600)) as client:
        await client.publish("a")
        proxy.stalled = True
        for passed_s in (601, 240):  # about 60 are left, of which a busy machine takes few
            time.turn(passed_s)
            await turns()
            assert client.downs == []
        time.turn(70)
        assert "nothing came from the broker for" in str(await client.wait_down())


async def test_after_a_half_open_connection_the_agent_comes_back_over_a_new_one(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = TurnedLoop(monkeypatch)
    async with TcpProxy(broker.port) as proxy, MqttClient(proxy.url, "gw", "a", keepalive=Duration(600)) as client:
        proxy.stalled = True
        time.turn(601)
        await turns()  # in which it asks
        time.turn(310)
        await client.wait_down()
        proxy.stalled = False
        await client.wait_up(2)
        assert code_of(await client.publish("a", b"again")) == 0
        assert (await client.message()).payload == b"again"


async def test_with_mosquitto_a_second_client_of_our_id_is_named_as_a_possible_cause(broker: Mosquitto) -> None:
    """Mosquitto 2.0 closes without a reason."""
    async with MqttClient(broker.url, "gw-042") as first, MqttClient(broker.url, "gw-042"):
        error = await first.wait_down()
    assert "another client uses the id gw-042" in str(error)


async def test_a_session_that_was_taken_over_is_something_to_correct_not_to_wait_for(free_port: int) -> None:
    taken_over = mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(mqtt5.ConnAckPacket().write() + taken_over.write())
        writer.close()

    async with Listener(serve, free_port):
        client = MqttClient(f"mqtt://127.0.0.1:{free_port}", "gw-042")
        client.start()
        error = await client.wait_down()
        await client.stop()
    assert isinstance(error, Denied)
    assert str(error).endswith("another client uses the id gw-042: give each its own client_id")
