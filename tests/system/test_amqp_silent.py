"""A real RabbitMQ that goes on to live, and confirms nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from edgeagent.amqp import link
from edgeagent.common.units import Duration
from edgeagent.ports.link import TAKEN, Publication
from tests.fakes.mosquitto import MqttClient
from tests.fakes.rabbitmq import RabbitMq

TOPIC = "argo/workflows/response/gw-1"
# A queue's process takes messages, heartbeats go on, and nothing comes of it.
PROCESS = 'sys:{}(amqqueue:get_pid(element(2, rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{}">>))))).'


async def test_a_broker_that_confirms_nothing_is_left_and_what_was_in_flight_passes_when_it_does_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "CONFIRM_S", 1.0)
    async with RabbitMq(tmp_path) as broker:
        gateway = MqttClient(broker.url, "gw-1", TOPIC, mark="gw-1", session_expiry_s=600, keepalive=Duration(60))
        async with gateway:
            queue = "edgeagent.agent.gw-1"
            await broker.control("eval", PROCESS.format("suspend", queue))
            assert gateway.link is not None
            gateway.link.publish([Publication(77, TOPIC, b"first")])
            error = await gateway.wait_down()
            assert "the broker has not confirmed a publication for 1 s; they are sent again" in str(error)
            assert not gateway.acks
            await broker.control("eval", PROCESS.format("resume", queue))
            await gateway.wait_up(2)
            await gateway.publish_all(TOPIC, 1)  # over as many connections as a slow broker needs
            assert gateway.acks[-1].outcome is TAKEN
            await gateway.until(
                lambda: {each.payload for each in gateway.messages} == {b"first", b"0"}, "both messages"
            )

            os.killpg(broker.process_group, signal.SIGSTOP)
            try:
                downs = len(gateway.downs)
                gateway.link.publish([Publication(78, TOPIC, b"3")])
                await gateway.wait_down(downs + 1)
            finally:
                os.killpg(broker.process_group, signal.SIGCONT)
            assert "has not confirmed a publication" in str(gateway.downs[downs])
            await gateway.publish_all(TOPIC, 2)
