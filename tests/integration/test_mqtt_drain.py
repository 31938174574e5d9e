from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import mqtt5
import pytest

from edgeagent.links import drain
from edgeagent.links.drain import UNSUBACK_TIMEOUT_S, SessionDrain
from edgeagent.mqtt.reason_codes import NO_MATCHING_SUBSCRIBERS, SUCCESS
from edgeagent.ports.link import Publication, Will
from tests.fakes.link import code_of
from tests.fakes.listener import Listener
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.mqtt_peer import message, parse
from tests.fakes.turned_clock import TurnedLoop
from tests.waiting import DEADLINE_S, until

SHARED = "$share/dispatchers/trigger"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker on a busy machine may answer later than the product waits for it."""
    monkeypatch.setattr(drain, "UNSUBACK_TIMEOUT_S", DEADLINE_S)


class Member(MqttClient):
    """A member of a share group, with a session that outlives its connections and a way to leave."""

    def __init__(self, url: str, client_id: str, *, will: Will | None = None) -> None:
        self.drain = SessionDrain()
        super().__init__(url, client_id, SHARED, session_expiry_s=1000, will=will, drain=self.drain)

    def take(self) -> None:
        """Acknowledge what has come, and from now on what comes."""
        self.auto_acknowledge = True
        self.acknowledge(*self.messages)


def publish(client: MqttClient, numbers: range) -> None:
    assert client.link is not None
    client.link.publish([Publication(number, "trigger", b"%d" % number) for number in numbers])


async def ups_of_next(url: str, client_id: str) -> list[bool]:
    """Whether the broker knows the session: `session_present` of a connection that resumes it."""
    async with MqttClient(url, client_id, session_expiry_s=1000) as again:
        return again.ups


async def test_every_message_reaches_somebody_when_a_member_leaves_while_they_flow(tmp_path: Path) -> None:
    limits = ["max_inflight_messages 0", "max_queued_messages 0"]
    async with Mosquitto(tmp_path, config=limits) as broker, MqttClient(broker.url, "gw") as gateway:
        async with Member(broker.url, "staying") as staying, Member(broker.url, "leaving") as leaving:
            # Its part is more than the broker sends without an acknowledgement: the rest waits in its session.
            leaving.auto_acknowledge = False
            publish(gateway, range(1200))
            await leaving.until(lambda: len(leaving.messages) >= 256, "as much as may be in flight")
            await gateway.until(lambda: len(gateway.acks) == 1200, "the first acknowledgements")
            left = asyncio.create_task(leaving.drain.unsubscribe(DEADLINE_S))
            publish(gateway, range(1200, 1800))
            leaving.take()
            publish(gateway, range(1800, 2400))
            assert await left
            publish(gateway, range(2400, 3000))
            await gateway.until(lambda: len(gateway.acks) == 3000, "all acknowledgements")
            await leaving.stop()
            await staying.until(lambda: len(staying.messages) + len(leaving.messages) == 3000, "everything")
        taken = [int(taken.payload) for taken in staying.messages + leaving.messages]
        assert sorted(taken) == list(range(3000))
        assert {code_of(ack) for ack in gateway.acks} == {SUCCESS}
        assert len(leaving.messages) >= 600
        assert set(range(2400, 3000)) <= {int(taken.payload) for taken in staying.messages}
        assert await ups_of_next(broker.url, "leaving") == [False]
        assert await ups_of_next(broker.url, "staying") == [True]


async def test_when_the_last_member_has_left_the_publisher_is_told_that_nobody_hears_it(broker: Mosquitto) -> None:
    async with MqttClient(broker.url, "gw") as gateway:
        async with Member(broker.url, "alone") as alone:
            assert code_of(await gateway.publish("trigger")) == SUCCESS
            assert await alone.drain.unsubscribe(DEADLINE_S)
            assert code_of(await gateway.publish("trigger")) == NO_MATCHING_SUBSCRIBERS
            assert code_of(await alone.publish("elsewhere")) == NO_MATCHING_SUBSCRIBERS
        assert code_of(await gateway.publish("trigger")) == NO_MATCHING_SUBSCRIBERS
    assert await ups_of_next(broker.url, "alone") == [False]


async def test_what_a_member_does_not_acknowledge_in_time_waits_for_its_return(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = TurnedLoop(monkeypatch)
    async with MqttClient(broker.url, "gw") as gateway:
        async with Member(broker.url, "slow") as slow:
            slow.auto_acknowledge = False
            await gateway.publish("trigger", b"not answered yet")
            await slow.message()
            leaving = asyncio.create_task(slow.drain.unsubscribe(timeout_s=20))
            link: Any = slow.link
            await until(link.unsubscribed.done)
            time.turn(21)
            assert not await leaving
            assert code_of(await gateway.publish("trigger")) == NO_MATCHING_SUBSCRIBERS
        async with Member(broker.url, "slow") as again:
            assert (await again.message()).payload == b"not answered yet"
        assert again.ups == [True]
    assert reasons(caplog) == ["some of its messages are not acknowledged yet"]


async def test_leaving_does_not_publish_the_will(broker: Mosquitto) -> None:
    async with MqttClient(broker.url, "watcher", "state/+") as watcher:
        async with Member(broker.url, "polite", will=Will("state/polite", b"offline", retain=False)) as polite:
            assert await polite.drain.unsubscribe(DEADLINE_S)
        assert await ups_of_next(broker.url, "polite") == [False]
        async with MqttClient(broker.url, "brutal", will=Will("state/brutal", b"offline", retain=False)) as brutal:
            await brutal.die()
            await watcher.message()
    assert [heard.topic for heard in watcher.messages] == ["state/brutal"]


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Why a session stayed, as the log says it."""
    seen = [vars(record) for record in caplog.records]
    return [entry["reason"] for entry in seen if entry.get("event") == "mqtt_session_stays"]


