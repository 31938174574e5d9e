from __future__ import annotations

import asyncio
import itertools
import subprocess
from pathlib import Path

from edgeagent.common.units import Duration
from edgeagent.config.tables import FilePath
from edgeagent.errors import Denied, Unavailable
from edgeagent.mqtt.reason_codes import NO_MATCHING_SUBSCRIBERS, SUCCESS
from edgeagent.ports.link import Publication, Subscription, Will
from tests.fakes.link import code_of
from tests.fakes.listener import Listener
from tests.fakes.mosquitto import Mosquitto, MqttClient


async def test_a_message_arrives_with_what_a_reply_needs(broker: Mosquitto) -> None:
    async with MqttClient(broker.url, "device") as device, MqttClient(broker.url, "gw", "a/+") as gateway:
        ack = await device.publish("a/b", b"1", response_topic="answer", correlation_data=b"9f2c")
        message = await gateway.message()
    assert code_of(ack) == SUCCESS
    assert (message.topic, message.payload, message.receipt is not None) == ("a/b", b"1", True)
    assert (message.response_topic, message.correlation_data) == ("answer", b"9f2c")
    assert (message.retain, message.duplicate) == (False, False)


async def test_a_publish_that_nobody_hears_comes_back_as_such(broker: Mosquitto) -> None:
    async with MqttClient(broker.url, "gw") as gateway:
        assert code_of(await gateway.publish("argo/workflows/trigger", b"{}")) == NO_MATCHING_SUBSCRIBERS


async def test_retained_messages_come_only_to_who_asks_for_them(broker: Mosquitto) -> None:
    async with MqttClient(broker.url, "device") as device:
        await device.publish("state/a", b"old", retain=True)
        asking = MqttClient(broker.url, "asking", Subscription("state/#", retained=True))
        async with asking, MqttClient(broker.url, "not-asking", "state/#") as not_asking:
            retained = await asking.message()
            await device.publish("state/a", b"new", retain=True)
            fresh = await asking.message()
            await not_asking.message()
    assert (retained.payload, retained.retain) == (b"old", True)
    assert (fresh.payload, fresh.retain) == (b"new", False)
    assert [message.payload for message in not_asking.messages] == [b"new"]


async def test_what_was_not_acknowledged_comes_again_with_dup_and_its_packet_id(broker: Mosquitto) -> None:
    first = MqttClient(broker.url, "gw", "a", session_expiry_s=100, auto_acknowledge=False)
    async with first, MqttClient(broker.url, "device") as device:
        for number in range(3):
            await device.publish("a", b"%d" % number)
        taken = [await first.message() for _ in range(3)]
        first.acknowledge(taken[0])
        # A second round trip behind the acknowledgement: the broker has seen it when this one is answered.
        await first.publish("elsewhere")
        await first.die()
        async with MqttClient(broker.url, "gw", "a", session_expiry_s=100) as again:
            repeated = [await again.message() for _ in range(2)]
    assert again.ups == [True]
    assert [message.payload for message in repeated] == [b"1", b"2"]
    assert [message.delivery_id for message in repeated] == [message.delivery_id for message in taken[1:]]
    assert all(message.duplicate for message in repeated)


async def test_acknowledged_messages_do_not_come_again(broker: Mosquitto) -> None:
    first = MqttClient(broker.url, "gw", "a", session_expiry_s=100)
    async with first, MqttClient(broker.url, "device") as device:
        await device.publish("a", b"acknowledged")
        await first.message()
        await first.stop()
        await device.publish("a", b"missed")
        async with MqttClient(broker.url, "gw", "a", session_expiry_s=100) as again:
            assert (await again.message()).payload == b"missed"
    assert len(again.messages) == 1


async def test_more_messages_than_our_receive_maximum_flow_as_they_are_acknowledged(tmp_path: Path) -> None:
    limits = ["max_inflight_messages 0", "max_queued_messages 0"]
    async with (
        Mosquitto(tmp_path, config=limits) as broker,
        MqttClient(broker.url, "device") as device,
        MqttClient(broker.url, "gw", "a", auto_acknowledge=False) as gateway,
    ):
        assert device.link is not None
        device.link.publish([Publication(number, "a", b"%d" % number) for number in range(600)])
        await gateway.until(lambda: len(gateway.messages) == 256, "256 messages")
        await device.until(lambda: len(device.acks) == 600, "600 acknowledgements")
        await gateway.publish("elsewhere")
        assert len(gateway.messages) == 256
        gateway.auto_acknowledge = True
        gateway.acknowledge(*gateway.messages)
        await gateway.until(lambda: len(gateway.messages) == 600, "600 messages")
    assert [int(message.payload) for message in gateway.messages] == list(range(600))
    assert gateway.downs == []


