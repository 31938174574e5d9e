"""What a link pulls: acknowledgements, deadlines, messages of others, faults."""

from __future__ import annotations

import pytest

from edgeagent.config.tables import Broker, Uplink
from edgeagent.errors import Denied
from edgeagent.ports.link import Publication, Subscription
from edgeagent.pubsub import held, pulling
from edgeagent.wire import topics
from tests.fakes.pubsub import Asked, FakePubSub, Fault, Garbage
from tests.fakes.pubsub_link import RESPONSE, URL, Owner, connected, faults, publish
from tests.waiting import until

pytestmark = pytest.mark.slow  # servers or processes of its own


async def test_answers_for_this_gateway_come_and_are_gone_after_they_are_acknowledged(server: FakePubSub) -> None:
    async with connected(Owner(acknowledges=False)) as owner:
        server.put("answers", b"{}", topic=RESPONSE, agent="gw-1", correlation_id="9f2c")
        server.put("answers", b"{}", topic=topics.response_topic("gw-2"), agent="gw-2")
        await until(lambda: owner.messages)
        assert [(message.topic, message.correlation_data) for message in owner.messages] == [(RESPONSE, b"9f2c")]
        assert server.unacknowledged("edgeagent-gw-1") == 1
        assert owner.link is not None
        owner.link.acknowledge(owner.messages)
        await until(lambda: server.unacknowledged("edgeagent-gw-1") == 0)
    assert len(owner.messages) == 1


async def test_what_is_held_longer_than_the_deadline_is_not_delivered_again(
    server: FakePubSub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "FIRST_EXTENSION_S", 0.1)
    monkeypatch.setattr(held, "NEXT_EXTENSION_S", 0.2)
    server.subscription("edgeagent-gw-1", "answers", agent="gw-1", deadline_s=5.0)
    async with connected(Owner(acknowledges=False)) as owner:
        server.put("answers", b"{}", topic=RESPONSE, agent="gw-1")
        await until(lambda: server.verbs().count("modifyAckDeadline") >= 3)
        extended = [asked.body["ackDeadlineSeconds"] for asked in server.asked if asked.verb == "modifyAckDeadline"]
        assert set(extended) == {held.EXTENDED_S}
        assert len(owner.messages) == 1


async def test_at_the_end_what_is_held_is_given_back_and_what_is_acknowledged_is_sent(server: FakePubSub) -> None:
    async with connected(Owner(acknowledges=False)) as owner:
        server.put("answers", b"1", topic=RESPONSE, agent="gw-1")
        server.put("answers", b"2", topic=RESPONSE, agent="gw-1")
        await until(lambda: len(owner.messages) == 2)
        assert owner.link is not None
        owner.link.acknowledge(owner.messages[:1])
    async with connected(Owner()) as second:
        await until(lambda: second.messages)
        assert [message.payload for message in second.messages] == [b"2"]


async def test_a_message_after_its_end_is_dropped_and_one_with_a_strange_end_is_not(server: FakePubSub) -> None:
    async with connected(Owner()) as owner:
        server.put("answers", b"old", topic=RESPONSE, agent="gw-1", expires_at="2020-01-01T00:00:00Z")
        server.put("answers", b"odd", topic=RESPONSE, agent="gw-1", expires_at="tomorrow")
        await until(lambda: server.unacknowledged("edgeagent-gw-1") == 0)
        await until(lambda: owner.messages)
    assert [message.payload for message in owner.messages] == [b"odd"]