class ScriptedBroker:
    """A broker that answers what `answers` has for a kind of packet, and keeps what it heard, in order.

    The answer `None` closes the connection.
    """

    def __init__(self, port: int, answers: dict[type, Callable[[Any], Any]]) -> None:
        self.url = f"mqtt://127.0.0.1:{port}"
        self.heard: list[Any] = []
        self.open = 0
        self._answers = {
            mqtt5.ConnectPacket: lambda _: mqtt5.ConnAckPacket(),
            mqtt5.SubscribePacket: lambda packet: mqtt5.SubAckPacket(packet.packet_id, [mqtt5.SubAckReasonCode(1)]),
            mqtt5.UnsubscribePacket: unsuback,
            **answers,
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.open += 1
        try:
            await self._converse(reader, writer)
        finally:
            self.open -= 1

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing() and (data := await reader.read(1 << 16)):
            for packet in parse(data):
                self.heard.append(packet)
                if type(packet) not in self._answers:
                    continue
                answer = self._answers[type(packet)](packet)
                if answer is None:
                    writer.close()
                else:
                    writer.write(answer.write() if not isinstance(answer, bytes) else answer)
        writer.close()

    def kinds(self) -> list[str]:
        """What it heard, by the kind of packet."""
        return [type(packet).__name__.removesuffix("Packet") for packet in self.heard]


def unsuback(packet: mqtt5.UnsubscribePacket) -> mqtt5.UnsubAckPacket:
    return mqtt5.UnsubAckPacket(packet.packet_id, [mqtt5.UnsubAckReasonCode.SUCCESS])


@contextlib.asynccontextmanager
async def scripted(port: int, answers: dict[type, Callable[[Any], Any]]) -> AsyncIterator[ScriptedBroker]:
    """At the end, each connection has been read to its end."""
    broker = ScriptedBroker(port, answers)
    async with Listener(broker.serve, port):
        yield broker
        await until(lambda: not broker.open)


async def test_unsubscribe_goes_before_the_last_messages_and_disconnect_is_the_last(free_port: int) -> None:
    late = [message(9, "trigger").write()]

    def with_a_message(packet: mqtt5.UnsubscribePacket) -> bytes:
        before = late.pop() if late else b""
        return before + unsuback(packet).write()

    async with (
        scripted(free_port, {mqtt5.UnsubscribePacket: with_a_message}) as broker,
        Member(broker.url, "leaving") as leaving,
    ):
        assert await leaving.drain.unsubscribe(DEADLINE_S)
    assert broker.kinds() == ["Connect", "Subscribe", "Unsubscribe", "PubAck", "Unsubscribe", "Disconnect"]
    assert broker.heard[2].patterns == [SHARED]
    assert broker.heard[-1].session_expiry_interval == 0
    assert broker.heard[-1].reason_code == mqtt5.DisconnectReasonCode.NORMAL_DISCONNECTION
    assert leaving.downs == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "the broker has not answered UNSUBSCRIBE"),
        (
            mqtt5.UnsubAckPacket(2, [mqtt5.UnsubAckReasonCode.NOT_AUTHORIZED]).write(),
            "the broker refuses UNSUBSCRIBE",
        ),
    ],
)
async def test_a_broker_that_does_not_confirm_is_not_waited_for_and_keeps_the_session(
    free_port: int, answer: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        scripted(free_port, {mqtt5.UnsubscribePacket: lambda _: answer}) as broker,
        Member(broker.url, "leaving") as leaving,
        asyncio.timeout(DEADLINE_S),
    ):
        assert not await leaving.drain.unsubscribe(timeout_s=0.1 if not answer else 60)
    assert broker.kinds() == ["Connect", "Subscribe", "Unsubscribe", "Disconnect"]
    assert broker.heard[-1].session_expiry_interval is None
    assert reasons(caplog) == [reason]


async def test_an_answer_that_never_comes_is_waited_for_no_longer_than_two_seconds(
    free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "UNSUBACK_TIMEOUT_S", UNSUBACK_TIMEOUT_S)
    async with (
        scripted(free_port, {mqtt5.UnsubscribePacket: lambda _: b""}) as broker,
        Member(broker.url, "leaving") as leaving,
        asyncio.timeout(DEADLINE_S),
    ):
        assert not await leaving.drain.unsubscribe(timeout_s=2 * DEADLINE_S)


async def test_when_the_connection_ends_meanwhile_it_is_not_waited_for_and_none_subscribes_again(
    free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        scripted(free_port, {mqtt5.UnsubscribePacket: lambda _: None}) as broker,
        Member(broker.url, "leaving") as leaving,
        asyncio.timeout(DEADLINE_S),
    ):
        assert not await leaving.drain.unsubscribe(timeout_s=60)
        await leaving.wait_up(2)
    assert broker.kinds() == ["Connect", "Subscribe", "Unsubscribe", "Connect", "Disconnect"]
    assert broker.heard[-1].session_expiry_interval is None
    assert ["the broker closed the connection" in reason for reason in reasons(caplog)] == [True]


async def test_without_a_connection_leaving_ends_at_once(free_port: int, caplog: pytest.LogCaptureFixture) -> None:
    leaving = Member(f"mqtt://127.0.0.1:{free_port}", "leaving")
    leaving.start()
    await leaving.wait_down()
    async with asyncio.timeout(DEADLINE_S):
        assert not await leaving.drain.unsubscribe(timeout_s=60)
    await leaving.stop()
    assert len(reasons(caplog)) == 1
