"""Local broker and uplink on one real broker: what edgeagent itself publishes never becomes an event."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.programs import Agent
from tests.fakes.tcp_proxy import TcpProxy

# Wants each event, a trigger too.
EVERY = '[[rule]]\nname = "every"\nnamespace = "plant"\ntemplate = "inspect"\n'
HOT = json.dumps({"temp": 97}).encode()


async def test_a_loop_over_one_broker_is_refused_by_check_and_run(broker: Mosquitto, tmp_path: Path) -> None:
    url = broker.url.replace("127.0.0.1", "localhost")
    loop = {"uplink": 'trigger_topic = "sensors/{agent}/data"'}
    agent = Agent(tmp_path / "agent", url, local=broker.url, rules=EVERY, tables=loop)
    for command in ("check", "doctor"):
        code, _, error = await agent.command(command)
        assert code == 78
        assert "uplink.trigger_topic (sensors/{agent}/data) is among its topics, on the same broker" in error
    agent.spawn()
    assert await agent.exit_code() == 78


async def test_where_nobody_sees_that_it_is_one_broker_our_messages_are_dropped_with_one_error(
    broker: Mosquitto, tmp_path: Path
) -> None:
    # Through the proxy the broker has another address. The second agent's triggers come on a topic that the first one
    # does not know as its own: there only the user property tells.
    async with TcpProxy(broker.port) as proxy, MqttClient(broker.url, "device") as device:
        one = Agent(
            tmp_path / "one",
            proxy.url,
            local=broker.url,
            rules=EVERY,
            tables={"uplink": 'trigger_topic = "sensors/gw-1/data"'},
        )
        two = Agent(
            tmp_path / "two",
            proxy.url,
            rules=EVERY,
            tables={"uplink": 'client_id = "two"\ntrigger_topic = "sensors/gw-2/data"'},
        )
        async with one, two:
            await one.logged("link_up", 2)
            await two.logged("link_up")
            for _ in range(3):
                await device.publish("sensors/boiler-1/data", HOT)
                await two.send("boiler-2", {"temp": 99})
            await one.account(stored=3, received=3)
            stats = await one.get("/v1/stats")
            while stats["local"]["own"] < 6:
                stats = await one.get("/v1/stats")
            assert stats["account"]["events"]["received"] == 3
            assert one.log.count("event=local_own_message") == 1
            assert await two.stop() == 0
            assert await one.stop() == 0