@pytest.mark.parametrize("expires_at", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59"])
async def test_a_message_that_ends_with_the_calendar_is_taken(server: FakePubSub, expires_at: str) -> None:
    async with connected(Owner()) as owner:
        server.put("answers", b"1", topic=RESPONSE, agent="gw-1", expires_at=expires_at)
        server.put("answers", b"2", topic=RESPONSE, agent="gw-1", expires_at="0001-01-01T00:00:00+23:59")
        await until(lambda: server.unacknowledged("edgeagent-gw-1") == 0)
        await until(lambda: owner.messages)
        assert [message.payload for message in owner.messages] == [b"1"]
        assert not owner.downs


async def test_expiry_goes_by_the_services_clock(server: FakePubSub) -> None:
    server.ahead_s = -30 * 365 * 86400.0
    async with connected(Owner()) as owner:
        server.put("answers", b"{}", topic=RESPONSE, agent="gw-1", expires_at="2020-01-01T00:00:00Z")
        await until(lambda: owner.messages)


async def test_messages_of_others_are_told_once_and_do_not_block_ours(
    server: FakePubSub, caplog: pytest.LogCaptureFixture
) -> None:
    server.subscription("edgeagent-gw-1", "answers")
    async with connected(Owner()) as owner:
        for number in range(3):
            server.put("answers", b"%d" % number, topic=topics.response_topic("gw-2"), agent="gw-2")
        server.put("answers", b"mine", topic=RESPONSE, agent="gw-1")
        await until(lambda: owner.messages)
        await until(lambda: server.unacknowledged("edgeagent-gw-1") == 0)
    assert [message.payload for message in owner.messages] == [b"mine"]
    assert len([record for record in caplog.records if "not for us" in record.message]) == 1


async def test_a_subscription_that_is_missing_is_told_before_anything_is_published(server: FakePubSub) -> None:
    async with connected(Owner(), Uplink(url=URL, subscription="another-{agent}")) as owner:
        assert owner.ups == 0
        assert isinstance(owner.downs[0], Denied)
        assert "subscriptions/another-gw-1 does not exist" in str(owner.downs[0])
    assert "publish" not in server.verbs()


async def test_a_pull_that_fails_for_a_while_does_not_end_the_link(server: FakePubSub) -> None:
    async with connected(Owner()) as owner:
        server.judge = faults("pull", Fault(503, "busy"), Fault(504, "deadline exceeded"))
        server.put("answers", b"{}", topic=RESPONSE, agent="gw-1")
        await until(lambda: owner.messages)
        assert owner.downs == []
        server.judge = faults("pull", *[Fault(503, "down")] * pulling.MAX_LATER)
        await until(lambda: owner.downs)
        await until(lambda: owner.ups == 2)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>log in to the guest network</html>",
        b"",
        b"[]",
        b'{"receivedMessages": 5}',
        b'{"receivedMessages": [{}]}',
        b'{"receivedMessages": [{"ackId": 5, "message": {"data": "e30="}}]}',
        b"[" * 100_000,
    ],
)
async def test_an_answer_to_a_pull_that_is_none_ends_the_link_in_words_and_the_next_one_works(
    server: FakePubSub, body: bytes
) -> None:
    async with connected(Owner()) as owner:
        server.judge = faults("pull", Garbage(body))
        await until(lambda: owner.downs)
        assert "no answer of Pub/Sub to a pull" in str(owner.downs[0])
        server.put("answers", b"{}", topic=RESPONSE, agent="gw-1")
        await until(lambda: owner.messages)
        await until(lambda: server.unacknowledged("edgeagent-gw-1") == 0)


async def test_data_that_is_no_base64_is_not_in_the_way_of_what_comes_behind_it(server: FakePubSub) -> None:
    broken = b'{"receivedMessages": [{"ackId": "a1", "message": {"data": "%%%", "attributes": {"topic": "'
    broken += RESPONSE.encode() + b'", "agent": "gw-1"}, "messageId": "1"}}]}'
    async with connected(Owner()) as owner:
        server.judge = faults("pull", Garbage(broken))
        await until(lambda: owner.messages)
        server.put("answers", b"{}", topic=RESPONSE, agent="gw-1")
        await until(lambda: len(owner.messages) == 2)
        assert owner.messages[1].payload == b"{}"
        assert owner.downs == []


