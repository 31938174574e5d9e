"""What a dispatcher's operator is told of a broker without shared subscriptions, such as RabbitMQ by MQTT."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.programs import Program
from tests.fakes.rabbitmq import RabbitMq
from tests.fakes.refusing_broker import RefusingBroker
from tests.waiting import until

NO_SHARES = 0x9E
AMQP = 'reach it by url = "amqp://..." (docs/brokers.md)'


def configured(directory: Path, url: str) -> Program:
    """A dispatcher, not started."""
    return Program("dispatch", directory, f'[broker]\nurl = "{url}"\n[engine]\nkind = "dry-run"\n')


async def told(program: Program) -> list[dict[str, str]]:
    """What the doctor finds of the broker and is not good."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edgeagent", "doctor", "--dispatch", "--json", "-c", str(program.config_file)),
        stdout=subprocess.PIPE,
    )
    out, _ = await process.communicate()
    found: list[dict[str, str]] = [json.loads(line) for line in out.splitlines()]
    return [each for each in found if each["subject"].startswith("broker ") and each["level"] == "fail"]


@pytest.mark.parametrize("says_so_at_once", [True, False])
async def test_a_broker_by_mqtt_5_that_refuses_them_is_named_with_the_way_to_reach_it(
    tmp_path: Path, says_so_at_once: bool
) -> None:
    """As RabbitMQ from 3.13 does: in its CONNACK, or with 0x9e."""
    async with RefusingBroker() as broker:
        broker.shares = not says_so_at_once
        broker.subscription = lambda pattern: NO_SHARES if pattern.startswith("$share/") else 1
        program = configured(tmp_path / "d", broker.url)
        found = await told(program)
        assert [each["subject"] for each in found] == [
            "broker subscription $share/edgeagent/argo/workflows/trigger",
            "broker subscription $share/edgeagent/argo/workflows/trigger/+",
        ]
        assert all("it does not support shared subscriptions" in each["found"] for each in found)
        assert all(AMQP in each["remedy"] for each in found)
        program.spawn()
        await program.logged("broker_unreachable")
        assert "it does not support shared subscriptions" in program.log
        assert "amqp://" in program.log
        await program.stop()


async def test_an_old_rabbitmq_that_does_not_speak_mqtt_5_is_named_with_the_way_to_reach_it(tmp_path: Path) -> None:
    (tmp_path / "rabbitmq").mkdir()
    async with RabbitMq(tmp_path / "rabbitmq") as broker:
        program = configured(tmp_path / "d", broker.mqtt_url)
        (found,) = await told(program)
        assert "amqp://" in found["found"] + found["remedy"]
        program.spawn()
        await until(lambda: "event=broker_unreachable" in program.log, "the reason", seen=program.tail)
        assert "amqp://" in program.log
        await program.stop()
