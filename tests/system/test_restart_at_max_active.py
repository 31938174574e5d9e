"""A dispatcher that is started again knows how many workflows are unfinished before it takes a trigger."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.argo_failures import refused
from tests.fakes.argo_server import FakeArgo
from tests.fakes.dispatch_group import ArgoDispatcher
from tests.fakes.dispatching import trigger
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.waiting import until

MOST = 3


async def test_triggers_that_waited_at_the_broker_do_not_pass_the_limit_after_a_restart(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with FakeArgo() as argo, MqttClient(broker.url, "gw", "argo/workflows/response/gw-1", mark="gw-1") as gateway:
        argo.templates.add(("plant", "inspect"))
        dispatcher = ArgoDispatcher(tmp_path / "d0", broker.url, argo.url, engine_keys=f"max_active = {MOST}")

        async def publish(*numbers: int) -> None:
            for number in numbers:
                message = trigger(f"hot-{number}", 0, agent="gw-1")
                await gateway.publish(message.topic, message.payload)

        await dispatcher.start()
        await publish(*range(MOST))
        await until(lambda: len(argo.workflows()) == MOST, "the first workflows", seen=dispatcher.tail)
        await dispatcher.kill()
        argo.fail_next(refused(503, 14, "not yet"), path="/api/v1/workflows/plant", method="GET")
        await publish(*range(MOST, 3 * MOST))
        await dispatcher.start()
        await dispatcher.logged("namespace_full")
        assert len(argo.workflows()) == MOST
        done = argo.workflows()[0]["metadata"]["name"]
        argo.advance("plant", done, phase="Succeeded")
        await until(lambda: len(argo.workflows()) == MOST + 1, "the next one", seen=dispatcher.tail)
        await dispatcher.stop()
