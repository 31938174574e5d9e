"""The promises of `link`, kept by the engine on aiomqtt: MQTT 3.1.1 and MQTT 5, by TCP and WebSocket."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from edgeagent.common.units import Duration
from edgeagent.config.tables import FilePath, Uplink
from edgeagent.errors import Denied, Unavailable
from edgeagent.mqtt import engines
from edgeagent.mqtt.reason_codes import (
    MALFORMED,
    NO_MATCHING_SUBSCRIBERS,
    QOS_NOT_SUPPORTED,
    RECEIVE_MAXIMUM_EXCEEDED,
    SUCCESS,
)
from edgeagent.mqtt.v311 import V311Link
from edgeagent.ports.link import Publication, Subscription, Will
from tests.fakes.link import code_of
from tests.fakes.mosquitto import Mosquitto, MqttClient, free_port
from tests.fakes.tcp_proxy import TcpProxy
from tests.waiting import DEADLINE_S, until_accepting

# By the last one only where `mqtt5` cannot be imported.
WAYS = ["3.1.1 by mqtt", "3.1.1 by ws", "5 by ws", "5 by mqtt"]


class Broker(Mosquitto):
    """Mosquitto with a listener for the way that is tested, beside the one for observers on MQTT 5."""

    def __init__(self, directory: Path, way: str, *, config: list[str] | None = None, anonymous: bool = True) -> None:
        self.version, _, scheme = way.split()
        self.way_port = free_port()
        lines = [f"listener {self.way_port} 127.0.0.1"]
        if scheme == "ws":
            lines.append("protocol websockets")
        allowed = f"allow_anonymous {str(anonymous).lower()}"
        super().__init__(directory, listener=[allowed], config=[*lines, *(config or [])])
        self.way_url = f"{scheme}://127.0.0.1:{self.way_port}"

    async def start(self) -> None:
        """Start it and wait until both listeners accept connections."""
        await super().start()
        assert self._process is not None
        await until_accepting(self._process, [self.way_port], self._said)

    def client(self, client_id: str, *subscribe: str | Subscription, url: str = "", **keys: Any) -> MqttClient:
        """A client on the way that is tested."""
        return MqttClient(url or self.way_url, client_id, *subscribe, version=self.version, **keys)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    text: str = request.param
    if text == "5 by mqtt":
        monkeypatch.setattr(engines, "codec_fault", lambda: "No module named 'mqtt5'")
    return text


@pytest.fixture
async def broker(tmp_path: Path, way: str) -> AsyncIterator[Broker]:
    async with Broker(tmp_path, way) as mosquitto:
        yield mosquitto


async def test_a_publish_is_acknowledged_by_its_token_and_arrives(broker: Broker) -> None:
    async with MqttClient(broker.url, "watcher", "a/+") as watcher, broker.client("gw", "b") as gateway:
        assert isinstance(gateway.link, V311Link)
        assert code_of(await gateway.publish("a/b", b"up")) == SUCCESS
        assert (await watcher.message()).payload == b"up"
        await watcher.publish("b", b"down")
        message = await gateway.message()
    assert (message.topic, message.payload, message.receipt is not None, message.retain, message.duplicate) == (
        ("b", b"down", True, False, False)
    )


async def test_mqtt_5_carries_its_properties_and_reason_codes_by_websocket_too(tmp_path: Path) -> None:
    properties = {
        "response_topic": "answer",
        "correlation_data": b"9f2c",
        "content_type": "application/json",
        "expiry_s": 60,
        "user_properties": (("agent", "gw"), ("rule", "overheat")),
    }
    async with Broker(tmp_path, "5 by ws") as broker, broker.client("gw", "a") as gateway:
        await gateway.publish("a", b"1", **properties)
        message = await gateway.message()
        unheard = await gateway.publish("nobody/listens")
        log = broker.log_file.read_text("utf-8")
    assert (message.response_topic, message.correlation_data) == ("answer", b"9f2c")
    assert code_of(unheard) == NO_MATCHING_SUBSCRIBERS
    assert "PUBLISH from gw" in log


async def test_many_publications_keep_their_order_and_each_token_comes_back_once(broker: Broker) -> None:
    total = 500
    async with MqttClient(broker.url, "watcher", "a") as watcher, broker.client("gw") as gateway:
        tokens = iter(range(total))

        while batch := [*islice(tokens, gateway.link.room if gateway.link else 0)]:
            assert gateway.link is not None
            gateway.link.publish([Publication(token, "a", b"%d" % token) for token in batch])
            await gateway.until(lambda: len(gateway.acks) > batch[-1], "acknowledgements")
        await watcher.until(lambda: len(watcher.messages) == total, "everything")
    assert [int(message.payload) for message in watcher.messages] == list(range(total))
    assert sorted(ack.token for ack in gateway.acks) == list(range(total))


async def test_what_goes_beyond_the_window_or_cannot_be_written_comes_back_as_such(broker: Broker) -> None:
    async with broker.client("gw") as gateway:
        assert gateway.link is not None
        assert gateway.link.room == 20
        gateway.link.publish([Publication(token, "a", b"") for token in range(21)])
        gateway.link.publish([Publication(21, "a", b"", qos=2), Publication(22, "a/#", b"", qos=0)])
        await gateway.until(lambda: len(gateway.acks) == 23, "all answers")
        assert gateway.link.room == 20
    refused = {ack.token: code_of(ack) for ack in gateway.acks if code_of(ack) >= 0x80}
    assert refused == {20: RECEIVE_MAXIMUM_EXCEEDED, 21: QOS_NOT_SUPPORTED, 22: MALFORMED}


async def test_qos_0_is_written_and_never_taken_for_the_answer_to_another(broker: Broker) -> None:
    async with MqttClient(broker.url, "watcher", "a") as watcher, broker.client("gw") as gateway:
        assert gateway.link is not None
        gateway.link.publish([Publication(1, "a", b"zero", qos=0), Publication(2, "a", b"one")])
        await gateway.until(lambda: bool(gateway.acks), "an acknowledgement")
        assert {(await watcher.message()).payload, (await watcher.message()).payload} == {b"zero", b"one"}
    assert [ack.token for ack in gateway.acks] == [2]


async def test_what_was_not_acknowledged_comes_again_after_a_kill_and_the_rest_does_not(broker: Broker) -> None:
    first = broker.client("gw", "a", session_expiry_s=100, auto_acknowledge=False)
    async with first, MqttClient(broker.url, "device") as device:
        for number in range(4):
            await device.publish("a", b"%d" % number)
        taken = [await first.message() for _ in range(4)]
        first.acknowledge(taken[2])  # held back until the two before it are
        first.acknowledge(taken[0])
        # A round trip behind the acknowledgement: the broker has seen it when this one is answered.
        await first.publish("elsewhere")
        await first.die()
        async with broker.client("gw", "a", session_expiry_s=100) as again:
            repeated = [await again.message() for _ in range(3)]
            assert again.ups == [True]
    assert [message.payload for message in repeated] == [b"1", b"2", b"3"]
    assert all(message.duplicate for message in repeated)


async def test_a_session_is_new_the_first_time_and_clean_without_an_expiry(broker: Broker) -> None:
    for expected in (False, True):
        async with broker.client("kept", "a", session_expiry_s=100) as kept:
            assert kept.ups == [expected]
    for _ in range(2):
        async with broker.client("clean", "a") as clean:
            assert clean.ups == [False]


async def test_messages_missed_while_away_come_in_order(broker: Broker) -> None:
    async with broker.client("gw", "a", session_expiry_s=100), MqttClient(broker.url, "device") as device:
        pass
    async with MqttClient(broker.url, "device") as device:
        for number in range(60):
            await device.publish("a", b"%d" % number)
        async with broker.client("gw", "a", session_expiry_s=100) as gateway:
            await gateway.until(lambda: len(gateway.messages) == 60, "everything")
    assert [int(message.payload) for message in gateway.messages] == list(range(60))


async def test_retained_messages_come_only_to_who_asks_for_them(broker: Broker) -> None:
    async with MqttClient(broker.url, "device") as device:
        await device.publish("state/a", b"old", retain=True)
        asking = broker.client("asking", Subscription("state/#", retained=True))
        async with asking, broker.client("not-asking", "state/#") as not_asking:
            assert (await asking.message()).retain
            await device.publish("state/a", b"new", retain=True)
            await not_asking.message()
    assert [message.payload for message in not_asking.messages] == [b"new"]


async def test_a_client_that_dies_leaves_its_will_and_one_that_stops_does_not(broker: Broker) -> None:
    async with MqttClient(broker.url, "watcher", "state/+") as watcher:
        async with broker.client("polite", will=Will("state/polite", b"offline", retain=False)):
            pass
        brutal = broker.client("brutal", will=Will("state/brutal", b"offline", retain=False))
        async with brutal:
            await brutal.die()
            message = await watcher.message()
    assert [(message.topic, message.payload)] == [("state/brutal", b"offline")]
    assert len(watcher.messages) == 1


async def test_a_stream_survives_restarts_of_the_broker(broker: Broker) -> None:
    total = 300
    subscriber = MqttClient(broker.url, "subscriber", "stream", session_expiry_s=100)
    async with subscriber, broker.client("publisher", session_expiry_s=100) as publisher:
        async with asyncio.TaskGroup() as group:
            group.create_task(publisher.publish_all("stream", total))
            await publisher.until(lambda: len(publisher.acks) >= total // 3, "a third")
            await broker.restart()
        await subscriber.until(lambda: len({*subscriber.messages}) >= total, "everything")
    assert {int(message.payload) for message in subscriber.messages} == set(range(total))
    assert publisher.ups[0] is False
    assert publisher.ups[1:]
    assert all(publisher.ups[1:])


async def test_a_large_message_arrives_whole_in_both_directions(broker: Broker) -> None:
    large = bytes(range(256)) * (4 << 10)
    async with MqttClient(broker.url, "watcher", "up") as watcher, broker.client("gw", "down") as gateway:
        await gateway.publish("up", large)
        assert (await watcher.message()).payload == large
        # Debian's Mosquitto sends only some 40 kB/s by WebSocket.
        large = large if broker.way_url.startswith("mqtt:") else large[:70_000]
        await watcher.publish("down", large)
        assert (await gateway.message()).payload == large


async def test_a_broker_that_reads_slowly_gets_every_byte_and_the_room_comes_back(tmp_path: Path, way: str) -> None:
    large = b"x" * (1 << 20)
    async with Broker(tmp_path, way) as broker, MqttClient(broker.url, "watcher", "up") as watcher:
        async with TcpProxy(broker.way_port) as proxy:
            url = broker.way_url.replace(str(broker.way_port), str(proxy.port))
            async with broker.client("gw", url=url) as gateway:
                assert gateway.link is not None
                gateway.link.publish([Publication(token, "up", large) for token in range(8)])
                assert gateway.link.room == 0
                await gateway.until(lambda: len(gateway.acks) == 8, "acknowledgements")
                assert gateway.link.room == 20
                assert gateway.downs == []
        await watcher.until(lambda: len(watcher.messages) == 8, "everything")
    assert all(message.payload == large for message in watcher.messages)


async def test_an_acl_denies_silently_over_3_1_1_and_with_a_reason_over_5(tmp_path: Path, way: str) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite allowed/#\n", "utf-8")
    broker = Broker(tmp_path, way, config=[f"acl_file {acl}"])
    async with broker, broker.client("gw", "allowed/#") as gateway:
        denied = await gateway.publish("forbidden")
        await gateway.publish("allowed/x", b"1")
        await gateway.message()
    assert code_of(denied) == (0x87 if way.startswith("5") else SUCCESS)
    assert gateway.downs == []


async def test_a_wrong_password_is_denied_and_a_new_one_in_the_file_lets_us_in(tmp_path: Path, way: str) -> None:
    users, password = tmp_path / "users", tmp_path / "password"
    await asyncio.to_thread(subprocess.run, ["mosquitto_passwd", "-b", "-c", str(users), "gw", "right"], check=True)
    password.write_text("wrong\n", "utf-8")
    async with Broker(tmp_path, way, config=[f"password_file {users}"], anonymous=False) as broker:
        gateway = broker.client("gw", username="gw", password_file=FilePath(password))
        gateway.start()
        try:
            assert isinstance(await gateway.wait_down(1), Denied)
            password.write_text("right\n", "utf-8")
            await gateway.wait_up()
        finally:
            await gateway.stop()


async def test_a_broker_that_comes_later_is_found(tmp_path: Path, way: str) -> None:
    broker = Broker(tmp_path, way)
    gateway = broker.client("gw")
    gateway.start()
    try:
        first = await gateway.wait_down()
        assert isinstance(first, Unavailable)
        assert str(first) == f"{broker.way_url}: the connection failed (Connection refused)"
        async with broker:
            await gateway.wait_up()
    finally:
        await gateway.stop()


async def test_a_second_client_with_the_same_id_is_named_as_a_possible_reason(broker: Broker) -> None:
    async with broker.client("same") as first, broker.client("same"):
        assert "another client uses the id same" in str(await first.wait_down())


async def test_a_session_is_emptied_before_its_owner_leaves(broker: Broker) -> None:
    gateway = broker.client("gw", "a", session_expiry_s=100)
    async with gateway, MqttClient(broker.url, "device") as device:
        assert isinstance(gateway.link, V311Link)
        await device.publish("a", b"1")
        await gateway.message()
        gateway.link.unsubscribe()
        await asyncio.wait_for(asyncio.shield(gateway.link.emptied), DEADLINE_S)
        assert gateway.link.is_emptied
        await device.publish("a", b"2")
    async with broker.client("gw", session_expiry_s=100) as again:
        await again.publish("elsewhere")
    assert again.messages == []
    assert again.ups == [broker.version != "5"], "MQTT 5 can end a session"


async def test_a_host_that_is_no_name_is_told_and_does_not_end_the_loop(way: str) -> None:
    version, _, scheme = way.split()
    client = MqttClient(f"{scheme}://a..b", "gw", version=version)
    client.start()
    assert f"{scheme}://a..b" in str(await client.wait_down(2))
    await client.stop()


async def test_the_uplink_window_is_the_configured_one(broker: Broker) -> None:
    assert Uplink().max_inflight == 100
    client = broker.client("gw")
    client._connection = Uplink(url=broker.way_url, version="3.1.1", session_expiry=Duration(0), max_inflight=7)
    async with client:
        assert client.link is not None
        assert client.link.room == 7
