"""A RabbitMQ whose queues come back without a leader: it is told, nothing is lost, and docs/brokers.md heals it."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.dispatch_scene import scene
from tests.fakes.rabbitmq import RabbitMq
from tests.waiting import until

# Until the agent has given up its confirms, and the dispatchers their connections.
PATIENT_S = 240.0


async def test_queues_without_a_leader_are_told_and_once_deleted_every_trigger_starts_once(tmp_path: Path) -> None:
    directory = tmp_path / "broker"
    directory.mkdir()
    uplink, dispatchers = 'response_timeout = "5s"', 'connect_timeout = "10s"'
    async with (
        RabbitMq(directory) as broker,
        scene(tmp_path, rabbitmq=broker, uplink=uplink, broker_keys=dispatchers) as here,
    ):
        await here.feed(100)
        await here.answered(20)
        await broker.restart_without_leaders()
        await here.feed(20)
        agent, dispatcher = here.agent, here.group[0]
        doubt = "if this goes on, one of its queues has no leader (docs/brokers.md)"
        await until(lambda: doubt in agent.log, "the agent's doubt", seen=agent.tail, deadline_s=PATIENT_S)
        silent = "the broker has not answered (consuming edgeagent.trigger.edgeagent)"
        await until(lambda: silent in dispatcher.log, "the dispatcher's", seen=dispatcher.tail, deadline_s=PATIENT_S)
        for queue in ("edgeagent.trigger.edgeagent", "edgeagent.dead"):
            await broker.control("delete_queue", queue)
        await here.all_are_started(deadline_s=PATIENT_S)