async def test_a_publish_that_the_acl_forbids_is_refused_and_the_connection_lives(tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic write allowed/#\n", "utf-8")
    async with (
        Mosquitto(tmp_path, config=[f"acl_file {acl}"]) as broker,
        MqttClient(broker.url, "gw") as gateway,
    ):
        assert code_of(await gateway.publish("forbidden")) == 0x87
        assert code_of(await gateway.publish("allowed/x")) < 0x80
    assert gateway.downs == []


async def test_a_wrong_password_is_denied_and_a_new_one_in_the_file_lets_us_in(tmp_path: Path) -> None:
    users, password = tmp_path / "users", tmp_path / "password"
    await asyncio.to_thread(subprocess.run, ["mosquitto_passwd", "-b", "-c", str(users), "gw", "right"], check=True)
    password.write_text("wrong\n", "utf-8")
    async with Mosquitto(tmp_path, listener=[f"password_file {users}", "allow_anonymous false"]) as broker:
        gateway = MqttClient(broker.url, "gw", username="gw", password_file=FilePath(password))
        gateway.start()
        try:
            assert isinstance(await gateway.wait_down(1), Denied)
            assert isinstance(await gateway.wait_down(2), Denied)
            password.unlink()
            await gateway.until(lambda: "cannot be read" in str(gateway.downs[-1]), "the missing file to be told")
            password.write_text("right\n", "utf-8")
            await gateway.wait_up()
        finally:
            await gateway.stop()


async def test_a_broker_that_comes_later_is_found(tmp_path: Path, free_port: int) -> None:
    broker = Mosquitto(tmp_path, port=free_port)
    gateway = MqttClient(broker.url, "gw")
    gateway.start()
    try:
        first = await gateway.wait_down()
        assert isinstance(first, Unavailable)
        assert str(first) == f"{broker.url}: the connection failed (Connection refused)"
        async with broker:
            await gateway.wait_up()
    finally:
        await gateway.stop()


async def test_the_addresses_are_tried_in_turn(broker: Mosquitto, free_port: int) -> None:
    dead = f"mqtt://127.0.0.1:{free_port}"
    async with MqttClient("", "gw", urls=(dead, broker.url)) as gateway:
        assert [str(down).split(": ")[0] for down in gateway.downs] == [dead]


async def test_a_stream_survives_restarts_of_the_broker(broker: Mosquitto) -> None:
    total = 600
    subscriber = MqttClient(broker.url, "subscriber", "stream", session_expiry_s=100)
    async with subscriber, MqttClient(broker.url, "publisher", session_expiry_s=100) as publisher:
        async with asyncio.TaskGroup() as group:
            group.create_task(publisher.publish_all("stream", total))
            for part in (1, 2):
                await publisher.until(lambda: len(publisher.acks) >= part * total // 3, "a third")  # noqa: B023  awaited here
                await broker.restart()
        await subscriber.until(lambda: len({*subscriber.messages}) >= total, "everything")
    assert {int(message.payload) for message in subscriber.messages} == set(range(total))
    assert all(subscriber.ups[1:]), "the session outlives the broker's restart"
    assert len(publisher.ups) >= 3


async def test_a_client_that_dies_leaves_its_will_and_one_that_stops_does_not(broker: Mosquitto) -> None:
    async with MqttClient(broker.url, "watcher", "state/+") as watcher:
        polite = MqttClient(broker.url, "polite", will=Will("state/polite", b"offline", retain=False))
        async with polite:
            pass
        brutal = MqttClient(broker.url, "brutal", will=Will("state/brutal", b"offline", retain=False))
        async with brutal:
            await brutal.die()
            message = await watcher.message()
    assert [(message.topic, message.payload)] == [("state/brutal", b"offline")]
    assert len(watcher.messages) == 1


async def test_a_will_that_is_made_anew_for_each_connection_is_the_last_ones(broker: Mosquitto) -> None:
    made = itertools.count(1)
    brutal = MqttClient(
        broker.url, "brutal", will=lambda: Will("state/brutal", b"connection %d" % next(made), retain=False)
    )
    async with brutal:
        await broker.restart()
        await brutal.wait_up(2)
        async with MqttClient(broker.url, "watcher", "state/+") as watcher:
            await brutal.die()
            message = await watcher.message()
    assert message.payload == b"connection %d" % (next(made) - 1)
    assert message.payload != b"connection 1"


async def test_a_second_client_with_the_same_id_is_named_as_a_possible_reason(broker: Mosquitto) -> None:
    async with MqttClient(broker.url, "same") as first, MqttClient(broker.url, "same"):
        assert "another client uses the id same" in str(await first.wait_down())


async def test_a_broker_that_says_nothing_is_given_up_after_connect_timeout(free_port: int) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with Listener(say_nothing, free_port):
        client = MqttClient(f"mqtt://127.0.0.1:{free_port}", "gw", connect_timeout=Duration(0.5))
        client.start()
        try:
            assert str(await client.wait_down()).endswith("no connection within 0.5 s (connect_timeout)")
        finally:
            await client.stop()


async def test_a_long_queue_comes_whole_and_in_order_although_mosquitto_exceeds_our_receive_maximum(
    tmp_path: Path,
) -> None:
    total = 3000
    limits = ["max_inflight_messages 0", "max_queued_messages 0"]
    async with Mosquitto(tmp_path, config=limits) as broker, MqttClient(broker.url, "device") as device:
        async with MqttClient(broker.url, "gw", "a", session_expiry_s=100):
            pass
        assert device.link is not None
        device.link.publish([Publication(number, "a", b"%d" % number) for number in range(total)])
        await device.until(lambda: len(device.acks) == total, "acknowledgements")
        async with MqttClient(broker.url, "gw", "a", session_expiry_s=100) as gateway:
            await gateway.until(lambda: len(gateway.messages) == total, "everything")
    assert [int(message.payload) for message in gateway.messages] == list(range(total))
    assert gateway.downs == []
