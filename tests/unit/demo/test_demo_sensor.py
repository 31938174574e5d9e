from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import mqtt5
import pytest

from edgeagent.demo.sensor import Sensor
from edgeagent.demo.series import Reading
from edgeagent.errors import CommandFailed
from tests.fakes.listener import Listener
from tests.waiting import DEADLINE_S

READING = Reading("2022-03-29T09:00:00+02:00", 24.27)
LATER = Reading("2022-03-29T10:00:00+02:00", 25.0)
TAKEN = mqtt5.PubAckReasonCode.SUCCESS


class Agent:
    """Answers PUBLISH with what it is given, one after another; None breaks the connection instead."""

    def __init__(self, *answers: mqtt5.PubAckReasonCode | None) -> None:
        self.answers = list(answers)
        self.published: list[mqtt5.PublishPacket] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        data = b""
        while data := data + await reader.read(65536):
            try:
                packet, size = mqtt5.read(memoryview(data))
            except IndexError:  # the rest is still to come
                continue
            data = data[size:]
            if isinstance(packet, mqtt5.ConnectPacket):
                writer.write(mqtt5.ConnAckPacket().write())
            elif isinstance(packet, mqtt5.PublishPacket):
                self.published.append(packet)
                answer = self.answers.pop(0)
                if answer is None or packet.packet_id is None:
                    break
                writer.write(mqtt5.PubAckPacket(packet.packet_id, reason_code=answer).write())
            else:
                break


@asynccontextmanager
async def served(agent: Agent) -> AsyncIterator[Sensor]:
    async with Listener(agent.serve) as listener:
        sensor = Sensor(listener.port)
        running = asyncio.create_task(sensor.run())
        async with asyncio.timeout(DEADLINE_S):
            yield sensor
        running.cancel()
        await asyncio.wait([running])


async def test_readings_go_over_one_connection_at_qos_1_each_with_an_id_of_its_own() -> None:
    agent = Agent(TAKEN, TAKEN)
    async with served(agent) as sensor:
        await sensor.send(READING)
        await sensor.send(LATER)
    assert agent.connections == 1
    first, second = agent.published
    assert (first.topic, first.qos) == ("water-main/branch-1", mqtt5.QoS.AT_LEAST_ONCE)
    assert json.loads(first.payload) == {
        "specversion": "1.0",
        "source": "water-main/branch-1",
        "id": "2022-03-29T09:00:00+02:00",
        "type": "reading",
        "time": "2022-03-29T09:00:00+02:00",
        "data": {"flow_l_s": 24.27},
    }
    assert json.loads(second.payload)["id"] == LATER.time


async def test_a_reading_that_nobody_acknowledged_is_published_again_as_the_same_event() -> None:
    agent = Agent(None, TAKEN)
    async with served(agent) as sensor:
        await sensor.send(READING)
    first, again = agent.published
    assert first.payload == again.payload
    assert agent.connections == 2


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (mqtt5.PubAckReasonCode.NOT_AUTHORIZED, "refused"),
        (mqtt5.PubAckReasonCode.NO_MATCHING_SUBSCRIBERS, "for no event"),
    ],
)
async def test_a_reading_that_is_refused_is_an_error_that_says_why(code: mqtt5.PubAckReasonCode, reason: str) -> None:
    async with served(Agent(code)) as sensor:
        with pytest.raises(CommandFailed, match=f"the agent refuses the sensor's reading: .*{reason}"):
            await sensor.send(READING)
