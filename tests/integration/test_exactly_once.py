"""QoS 2 against a real Mosquitto: what is delivered, counted by a subscriber."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgeagent.ports.link import Ack, Link, Publication
from tests.fakes.link import code_of
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.tcp_proxy import TcpProxy

MESSAGES = 400
AT_ONCE = 20


class Publisher(MqttClient):
    """Publishes numbers at QoS 2 as an owner does.

    What has no answer when a connection begins is published again, except what the link goes on with.

    Attributes:
        carried: with how many the link went on, on each connection.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, "gw", session_expiry_s=100, exactly_once=True)
        self.carried: list[int] = []
        self._waiting = list(range(MESSAGES))
        self._out: list[int] = []

    def on_up(self, link: Link, *, session_present: bool) -> None:
        """See `LinkOwner`."""
        super().on_up(link, session_present=session_present)
        self.carried.append(len(link.carried))
        self._waiting = [number for number in self._out if number not in link.carried] + self._waiting
        self._out = [number for number in self._out if number in link.carried]
        self._send()

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """See `LinkOwner`."""
        super().on_acks(acks)
        answered = {ack.token for ack in acks}
        self._out = [number for number in self._out if number not in answered]
        self._send()

    def _send(self) -> None:
        assert self.link is not None
        count = min(self.link.room, AT_ONCE - len(self._out))
        now, self._waiting = self._waiting[:count], self._waiting[count:]
        self._out += now
        self.link.publish([Publication(number, "t", b"%d" % number, qos=2) for number in now])


async def until_all(publisher: MqttClient, subscriber: MqttClient) -> None:
    await publisher.until(lambda: len(publisher.acks) >= MESSAGES, "everything to be acknowledged")
    await subscriber.until(lambda: len(numbers(subscriber)) == MESSAGES, "everything to arrive")
    assert {code_of(ack) for ack in publisher.acks} == {0}


def numbers(subscriber: MqttClient) -> Counter[int]:
    """How often each came, without what the broker repeats to the subscriber itself."""
    counts: Counter[int] = Counter()
    for message in subscriber.messages:
        counts[int(message.payload)] += not message.duplicate or not counts[int(message.payload)]
    return counts


async def test_at_qos_2_cut_connections_deliver_everything_once(broker: Mosquitto) -> None:
    async with (
        MqttClient(broker.url, "subscriber", "t", session_expiry_s=100) as subscriber,
        TcpProxy(broker.port) as proxy,
        Publisher(proxy.url) as publisher,
    ):
        for part in range(1, 10):
            await publisher.until(lambda: len(publisher.acks) >= part * MESSAGES // 10, "a tenth")  # noqa: B023  awaited here
            connections = len(publisher.ups)
            await proxy.cut()
            await proxy.heal()
            await publisher.wait_up(connections + 1)  # or one cut may follow the other before it is noticed
        await until_all(publisher, subscriber)
    assert set(numbers(subscriber).values()) == {1}
    assert sum(publisher.carried) > 0, "no handshake was cut"
    assert publisher.ups == [False, *[True] * (len(publisher.ups) - 1)]


async def test_at_qos_2_restarts_of_the_broker_deliver_everything_once(broker: Mosquitto) -> None:
    subscriber = MqttClient(broker.url, "subscriber", "t", session_expiry_s=100)
    async with subscriber, Publisher(broker.url) as publisher:
        for part in (1, 2):
            await publisher.until(lambda: len(publisher.acks) >= part * MESSAGES // 3, "a third")  # noqa: B023  awaited here
            await broker.restart()
        await until_all(publisher, subscriber)
    assert set(numbers(subscriber).values()) == {1}
    assert all(subscriber.ups[1:]), "the session outlives the broker's restart"


async def test_at_qos_2_a_broker_that_loses_its_sessions_loses_no_message(broker: Mosquitto) -> None:
    async with MqttClient(broker.url, "subscriber", "t"), Publisher(broker.url) as publisher:
        await publisher.until(lambda: len(publisher.acks) >= MESSAGES // 3, "a third")
        await broker.kill()
        (broker.directory / "mosquitto.db").unlink(missing_ok=True)
        await broker.start()
        await publisher.until(lambda: len(publisher.acks) >= MESSAGES, "everything to be acknowledged")
    assert publisher.ups == [False, False]
    assert publisher.carried == [0, 0]
    assert len({ack.token for ack in publisher.acks}) == MESSAGES
