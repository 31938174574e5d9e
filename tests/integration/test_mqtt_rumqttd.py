"""The link against a second real broker: rumqttd 0.20, as `iotcore` 0.4 (the extra `demo`) carries it.

What it does not do, or does wrong, as seen here; the tests hold what follows from it for us:

* It tells no limits at CONNECT, neither a receive maximum nor a maximum packet size. A message over its
  `max_payload_size` ends the connection without a reason.
* A trigger that nobody subscribes to is acknowledged with success, not with 0x10.
* It gives no reasons at all: a wrong password, a session taken over and a message too large are closed connections.
* A session in which more than 100 messages wait gets no answer to SUBSCRIBE before some are acknowledged. We
  acknowledge only once we are subscribed: such a session cannot be resumed.
* A session that was begun clean ends with its connection, whatever its expiry: the first one of a process at QoS 2.
* It delivers again what was not acknowledged, but without the DUP flag.
* It sends retained messages also to a subscription that does not want them (retain handling 2).
* UNSUBACK has one reason code, however many topic filters were given up: then a session cannot be left empty.
* It keeps everything in memory: a restart loses sessions and retained messages. Nor does it end a session when its
  expiry is over.
* Its thread for MQTT 3.1.1 panics over the first message with properties of MQTT 5, and takes no connection from then
  on. So each test has one version only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.common.units import Duration
from edgeagent.config.tables import FilePath
from edgeagent.errors import Unavailable
from edgeagent.mqtt.reason_codes import SUCCESS
from edgeagent.ports.link import Publication, Subscription, Will
from tests.fakes.engine import Engine, success
from tests.fakes.link import code_of
from tests.fakes.mosquitto import MqttClient
from tests.fakes.programs import Agent, Dispatcher
from tests.fakes.rumqttd import MAX_PAYLOAD_BYTES, Rumqttd
from tests.fakes.tcp_proxy import TcpProxy
from tests.waiting import DEADLINE_S

HOT = {"temp": 97.1}


class Broker(Rumqttd):
    """With clients that speak its version of MQTT."""

    def client(self, client_id: str, *subscribe: str | Subscription, url: str = "", **keys: Any) -> MqttClient:
        """A client of this broker."""
        return MqttClient(url or self.url, client_id, *subscribe, version=self.version, **keys)


@pytest.fixture(params=["5", "3.1.1"])
def version(request: pytest.FixtureRequest) -> str:
    text: str = request.param
    return text


@pytest.fixture
async def broker(tmp_path: Path, version: str) -> AsyncIterator[Broker]:
    async with Broker(tmp_path, version=version) as rumqttd:
        yield rumqttd


async def test_messages_pass_in_both_directions_and_are_acknowledged(broker: Broker) -> None:
    async with broker.client("watcher", "a/+") as watcher, broker.client("gw", "b") as gateway:
        assert code_of(await gateway.publish("a/b", b"up")) == SUCCESS
        assert (await watcher.message()).payload == b"up"
        await watcher.publish("b", b"down")
        message = await gateway.message()
    assert (message.topic, message.payload, message.receipt is not None, message.retain) == ("b", b"down", True, False)


async def test_a_trigger_comes_with_its_properties_and_expires(tmp_path: Path) -> None:
    properties: dict[str, Any] = {"response_topic": "answer", "correlation_data": b"9f2c"}
    async with Broker(tmp_path) as broker, broker.client("device") as device:
        async with broker.client("engine", "a", session_expiry_s=100) as engine:
            await device.publish(
                "a", b"1", content_type="application/json", user_properties=(("agent", "gw"),), **properties
            )
            message = await engine.message()
        assert (message.response_topic, message.correlation_data) == ("answer", b"9f2c")
        await device.publish("a", b"soon", expiry_s=1)
        await device.publish("a", b"late", expiry_s=100)
        await asyncio.sleep(1.5)  # what is tested is that this time has passed
        async with broker.client("engine", "a", session_expiry_s=100) as engine:
            await engine.message()
    assert [message.payload for message in engine.messages] == [b"late"]


async def test_that_nobody_subscribes_is_not_told_and_neither_are_limits(broker: Broker) -> None:
    async with broker.client("gw") as gateway:
        assert code_of(await gateway.publish("nobody/listens")) == SUCCESS
        assert gateway.link is not None
        assert gateway.link.max_packet_bytes > 100 * MAX_PAYLOAD_BYTES


async def test_messages_missed_while_away_come_in_order(broker: Broker) -> None:
    async with broker.client("gw", "a", session_expiry_s=100) as first:
        pass
    async with broker.client("device") as device:
        for number in range(100):
            await device.publish("a", b"%d" % number)
        async with broker.client("gw", "a", session_expiry_s=100) as gateway:
            await gateway.until(lambda: len(gateway.messages) == 100, "everything")
    assert [int(message.payload) for message in gateway.messages] == list(range(100))
    assert (first.ups, gateway.ups) == ([False], [True])


async def test_a_session_in_which_more_than_100_messages_wait_is_not_resumed_and_the_wait_ends(broker: Broker) -> None:
    async with broker.client("gw", "a", session_expiry_s=100):
        pass
    async with broker.client("device") as device:
        for number in range(101):
            await device.publish("a", b"%d" % number)
    gateway = broker.client("gw", "a", session_expiry_s=100, connect_timeout=Duration(0.5))
    gateway.start()
    assert str(await gateway.wait_down(2)).endswith("no connection within 0.5 s (connect_timeout)")
    await gateway.stop()
    async with broker.client("gw", "a") as clean:
        assert clean.ups == [False]


async def test_what_was_not_acknowledged_comes_again_unmarked_and_the_rest_does_not(broker: Broker) -> None:
    first = broker.client("gw", "a", session_expiry_s=100, auto_acknowledge=False)
    async with first, broker.client("device") as device:
        for number in range(4):
            await device.publish("a", b"%d" % number)
        taken = [await first.message() for _ in range(4)]
        first.acknowledge(taken[0])
        # A round trip behind the acknowledgement: the broker has seen it when this one is answered.
        await first.publish("elsewhere")
        await first.die()
        async with broker.client("gw", "a", session_expiry_s=100) as again:
            await device.publish("a", b"last")
            repeated = [await again.message() for _ in range(4)]
    assert [message.payload for message in repeated] == [b"1", b"2", b"3", b"last"]
    assert not any(message.duplicate for message in repeated)


async def test_a_stream_survives_cut_connections(broker: Broker) -> None:
    total = 600
    async with (
        TcpProxy(broker.port) as proxy,
        broker.client("subscriber", "stream") as subscriber,
        broker.client("publisher", url=proxy.url, session_expiry_s=100) as publisher,
    ):
        async with asyncio.TaskGroup() as group:
            group.create_task(publisher.publish_all("stream", total, at_once=20))
            for part in (1, 2, 3):
                await publisher.until(lambda: len(publisher.acks) >= part * total // 5, "a part")  # noqa: B023  awaited here
                connections = len(publisher.ups)
                await proxy.cut()
                await proxy.heal()
                await publisher.wait_up(connections + 1)  # or one cut may follow the other before it is noticed
        await subscriber.until(lambda: len({message.payload for message in subscriber.messages}) == total, "everything")
    assert len(publisher.ups) > 3
    assert all(publisher.ups[1:]), "its session was resumed"


async def test_a_restart_loses_the_session_and_retained_messages_and_the_client_goes_on(broker: Broker) -> None:
    state = Subscription("state", retained=True)
    async with broker.client("gw", "a", state, session_expiry_s=100) as gateway:
        await gateway.publish("state", b"online", retain=True)
        await gateway.message("state")
        await broker.restart()
        await gateway.wait_up(2)
        assert gateway.ups == [False, False]
        await gateway.publish("a", b"subscribed again")
        await gateway.message("a")
    assert len(gateway.messages) == 2, "nothing was retained"


async def test_a_large_message_arrives_whole_and_one_that_is_too_large_ends_the_connection(broker: Broker) -> None:
    large = bytes(range(256)) * ((MAX_PAYLOAD_BYTES - 1024) // 256)
    async with broker.client("watcher", "up") as watcher, broker.client("gw") as gateway:
        await gateway.publish("up", large)
        assert (await watcher.message()).payload == large
        assert gateway.link is not None
        gateway.link.publish([Publication(1, "up", bytes(MAX_PAYLOAD_BYTES + 1024))])
        assert isinstance(await gateway.wait_down(), Unavailable)
        await gateway.wait_up(2)
        await gateway.publish("up", b"small")
        assert (await watcher.message()).payload == b"small"
    assert len(gateway.acks) == 2, "nothing was said of the large one"


async def test_retained_messages_come_to_who_asks_and_over_5_to_everybody(broker: Broker) -> None:
    async with broker.client("device") as device:
        await device.publish("state", b"old", retain=True)
        asking = broker.client("asking", Subscription("state", retained=True))
        async with asking, broker.client("not-asking", "state") as not_asking:
            assert (await asking.message()).retain
            await device.publish("state", b"new", retain=True)
            await not_asking.until(
                lambda: not_asking.messages[-1:] != [] and not_asking.messages[-1].payload == b"new", "it"
            )
    told = [(message.payload, message.retain) for message in not_asking.messages]
    # The engine for 3.1.1 drops them, since that version cannot ask. They are marked, and owners ignore marked ones.
    assert told == [*([(b"old", True)] if broker.version == "5" else []), (b"new", False)]


async def test_a_client_that_dies_leaves_its_will_and_one_that_stops_does_not(broker: Broker) -> None:
    async with broker.client("watcher", "state/+") as watcher:
        async with broker.client("polite", will=Will("state/polite", b"offline", retain=False)):
            pass
        brutal = broker.client("brutal", will=Will("state/brutal", b"offline", retain=False))
        async with brutal:
            await brutal.die()
            await watcher.message()
    assert [message.topic for message in watcher.messages] == ["state/brutal"]


async def test_a_shared_subscription_gives_each_message_to_one(broker: Broker) -> None:
    one, two = broker.client("one", "$share/group/t"), broker.client("two", "$share/group/t")
    async with one, two, broker.client("device") as device:
        for number in range(20):
            await device.publish("t", b"%d" % number)
        while len(one.messages) + len(two.messages) < 20:
            await device.publish("elsewhere")
    assert sorted(int(message.payload) for message in one.messages + two.messages) == list(range(20))
    assert one.messages
    assert two.messages


async def test_a_wrong_password_looks_like_a_broker_that_does_not_answer(tmp_path: Path, version: str) -> None:
    password = tmp_path / "password"
    password.write_text("wrong", "utf-8")
    async with Broker(tmp_path, version=version, users={"gw": "right"}) as broker:
        gateway = broker.client("gw", username="gw", password_file=FilePath(password))
        gateway.start()
        try:
            assert "closed the connection without an answer" in str(await gateway.wait_down())
            password.write_text("right", "utf-8")
            await gateway.wait_up()
        finally:
            await gateway.stop()


async def test_a_second_client_with_the_same_id_is_named_as_a_possible_reason(broker: Broker) -> None:
    async with broker.client("same") as first, broker.client("same"):
        assert "another client uses the id same" in str(await first.wait_down())


async def test_pings_keep_an_idle_connection(broker: Broker) -> None:
    async with broker.client("gw", keepalive=Duration(8)) as gateway:
        await asyncio.sleep(13)  # what is tested is that nothing happens in this time
        assert gateway.downs == []
        await gateway.publish("a")


async def test_at_qos_2_handshakes_that_were_cut_go_on_and_deliver_once(tmp_path: Path) -> None:
    async with (
        Broker(tmp_path) as broker,
        broker.client("watcher", "t") as watcher,
        TcpProxy(broker.port) as proxy,
        broker.client("gw", url=proxy.url, session_expiry_s=100, exactly_once=True) as gateway,
    ):
        await gateway.publish("t", b"first", qos=2)

        async def cut() -> None:
            count = len(gateway.ups)
            await proxy.cut()
            proxy.swallow_upward = False
            await proxy.heal()
            await gateway.wait_up(count + 1)

        def publish(first: int) -> None:
            assert gateway.link is not None
            numbers = range(first, first + 20)
            gateway.link.publish([Publication(number, "t", b"%d" % number, qos=2) for number in numbers])

        await cut()
        publish(100)
        await watcher.until(lambda: len(watcher.messages) > 1, "the beginning")
        await cut()
        await gateway.until(lambda: len(gateway.acks) == 21, "every answer")
        proxy.swallow_upward = True
        publish(200)
        await cut()
        await gateway.until(lambda: len(gateway.acks) == 41, "every answer")
        await gateway.publish("t", b"last", qos=2)
        await watcher.until(lambda: watcher.messages[-1].payload == b"last", "the last")
    assert len(watcher.messages) == len({message.payload for message in watcher.messages}) == 42
    assert gateway.ups == [False, False, True, True]


async def test_a_session_with_one_subscription_is_left_empty_and_one_with_two_is_not(tmp_path: Path) -> None:
    async with Broker(tmp_path) as broker:
        async with broker.client("one", "a", session_expiry_s=100) as one:
            link: Any = one.link
            link.unsubscribe()
            await asyncio.wait_for(asyncio.shield(link.emptied), DEADLINE_S)
        async with broker.client("two", "a", "b", session_expiry_s=100) as two:
            link = two.link
            link.unsubscribe()
            assert "an answer that does not fit our UNSUBSCRIBE" in str(await two.wait_down())


async def test_an_agent_and_a_dispatcher_work_over_it_and_outlive_its_restart(tmp_path: Path, version: str) -> None:
    keys = f'version = "{version}"\n'
    async with Broker(tmp_path, version=version) as broker:
        tables = {"uplink": f'{keys}accept_dry_run = true\nresponse_timeout = "1s"'}
        agent = Agent(tmp_path / "agent", broker.url, tables=tables)
        dispatcher = Dispatcher(tmp_path / "d1", broker.url)
        text = dispatcher.config_file.read_text("utf-8")
        dispatcher.config_file.write_text(text.replace("[broker]\n", f"[broker]\n{keys}"), "utf-8")
        async with agent, dispatcher:
            await agent.state(await agent.triggered("boiler-1", HOT), "succeeded")
            await broker.kill()
            correlation = await agent.triggered("boiler-1", HOT)
            await broker.start()
            await agent.state(correlation, "succeeded")
            await agent.account(accepted=2, settled=2, pending=0)


async def test_a_response_that_is_lost_with_the_broker_is_asked_for_again(tmp_path: Path) -> None:
    async with Broker(tmp_path) as broker, Engine(broker.url, answer=lambda _: None) as engine:
        tables = {"uplink": 'response_timeout = "1s"'}
        async with Agent(tmp_path / "agent", broker.url, tables=tables) as agent:
            correlation = await agent.triggered("boiler-1", HOT)
            await engine.received(1)
            await broker.restart()
            engine.answer = success
            await agent.state(correlation, "triggered")
            await agent.account(accepted=1, settled=1, pending=0)
    assert len(engine.started) == 1
    assert len(engine.triggers) > 1
