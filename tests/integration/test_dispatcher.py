from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.config.tables import Allow
from edgeagent.wire.messages import Response, Status, parse_response, parse_status
from tests.fakes.dispatch_rehearsal import CutEngine, dispatching
from tests.fakes.link import code_of
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.waiting import DEADLINE_S

TRIGGER = "argo/workflows/trigger"
OWN = f"{TRIGGER}/gw-1"
RESPONSES = "argo/workflows/response/#"
STATUSES = "argo/workflows/status/#"


def trigger(name: str = "overheat-1", *, namespace: str = "plant", **members: Any) -> bytes:
    whole = {
        "namespace": namespace,
        "correlation_id": f"c-{name}",
        "agent": "gw-1",
        "attempt": 1,
        "reply_to": "argo/workflows/response/gw-1",
        "workflow": {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"workflowTemplateRef": {"name": "inspect"}},
        },
    }
    return msgspec.json.encode({**whole, **members})


async def response(client: MqttClient, topic: str = "argo/workflows/response/gw-1") -> Response:
    message = await client.message(topic)
    return parse_response(message.payload, None)


async def statuses(client: MqttClient, topic: str, count: int) -> list[Status]:
    return [parse_status((await client.message(topic)).payload) for _ in range(count)]


async def test_a_trigger_is_answered_and_its_walk_is_told_to_both_topics(broker: Mosquitto) -> None:
    async with dispatching(broker) as dispatcher, MqttClient(broker.url, "gw-1", RESPONSES, STATUSES) as gateway:
        ack = await gateway.publish(OWN, trigger(), correlation_data=b"c-overheat-1")
        assert code_of(ack) == 0, "the dispatcher must count as a subscriber"
        message = await gateway.message("argo/workflows/response/gw-1")
        assert message.correlation_data == b"c-overheat-1"
        answer = parse_response(message.payload, None)
        assert (answer.code, answer.correlation_id, answer.workflow_id) == (200, "c-overheat-1", "overheat-1")
        assert (answer.namespace, answer.duplicate, answer.dry_run) == ("plant", False, True)
        own = await statuses(gateway, "argo/workflows/status/gw-1", 3)
        assert [(status.status, status.progress) for status in own] == [
            ("Pending", "0%"),
            ("Running", "50%"),
            ("Succeeded", "100%"),
        ]
        assert all((status.correlation_id, status.dry_run) == ("c-overheat-1", True) for status in own)
        assert await statuses(gateway, "argo/workflows/status", 3) == own
        await dispatcher.drain()
        assert (dispatcher.stats().statuses_published, dispatcher.stats().answered) == (6, {200: 1})


async def test_a_second_attempt_is_a_duplicate(broker: Mosquitto) -> None:
    async with dispatching(broker), MqttClient(broker.url, "gw-1", RESPONSES) as gateway:
        await gateway.publish(OWN, trigger())
        assert (await response(gateway)).duplicate is False
        await gateway.publish(OWN, trigger(attempt=2))
        again = await response(gateway)
        assert (again.code, again.duplicate, again.workflow_id) == (200, True, "overheat-1")


async def test_a_name_of_another_trigger_is_refused_for_good(broker: Mosquitto) -> None:
    async with dispatching(broker), MqttClient(broker.url, "gw-1", RESPONSES) as gateway:
        await gateway.publish(OWN, trigger())
        await response(gateway)
        await gateway.publish(OWN, trigger(correlation_id="another"))
        refusal = await response(gateway)
        assert (refusal.code, refusal.correlation_id, refusal.retryable) == (409, "another", False)


async def test_malformed_messages_are_answered_where_that_is_possible_and_hold_up_nothing(broker: Mosquitto) -> None:
    async with dispatching(broker) as dispatcher, MqttClient(broker.url, "gw-1", RESPONSES) as gateway:
        await gateway.publish(TRIGGER, b"no json, no address")
        await gateway.publish(TRIGGER, b"no json", correlation_data=b"order-7")
        await gateway.publish(TRIGGER, b"no json", response_topic="argo/workflows/response/shop/7")
        await gateway.publish(OWN, trigger(workflow={"metadata": {"name": "a"}, "spec": {}}))
        await gateway.publish(OWN, trigger("good"))
        first = await response(gateway, "argo/workflows/response")
        assert (first.code, first.correlation_id, first.retryable, first.dry_run) == (400, "order-7", False, True)
        assert "JSON" in first.detail
        shop = await gateway.message("argo/workflows/response/shop/7")
        assert msgspec.json.decode(shop.payload)["code"] == 400
        invalid = await response(gateway)
        assert (invalid.code, invalid.error, invalid.detail) == (
            400,
            "Invalid workflow definition",
            "spec.entrypoint is required",
        )
        assert (await response(gateway)).workflow_id == "good"
        assert dispatcher.stats().unanswerable == 1