async def test_a_subscription_that_is_deleted_under_us_is_told_and_waited_for(server: FakePubSub) -> None:
    async with connected(Owner()) as owner:
        missing = Fault(404, "Resource not found (resource=edgeagent-gw-1).")
        server.judge = faults("acknowledge", missing)
        server.put("answers", b"{}", topic=RESPONSE, agent="gw-1")
        await until(lambda: owner.downs)
        assert isinstance(owner.downs[0], Denied)
        assert "subscriptions/edgeagent-gw-1 does not exist" in str(owner.downs[0])
        assert "create it as docs/pubsub.md tells" in str(owner.downs[0])
        await until(lambda: owner.ups == 2)
        await until(lambda: server.unacknowledged("edgeagent-gw-1") == 0)


@pytest.mark.parametrize("verb", ["pull", "acknowledge", "modifyAckDeadline"])
async def test_a_token_that_ends_in_mid_stream_is_renewed_and_the_link_goes_on(
    server: FakePubSub, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setattr(held, "FIRST_EXTENSION_S", 0.05)
    renewed: list[int] = []

    class Source:
        async def authorization(self) -> bytes:
            return b"Bearer token-%d" % len(renewed)

        def refused(self) -> None:
            renewed.append(1)

        def source(self) -> str:
            return "a test"

    monkeypatch.setattr("edgeagent.pubsub.dialer.choose", lambda *_, **__: Source())
    async with connected(Owner(acknowledges=verb != "modifyAckDeadline")) as owner:

        def judge(asked: Asked) -> None:
            if asked.verb == verb and asked.bearer == "Bearer token-0":
                raise Fault(401, "Request had invalid authentication credentials.")

        server.judge = judge
        server.put("answers", b"{}", topic=RESPONSE, agent="gw-1")
        await until(lambda: owner.messages)
        await until(lambda: any(asked.verb == verb and asked.bearer == "Bearer token-1" for asked in server.asked))
        assert owner.downs == []
    assert renewed == [1]


async def test_no_more_than_a_handful_is_held_however_much_waits(server: FakePubSub) -> None:
    for _ in range(400):
        server.put("answers", b"{}", topic=RESPONSE, agent="gw-1")
    async with connected(Owner(acknowledges=False)) as owner:
        await until(lambda: len(owner.messages) == 256)
        assert owner.link is not None
        owner.link.acknowledge(owner.messages[:100])
        await until(lambda: len(owner.messages) == 356)


async def test_large_messages_are_pulled_one_by_one_instead_of_filling_the_memory(server: FakePubSub) -> None:
    server.subscription("edgeagent-gw-1", "answers", agent="gw-1", deadline_s=3.0)
    for number in range(3):
        server.put("answers", b"%d" % number * 7_000_000, topic=RESPONSE, agent="gw-1")
    async with connected(Owner()) as owner:
        await until(lambda: {message.payload[:1] for message in owner.messages} == {b"0", b"1", b"2"})
        assert owner.downs == []
    asked = [asked.body["maxMessages"] for asked in server.asked if asked.verb == "pull"]
    assert len([count for count in asked if count > 1]) == 1, "what came together is not asked for together again"


async def test_a_request_about_a_workflow_reaches_a_dispatcher_that_manages(server: FakePubSub) -> None:
    server.subscription("dispatch", "triggers")
    broker = Broker(url=URL, subscription="dispatch", answer_topic="answers")
    wanted = [Subscription(entry) for entry in topics.manage_filters("edgeagent")]
    async with connected(Owner(), broker, *wanted) as dispatcher, connected(Owner()) as agent:
        publish(agent, Publication(1, topics.manage_topic("gw-1"), b"{}", response_topic=RESPONSE))
        await until(lambda: dispatcher.messages)
        (message,) = dispatcher.messages
        assert (message.topic, message.response_topic) == (topics.manage_topic("gw-1"), RESPONSE)
