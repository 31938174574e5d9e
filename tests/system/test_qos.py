"""Triggers at QoS 0, 1 and 2, by a whole agent against a real Mosquitto."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from tests.fakes.engine import Engine
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.programs import Agent
from tests.fakes.tcp_proxy import TcpProxy
from tests.waiting import until

HOT = {"temp": 97.1}
TRIGGERS = "argo/workflows/trigger"
BY_BROKER = {"uplink": 'qos = 2\nsettle = "broker"\nmax_inflight = 20'}
RULE = """
[[rule]]
name = "overheat"
source = "boiler-*"
namespace = "plant"
template = "inspect"
track = false
"""


def batch(first: int, count: int) -> bytes:
    return msgspec.json.encode([{"source": "boiler-1", "data": {"n": n}} for n in range(first, first + count)])


async def send_batch(agent: Agent, first: int, count: int) -> set[str]:
    """The correlation ids of so many events."""
    _, answer = await agent.request("POST", "/v1/events", batch(first, count), content_type="application/json")
    return {trigger["correlation_id"] for event in answer["accepted"] for trigger in event["triggers"]}


def delivered(consumer: MqttClient) -> Counter[str]:
    """How often each trigger came, without what the broker repeats to the consumer itself."""
    counts: Counter[str] = Counter()
    for message in consumer.messages:
        name = msgspec.json.decode(message.payload)["correlation_id"]
        counts[name] += not message.duplicate or not counts[name]
    return counts


async def test_at_qos_2_broken_connections_and_broker_restarts_deliver_each_trigger_once(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with (
        MqttClient(broker.url, "consumer", TRIGGERS, session_expiry_s=100) as consumer,
        TcpProxy(broker.port) as proxy,
        Agent(tmp_path / "agent", proxy.url, rules=RULE, tables=BY_BROKER) as agent,
    ):
        promised: set[str] = set()
        for round_number in range(3):
            promised |= await send_batch(agent, 1000 * round_number, 400)
            wanted = 400 * round_number + 50
            await consumer.until(lambda: len(consumer.messages) >= wanted, "triggers")  # noqa: B023  awaited here
            await proxy.cut()
            if round_number == 1:
                await broker.restart()
            await proxy.heal()
        await agent.account(stored=1200, settled=1200, pending=0)
        await consumer.until(lambda: len(delivered(consumer)) == len(promised), "every trigger")
        assert set(delivered(consumer)) == promised
        assert set(delivered(consumer).values()) == {1}


async def test_at_qos_2_kill_9_starts_a_clean_session_and_no_trigger_is_swallowed(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with (
        MqttClient(broker.url, "consumer", TRIGGERS, session_expiry_s=100) as consumer,
        TcpProxy(broker.port) as proxy,
        Agent(tmp_path / "agent", proxy.url, rules=RULE, tables=BY_BROKER) as agent,
    ):
        promised = await send_batch(agent, 0, 400)
        await consumer.until(lambda: len(consumer.messages) >= 50, "triggers")
        # The broker is left with handshakes whose packet ids the next process uses again.
        proxy.swallow_upward = True
        await agent.kill()
        proxy.swallow_upward = False
        await agent.start()
        promised |= await send_batch(agent, 1000, 400)
        await agent.account(stored=800, settled=800, pending=0)
        await consumer.until(lambda: len(delivered(consumer)) == len(promised), "every trigger")
        assert set(delivered(consumer)) == promised
        connects = [line for line in broker.log_file.read_text("utf-8").splitlines() if "as edgeagent-gw-1-up" in line]
        assert all("c1" in line for line in connects)
        # After the first connection of a process, the session is resumed.
        await proxy.cut()
        await proxy.heal()
        await agent.logged("link_up", 3)
        assert "c0" in broker.log_file.read_text("utf-8").split("as edgeagent-gw-1-up")[-1]


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_each_qos_starts_a_workflow_and_settles_by_its_answer(
    broker: Mosquitto, tmp_path: Path, qos: int
) -> None:
    tables = {"uplink": f"qos = {qos}"}
    async with Engine(broker.url) as engine, Agent(tmp_path / "agent", broker.url, tables=tables) as agent:
        correlations = [await agent.triggered("boiler-1", {**HOT, "n": n}) for n in range(5)]
        stats = await agent.account(accepted=5, settled=5, pending=0)
        assert stats["uplink"]["published"] == 5
        assert set(engine.started) == {f"overheat-{correlation}" for correlation in correlations}
        assert set(engine.started.values()) == {1}


async def test_at_qos_0_what_a_connection_swallows_is_sent_again_after_the_response_time_out(
    broker: Mosquitto, tmp_path: Path
) -> None:
    tables = {"uplink": 'qos = 0\nresponse_timeout = "0.5s"'}
    async with (
        Engine(broker.url) as engine,
        TcpProxy(broker.port) as proxy,
        Agent(tmp_path / "agent", proxy.url, tables=tables) as agent,
    ):
        await agent.logged("link_up")
        await engine.wait_up()
        proxy.swallow_upward = True
        before_bytes = proxy.swallowed_bytes
        correlation = await agent.triggered("boiler-1", HOT)
        await until(lambda: proxy.swallowed_bytes > before_bytes, "the trigger to be swallowed", seen=agent.tail)
        assert (await agent.state(correlation, "published"))["state"] == "published"
        proxy.swallow_upward = False
        await agent.state(correlation, "triggered")
        assert engine.triggers[0]["attempt"] > 1
        await agent.account(settled=1, pending=0)
