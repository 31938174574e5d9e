"""One trigger that a broker does not take never holds up the others (contract section 3)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.engine import Engine
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import Agent
from tests.fakes.refusing_broker import RefusingBroker
from tests.waiting import until

BY_BROKER = {"uplink": 'settle = "broker"'}
RULE = """
[[rule]]
name = "overheat"
source = "boiler-*"
namespace = "plant"
template = "inspect"
arguments = { note = "body.note" }
"""
POISON = {"note": "x" * 4000}
FINE = {"note": "fine"}


def mosquitto(tmp_path: Path, *config: str) -> Mosquitto:
    directory = tmp_path / "mosquitto"
    directory.mkdir()
    return Mosquitto(directory, config=config)


async def poisoned(agent: Agent) -> tuple[str, list[str]]:
    """A poison among others; the correlation ids of it and of them."""
    before = [await agent.triggered("boiler-1", {**FINE, "n": n}) for n in range(3)]
    poison = await agent.triggered("boiler-1", POISON)
    return poison, before + [await agent.triggered("boiler-1", {**FINE, "n": n}) for n in range(10, 13)]


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_trigger_larger_than_the_brokers_packets_is_a_dead_letter(tmp_path: Path, qos: int) -> None:
    async with (
        mosquitto(tmp_path, "max_packet_size 3000") as broker,
        Engine(broker.url) as engine,
        Agent(tmp_path / "agent", broker.url, rules=RULE, tables={"uplink": f"qos = {qos}"}) as agent,
    ):
        poison, others = await poisoned(agent)
        stats = await agent.account(accepted=7, settled=6, dead=1, pending=0)
        assert stats["uplink"]["published"] == 6
        assert "the packet is larger than it takes" in (await agent.state(poison, "rejected"))["error"]
        assert set(engine.started) == {f"overheat-{correlation}" for correlation in others}
        assert agent.log.count("event=link_up") == 1


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_trigger_over_mosquittos_message_size_limit_is_a_dead_letter_although_its_answer_is_no_mqtt_5(
    tmp_path: Path, qos: int
) -> None:
    async with (
        mosquitto(tmp_path, "message_size_limit 3000") as broker,
        Engine(broker.url) as engine,
        Agent(tmp_path / "agent", broker.url, rules=RULE, tables={"uplink": f"qos = {qos}"}) as agent,
    ):
        poison, others = await poisoned(agent)
        await agent.account(accepted=7, settled=6, dead=1, pending=0)
        assert "0x95" in (await agent.state(poison, "rejected"))["error"]
        assert set(engine.started) == {f"overheat-{correlation}" for correlation in others}
        assert agent.log.count("event=link_up") == 1


@pytest.mark.parametrize("qos", [1, 2])
async def test_triggers_that_the_access_list_forbids_are_dead_letters_and_the_connection_lives(
    tmp_path: Path, qos: int
) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic read argo/#\ntopic write edgeagent/state/gw-1\n", "utf-8")
    async with (
        mosquitto(tmp_path, f"acl_file {acl}") as broker,
        Agent(tmp_path / "agent", broker.url, rules=RULE, tables={"uplink": f"qos = {qos}"}) as agent,
    ):
        forbidden = [await agent.triggered("boiler-1", {**FINE, "n": n}) for n in range(3)]
        await agent.account(accepted=3, dead=3, pending=0)
        for correlation in forbidden:
            assert "not authorized (0x87)" in (await agent.state(correlation, "rejected"))["error"]
        assert agent.log.count("event=link_up") == 1
        assert agent.log.count("event=link_down") == 0


@pytest.mark.parametrize(("code", "words"), [(0x99, "payload"), (0x90, "topic")])
async def test_a_trigger_that_can_never_pass_is_a_dead_letter(tmp_path: Path, code: int, words: str) -> None:
    async with RefusingBroker() as broker:
        broker.publication = lambda packet: code if b"xxx" in packet.payload else 0
        async with Agent(tmp_path / "agent", broker.url, rules=RULE, tables=BY_BROKER) as agent:
            poison, _ = await poisoned(agent)
            await agent.account(accepted=7, settled=6, dead=1, pending=0)
            error = (await agent.state(poison, "rejected"))["error"]
            assert f"(0x{code:02x})" in error
            assert words in error
            assert broker.connections == 1


async def test_a_quota_holds_up_only_the_trigger_that_exceeds_it_and_that_one_is_sent_again(tmp_path: Path) -> None:
    async with RefusingBroker() as broker:
        broker.publication = lambda packet: 0x97 if b"xxx" in packet.payload else 0
        async with Agent(tmp_path / "agent", broker.url, rules=RULE, tables=BY_BROKER) as agent:
            poison, _ = await poisoned(agent)
            await agent.account(accepted=7, settled=6, dead=0, pending=1)
            broker.publication = lambda _: 0
            await agent.state(poison, "published")
            await agent.account(accepted=7, settled=7, dead=0, pending=0)
            assert "a quota is exceeded (0x97)" in agent.log
            assert broker.connections == 1


async def test_a_response_topic_that_may_not_be_read_is_an_error_and_holds_triggers_back_until_it_may(
    tmp_path: Path,
) -> None:
    async with RefusingBroker() as broker:
        broker.subscription = lambda topic: 0x87 if "response" in topic else 1
        async with Agent(tmp_path / "agent", broker.url, rules=RULE) as agent:
            correlation = await agent.triggered("boiler-1", FINE)
            await agent.logged("link_down")
            await until(lambda: broker.connections >= 2, "another attempt", seen=agent.tail)
            assert broker.published == []
            told = next(line for line in agent.log.splitlines() if "event=link_down" in line)
            assert " ERROR " in told
            assert "subscription to argo/workflows/response/gw-1: not authorized (0x87); let edgeagent-gw-1-up" in told
            broker.subscription = lambda _: 1
            await agent.state(correlation, "published")


async def test_a_status_topic_that_may_not_be_read_is_a_warning_and_triggers_go_out(tmp_path: Path) -> None:
    async with RefusingBroker() as broker:
        broker.subscription = lambda topic: 0x87 if "status" in topic else 1
        async with Agent(tmp_path / "agent", broker.url, rules=RULE) as agent:
            await agent.state(await agent.triggered("boiler-1", FINE), "published")
            told = next(line for line in agent.log.splitlines() if "event=mqtt_subscription_refused" in line)
            assert " WARNING " in told
            assert "argo/workflows/status/gw-1: not authorized (0x87)" in told
            assert broker.connections == 1


async def test_a_trigger_over_which_the_broker_closes_without_a_word_lets_the_others_pass(tmp_path: Path) -> None:
    """MQTT 3.1.1 has no answer that refuses a publication, and no limit that a client is told."""
    keys = {"uplink": 'version = "3.1.1"'}
    async with (
        mosquitto(tmp_path, "max_packet_size 3000") as broker,
        Engine(broker.url) as engine,
        Agent(tmp_path / "agent", broker.url, rules=RULE, tables=keys) as agent,
    ):
        _, others = await poisoned(agent)
        await agent.account(accepted=7, settled=6, pending=1)
        assert set(engine.started) == {f"overheat-{correlation}" for correlation in others}
        assert "event=trigger_suspected" in agent.log