async def test_a_namespace_that_is_not_allowed_is_refused_by_name(broker: Mosquitto) -> None:
    plant = Allow(namespaces=("plant",), templates=("inspect",))
    async with dispatching(broker, plant), MqttClient(broker.url, "gw-1", RESPONSES) as gateway:
        await gateway.publish(OWN, trigger(namespace="prod"))
        refusal = await response(gateway)
        assert (refusal.code, refusal.retryable) == (403, False)
        assert refusal.detail == "namespace 'prod' is not allowed for agent 'gw-1'"


async def test_a_bound_agent_cannot_have_another_one_answered(broker: Mosquitto) -> None:
    async with (
        dispatching(broker),
        MqttClient(broker.url, "gw-1", RESPONSES) as gateway,
    ):
        await gateway.publish(OWN, trigger(agent="gw-2"), response_topic="argo/workflows/response/gw-2")
        assert (await response(gateway)).code == 403
        await gateway.publish(OWN, trigger())
        assert (await response(gateway)).code == 200
        assert {message.topic for message in gateway.messages} == {"argo/workflows/response/gw-1"}


async def test_two_dispatchers_share_the_load_and_each_trigger_is_answered_once(broker: Mosquitto) -> None:
    async with (
        dispatching(broker, client_id="dispatch-a") as one,
        dispatching(broker, client_id="dispatch-b") as other,
        MqttClient(broker.url, "gw-1", RESPONSES) as gateway,
    ):
        names = [f"w-{number}" for number in range(40)]
        for name in names:
            await gateway.publish(OWN, trigger(name))
        answers = [await response(gateway) for _ in names]
        assert sorted(answer.workflow_id for answer in answers) == sorted(names)
        await gateway.until(lambda: len(gateway.messages) >= len(names), "all responses")
        assert one.stats().received + other.stats().received == len(names)
        assert one.stats().received > 0
        assert other.stats().received > 0


async def test_a_trigger_comes_again_to_a_dispatcher_that_was_cut_off_and_is_a_duplicate(broker: Mosquitto) -> None:
    engine = CutEngine()
    async with MqttClient(broker.url, "gw-1", RESPONSES) as gateway:
        async with dispatching(broker, engine=engine) as dispatcher:
            await gateway.publish(OWN, trigger())
            answer = await response(gateway)
            assert (answer.code, answer.duplicate, answer.workflow_id) == (200, True, "overheat-1")
            assert engine.creations == 2
            await dispatcher.drain()
        async with dispatching(broker) as successor:  # the same client id: the broker's session goes on
            await gateway.publish(OWN, trigger("next"))
            assert (await response(gateway)).workflow_id == "next"
            assert successor.stats().received == 1, "an answered trigger must not come a third time"


CONFIG = """
[broker]
url = "{url}"
instance = "a"
[engine]
kind = "dry-run"
[log]
format = "json"
"""
COMMAND = """
import argparse, sys
from edgeagent.cli import dispatch
parser = argparse.ArgumentParser()
dispatch.add_parser(parser.add_subparsers())
args = parser.parse_args(sys.argv[1:])
sys.exit(args.run(args))
"""


async def test_the_command_says_that_nothing_is_run_and_ends_cleanly(broker: Mosquitto, tmp_path: Path) -> None:
    config = tmp_path / "dispatch.toml"
    config.write_text(CONFIG.format(url=broker.url), "utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", COMMAND, "dispatch", "-c", str(config), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(DEADLINE_S), MqttClient(broker.url, "gw-1", RESPONSES, STATUSES) as gateway:
            warning = msgspec.json.decode(await process.stderr.readline())
            assert (warning["level"], warning["event"]) == ("warning", "dry_run_engine")
            begun = [msgspec.json.decode(await process.stderr.readline())["event"] for _ in range(2)]
            assert begun == ["mqtt_engine", "broker_connected"]
            await gateway.publish(OWN, trigger())
            assert (await response(gateway)).dry_run
            process.send_signal(signal.SIGTERM)
            # Only this process knows the workflow, so it tells its end before it goes.
            told = await statuses(gateway, "argo/workflows/status/gw-1", 3)
            assert told[-1].status == "Succeeded"
            lines = [msgspec.json.decode(line) async for line in process.stderr]
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    stopped = lines[-1]
    assert stopped["event"] == "dispatcher_stopped"
    assert (stopped["received"], stopped["answered"], stopped["statuses_published"]) == (1, {"200": 1}, 6)


@pytest.mark.parametrize(
    ("content", "key"), [("[engine]\n", b"engine.kind"), ('[engine]\nkind = "argo"\n', b"engine.url")]
)
async def test_the_command_refuses_a_configuration_it_cannot_use(content: str, key: bytes, tmp_path: Path) -> None:
    config = tmp_path / "dispatch.toml"
    config.write_text(content, "utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", COMMAND, "dispatch", "-c", str(config), stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode != 0
    assert key in said
