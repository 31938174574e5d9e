"""Messages on RabbitMQ as only a stranger writes them: the broker passes on properties that nobody can read."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pika

from tests.fakes.dispatch_scene import scene
from tests.fakes.rabbitmq import RabbitMq


def publish(broker: RabbitMq, key: str, payload: dict[str, Any], **properties: Any) -> None:
    """Publish one message, as a producer of another hand."""
    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.amqp_port)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        body = json.dumps(payload).encode()
        channel.basic_publish("amq.topic", key, body, pika.BasicProperties(**properties), mandatory=True)


async def test_a_message_whose_properties_nobody_can_read_disturbs_no_one(tmp_path: Path) -> None:
    (tmp_path / "rabbitmq").mkdir()
    async with RabbitMq(tmp_path / "rabbitmq") as broker, scene(tmp_path, rabbitmq=broker) as here:
        await here.agent.logged("link_up")  # only then its queue takes what is published for it
        microseconds = 1_700_000_000_000_000
        workflow = {"metadata": {"name": "foreign-1"}, "spec": {"workflowTemplateRef": {"name": "inspect"}}}
        trigger = {"action": "trigger-workflow", "namespace": "plant", "workflow": workflow, "correlation_id": "f-1"}
        answer = {"correlation_id": "f-2", "code": 200}
        await asyncio.to_thread(publish, broker, "argo.workflows.trigger", trigger, timestamp=microseconds)
        await asyncio.to_thread(publish, broker, "argo.workflows.response.gw-1", answer, timestamp=microseconds)
        await here.feed(20)
        await here.all_is_done(besides=["foreign-1"])
        await here.agent.logged("amqp_properties_unreadable")
        assert "event=uplink_down" not in here.agent.log
        logs = [here.group[number].log for number in range(2)]
        assert sum(log.count("event=amqp_properties_unreadable") for log in logs) == 1
        assert not any("event=broker_disconnected" in log for log in logs)
