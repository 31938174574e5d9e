"""What an agent does with answers and statuses that nobody should send, on a real broker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.programs import Agent

RESPONSE, STATUS = "argo/workflows/response/gw-1", "argo/workflows/status/gw-1"
TRIGGER = "argo/workflows/trigger"


async def counted(agent: Agent, name: str, number: int) -> dict[str, Any]:
    """Wait until the uplink has counted so many; returns the statistics."""
    stats = await agent.stats(lambda stats: stats["uplink"][name] >= number, f"{number} {name}")
    assert stats["uplink"][name] == number, stats
    return stats


async def test_an_answer_with_a_number_beyond_every_machine_ends_nothing(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker, MqttClient(broker.url, "engine", TRIGGER) as engine:
        agent = Agent(tmp_path / "agent", broker.url)
        async with agent:
            name = await agent.triggered("boiler-1", {"temp": 97.1})
            await engine.message(TRIGGER)
            bad = {"correlation_id": name, "code": 10**30, "retryable": False, "error": "x"}
            await engine.publish(RESPONSE, json.dumps(bad).encode())
            await counted(agent, "malformed", 1)
            await agent.kill()
            await agent.start()
            await engine.message(TRIGGER)
            final = {"correlation_id": name, "code": 400, "retryable": False, "error": "x" * 5000}
            await engine.publish(RESPONSE, json.dumps(final).encode())
            report = await agent.state(name, "rejected")
            assert report["error"] == "x" * 1024
            assert await agent.stop() == 0


def size_of(directory: Path) -> int:
    """All but the outbox's segments, which are made at their full size."""
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file() and file.suffix != ".seg")


async def test_statuses_with_a_megabyte_of_text_are_told_and_leave_the_state_directory_small(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker, MqttClient(broker.url, "engine", TRIGGER) as engine:
        async with Agent(tmp_path / "agent", broker.url) as agent:
            name = await agent.triggered("boiler-1", {"temp": 97.1})
            await engine.message(TRIGGER)
            status = {"namespace": "plant", "workflowId": "w", "status": "Failed", "correlation_id": name}
            for count, text in ((20, "x" * 1_024_000), (20, "x" * 200_000)):
                for _ in range(count):
                    await engine.publish(STATUS, json.dumps({**status, "message": text}).encode())
            report = await agent.state(name, "failed")
            assert report["message"] == "x" * 1024
            stats = await counted(agent, "statuses", 20)
            assert stats["uplink"]["malformed"] == 20
            assert 0 < stats["ledger"]["used_bytes"] < 1 << 20 < stats["ledger"]["max_bytes"]
            listed = await agent.get("/v1/triggers?limit=1000")
            assert [report["correlation_id"] for report in listed["triggers"]] == [name]
        assert size_of(tmp_path / "agent") < 3 << 20


async def test_a_status_that_wants_its_answer_where_brokers_take_offence_costs_no_connection(tmp_path: Path) -> None:
    async with (
        Mosquitto(tmp_path) as broker,
        MqttClient(broker.url, "engine", TRIGGER, "argo/workflows/response/monitor") as engine,
        Agent(tmp_path / "agent", broker.url) as agent,
    ):
        name = await agent.triggered("boiler-1", {"temp": 97.1})
        await engine.message(TRIGGER)
        status = {"namespace": "plant", "workflowId": "w", "status": "Running", "correlation_id": name}
        wanted = ["$SYS/x", "argo/workflows/trigger", RESPONSE]
        for topic in wanted:
            await engine.publish(STATUS, json.dumps(status).encode(), response_topic=topic)
        await engine.publish(
            STATUS,
            json.dumps({**status, "status": "Succeeded"}).encode(),
            response_topic="argo/workflows/response/monitor",
            correlation_data=b"7",
        )
        answer = await engine.message("argo/workflows/response/monitor")
        assert json.loads(answer.payload) == {"code": 200, "status": "Status update received successfully"}
        assert (answer.receipt, answer.correlation_data) == (None, b"7"), "at QoS 0"
        await counted(agent, "replies_refused", len(wanted))
        await agent.state(name, "succeeded")
        assert agent.log.count("event=reply_refused") == 1
        assert "event=link_down" not in agent.log
