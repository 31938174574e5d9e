"""RabbitMQ as the uplink: by MQTT 3.1.1 beside a consumer that knows nothing of MQTT; by AMQP, when topics change."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pika

from tests.fakes.programs import Agent
from tests.fakes.rabbitmq import RabbitMq
from tests.waiting import DEADLINE_S


def answer_one(amqp_port: int, bound: asyncio.Event, loop: asyncio.AbstractEventLoop) -> tuple[str, dict[str, Any]]:
    """Take one trigger from the topic exchange and answer it there; returns its routing key and itself."""
    credentials = pika.PlainCredentials("guest", "guest")
    parameters = pika.ConnectionParameters("127.0.0.1", amqp_port, credentials=credentials)
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "amq.topic", "argo.workflows.trigger")
        loop.call_soon_threadsafe(bound.set)
        for method, _, body in channel.consume(queue, auto_ack=True, inactivity_timeout=DEADLINE_S):
            if method is None:
                break
            trigger = json.loads(body)
            answer = {
                "correlation_id": trigger["correlation_id"],
                "code": 200,
                "status": "Workflow triggered successfully",
                "workflowId": trigger["workflow"]["metadata"]["name"],
                "namespace": trigger["namespace"],
            }
            key = trigger["reply_to"].replace("/", ".")
            channel.basic_publish("amq.topic", key, json.dumps(answer).encode())
            return method.routing_key, trigger
    raise AssertionError("no trigger came")


async def test_a_plain_amqp_consumer_receives_a_trigger_and_its_answer_settles_it(tmp_path: Path) -> None:
    directory = tmp_path / "rabbitmq"
    directory.mkdir()
    password = tmp_path / "password"
    password.write_text("guest\n", "utf-8")
    async with RabbitMq(directory) as broker:
        uplink = f'version = "3.1.1"\nusername = "guest"\npassword_file = "{password}"'
        agent = Agent(tmp_path / "agent", f"mqtt://127.0.0.1:{broker.mqtt_port}", tables={"uplink": uplink})
        async with agent, asyncio.TaskGroup() as group:
            bound = asyncio.Event()
            loop = asyncio.get_running_loop()
            consumer = group.create_task(asyncio.to_thread(answer_one, broker.amqp_port, bound, loop))
            await bound.wait()
            await agent.logged("link_up")
            correlation = await agent.triggered("boiler-1", {"temp": 97.1})
            routing_key, trigger = await consumer
            assert routing_key == "argo.workflows.trigger"
            assert trigger["correlation_id"] == correlation
            report = await agent.state(correlation, "triggered")
            assert report["workflowId"] == f"overheat-{correlation}"
            await agent.account(accepted=1, settled=1, pending=0)
        broker_keys = f'url = "mqtt://127.0.0.1:{broker.mqtt_port}"\nsession_expiry = 0\n{uplink}'
        dispatch = tmp_path / "dispatch.toml"
        dispatch.write_text(f'[broker]\n{broker_keys}\n[engine]\nkind = "dry-run"\n', "utf-8")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "edgeagent", "doctor", "--dispatch", "-c", str(dispatch), stdout=subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert "broker shared subscriptions: nothing came by one" in out.decode(), "granted, and deaf"


async def test_a_topic_that_was_removed_is_unbound_from_the_agents_queue(tmp_path: Path) -> None:
    (tmp_path / "rabbitmq").mkdir()
    broker = RabbitMq(tmp_path / "rabbitmq")

    def agent(topics: str) -> Agent:
        uplink = f'status_topics = ["argo/workflows/status/{{agent}}"{topics}]'
        return Agent(tmp_path / "agent", broker.url, tables={"uplink": uplink})

    async def bound() -> set[str]:
        listed = await broker.control("list_bindings", "source_name", "destination_name", "routing_key")
        rows = (line.split("\t") for line in listed.splitlines())
        return {key for source, queue, key in rows if (source, queue) == ("amq.topic", "edgeagent.agent.gw-1")}

    stays = {"argo.workflows.response.gw-1", "argo.workflows.status.gw-1"}
    async with broker:
        async with agent(', "factory/status"') as before:
            await before.logged("link_up")
            assert await bound() == stays | {"factory.status"}
            assert await before.stop() == 0
        assert await bound() == stays | {"factory.status"}, "the queue outlives the agent"
        async with agent("") as after:
            await after.logged("mqtt_unsubscribed")
            assert await bound() == stays
            assert await after.stop() == 0
