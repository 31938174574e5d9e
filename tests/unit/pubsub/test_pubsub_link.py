"""A link against a server of Pub/Sub's API: batches, outcomes, faults."""

from __future__ import annotations

import base64

import pytest

from edgeagent.config.tables import Broker
from edgeagent.errors import Denied, Unavailable
from edgeagent.ports.link import TAKEN, UNHEARD, Publication, PublishRefused, Subscription
from edgeagent.pubsub import publishing
from edgeagent.pubsub.link import MAX_PAYLOAD_BYTES
from edgeagent.wire import topics
from tests.fakes.pubsub import PROJECT, Asked, FakePubSub, Fault
from tests.fakes.pubsub_link import RESPONSE, URL, Owner, connected, faults, publish, trigger
from tests.waiting import until

pytestmark = pytest.mark.slow  # servers or processes of its own


async def test_publications_that_come_together_leave_in_one_request_and_are_taken(server: FakePubSub) -> None:
    async with connected(Owner()) as owner:
        publish(owner, *(trigger(n, b"%d" % n) for n in range(100)))
        await until(lambda: len(owner.acks) == 100)
    assert set(owner.outcomes().values()) == {TAKEN}
    sent = [len(asked.body["messages"]) for asked in server.asked if asked.verb == "publish"]
    assert sent == [100]
    data = [base64.b64decode(message["data"]) for message in server.published[f"projects/{PROJECT}/topics/triggers"]]
    assert data == [b"%d" % n for n in range(100)]


async def test_ordering_keys_leave_in_requests_of_their_own(server: FakePubSub) -> None:
    async with connected(Owner()) as owner:
        publish(owner, trigger(1), trigger(2, key="a"), trigger(3, key="b"), trigger(4, key="a"))
        await until(lambda: len(owner.acks) == 4)
    assert set(owner.outcomes().values()) == {TAKEN}
    assert all(
        message.get("orderingKey") in {None, "a", "b"} for message in server.published[next(iter(server.published))]
    )


async def test_one_bad_message_is_a_dead_letter_and_takes_no_other_with_it(server: FakePubSub) -> None:
    bad = base64.b64encode(b"bad").decode()

    def judge(asked: Asked) -> None:
        if asked.verb == "publish" and any(message["data"] == bad for message in asked.body["messages"]):
            raise Fault(400, "Invalid data")

    server.judge = judge
    async with connected(Owner()) as owner:
        publish(owner, *(trigger(n, b"bad" if n == 37 else b"good") for n in range(100)))
        await until(lambda: len(owner.acks) == 100)
    outcome = owner.outcomes().pop(37)
    assert isinstance(outcome, PublishRefused)
    assert outcome.permanent
    assert (outcome.code, "Invalid data" in outcome.reason) == (400, True)
    assert {found for token, found in owner.outcomes().items() if token != 37} == {TAKEN}
    assert len(server.published[f"projects/{PROJECT}/topics/triggers"]) == 99


async def test_one_bad_message_of_an_ordering_key_lets_those_behind_it_pass_in_their_order(server: FakePubSub) -> None:
    bad = base64.b64encode(b"bad").decode()

    def judge(asked: Asked) -> None:
        if asked.verb == "publish" and any(message["data"] == bad for message in asked.body["messages"]):
            raise Fault(400, "Invalid data")

    server.judge = judge
    async with connected(Owner()) as owner:
        publish(owner, *(trigger(n, b"bad" if n == 3 else b"%d" % n, key="boiler-1") for n in range(8)))
        publish(owner, *(trigger(100 + n, b"other", key="boiler-2") for n in range(8)))
        await until(lambda: len(owner.acks) == 16)
    outcomes = owner.outcomes()
    refused = outcomes.pop(3)
    assert isinstance(refused, PublishRefused)
    assert refused.permanent
    assert set(outcomes.values()) == {TAKEN}
    published = server.published[f"projects/{PROJECT}/topics/triggers"]
    ordered = [base64.b64decode(each["data"]) for each in published if each["orderingKey"] == "boiler-1"]
    assert ordered == [b"%d" % n for n in range(8) if n != 3]


async def test_a_topic_that_does_not_exist_is_nobody_listening_and_is_told_once(
    server: FakePubSub, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(Owner()) as owner:
        server.drop_topic("triggers")
        publish(owner, trigger(1))
        await until(lambda: len(owner.acks) == 1)
        publish(owner, trigger(2))
        await until(lambda: len(owner.acks) == 2)
        assert owner.outcomes() == {1: UNHEARD, 2: UNHEARD}
        server.topic("triggers")
        publish(owner, trigger(3))
        await until(lambda: owner.outcomes().get(3) is TAKEN)
    assert [record.message for record in caplog.records if "does not exist" in record.message] != []
    assert len([record for record in caplog.records if "does not exist" in record.message]) == 1
    assert owner.downs == []


async def test_a_missing_permission_ends_the_link_with_its_name(server: FakePubSub) -> None:
    server.judge = faults("publish", Fault(403, "User not authorized to perform this action."))
    async with connected(Owner()) as owner:
        publish(owner, trigger(1))
        await until(lambda: owner.downs)
        assert isinstance(owner.downs[0], Denied)
        assert "pubsub.topics.publish" in str(owner.downs[0])
        assert owner.acks == []
        await until(lambda: owner.ups == 2)
        publish(owner, trigger(1))
        await until(lambda: owner.outcomes() == {1: TAKEN})


async def test_a_busy_service_is_asked_again_at_once_and_then_the_trigger_waits(server: FakePubSub) -> None:
    server.judge = faults("publish", Fault(503, "busy"), Fault(429, "quota"))
    async with connected(Owner()) as owner:
        publish(owner, trigger(1))
        await until(lambda: owner.acks)
        assert owner.outcomes() == {1: TAKEN}
        server.judge = faults("publish", *[Fault(429, "quota exceeded")] * publishing.TRIES)
        publish(owner, trigger(2))
        await until(lambda: len(owner.acks) == 2)
    outcome = owner.outcomes()[2]
    assert isinstance(outcome, PublishRefused)
    assert not outcome.permanent
    assert "quota exceeded" in str(outcome)
    assert owner.downs == []


async def test_a_token_that_is_refused_is_made_anew_once(server: FakePubSub, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[int] = []

    class Source:
        async def authorization(self) -> bytes:
            return b"Bearer token-%d" % len(refused)

        def refused(self) -> None:
            refused.append(1)

        def source(self) -> str:
            return "a test"

    monkeypatch.setattr("edgeagent.pubsub.dialer.choose", lambda *_, **__: Source())

    def judge(asked: Asked) -> None:
        if asked.verb == "publish" and asked.bearer == "Bearer token-0":
            raise Fault(401, "Request had invalid authentication credentials.")

    server.judge = judge
    async with connected(Owner()) as owner:
        publish(owner, trigger(1))
        await until(lambda: owner.acks)
    assert owner.outcomes() == {1: TAKEN}
    assert refused == [1]
    assert owner.downs == []


async def test_credentials_that_are_never_accepted_are_told_and_where_they_come_from(server: FakePubSub) -> None:
    def judge(_: Asked) -> None:
        raise Fault(401, "Request had invalid authentication credentials.")

    server.judge = judge
    async with connected(Owner()) as owner:
        assert isinstance(owner.downs[0], Denied)
        assert "the credentials are not accepted" in str(owner.downs[0])
        assert "PUBSUB_EMULATOR_HOST" in str(owner.downs[0])
        assert owner.ups == 0


async def test_an_answer_that_takes_fewer_messages_is_no_acknowledgement_of_any(
    server: FakePubSub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_publish", lambda *_: {"messageIds": ["1"]})
    async with connected(Owner()) as owner:
        publish(owner, trigger(1), trigger(2))
        await until(lambda: len(owner.acks) == 2)
    assert all(isinstance(found, PublishRefused) and not found.permanent for found in owner.outcomes().values())


async def test_a_portal_in_between_acknowledges_nothing(server: FakePubSub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_publish", lambda *_: ["log in first"])
    async with connected(Owner()) as owner:
        publish(owner, trigger(1))
        await until(lambda: owner.downs)
        assert owner.acks == []
        assert isinstance(owner.downs[0], Unavailable)


async def test_what_no_request_holds_is_refused_without_being_sent(server: FakePubSub) -> None:
    async with connected(Owner()) as owner:
        publish(owner, trigger(1, b"x" * (MAX_PAYLOAD_BYTES + 100_000)), trigger(2, b"x" * MAX_PAYLOAD_BYTES))
        await until(lambda: len(owner.acks) == 2)
    outcome = owner.outcomes()[1]
    assert isinstance(outcome, PublishRefused)
    assert outcome.permanent
    assert owner.outcomes()[2] is TAKEN
    assert server.verbs().count("publish") == 1


async def test_a_server_that_is_not_there_is_down_and_nothing_is_acknowledged(
    server: FakePubSub, monkeypatch: pytest.MonkeyPatch
) -> None:
    del server
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    async with connected(Owner()) as owner:
        assert isinstance(owner.downs[0], Unavailable)
        assert "refused" in str(owner.downs[0])


async def test_what_monitors_would_read_has_no_hearers_and_is_not_sent(server: FakePubSub) -> None:
    async with connected(Owner()) as owner:
        publish(
            owner, Publication(1, topics.state_topic("gw-1"), b"{}"), Publication(2, "argo/workflows/response", b"", 0)
        )
        await until(lambda: owner.acks)
    assert owner.outcomes() == {1: UNHEARD}
    assert "publish" not in server.verbs()


async def test_a_dispatcher_hears_itself_alone_and_answers_on_the_topic_of_answers(server: FakePubSub) -> None:
    server.subscription("dispatch", "triggers")
    broker = Broker(url=URL, subscription="dispatch", answer_topic="answers")
    wanted = (
        *map(Subscription, topics.trigger_filters("edgeagent")),
        Subscription(topics.presence_filter("edgeagent"), qos=0, retained=True),
        Subscription(topics.STATUS_QUERY, qos=0),
    )
    presence = topics.presence_topic("edgeagent", "host")
    async with connected(Owner(), broker, *wanted) as owner:
        publish(owner, Publication(1, presence, b"here", retain=True), Publication(2, RESPONSE, b"{}"))
        await until(lambda: len(owner.acks) == 2)
        assert [(message.topic, message.receipt) for message in owner.messages] == [(presence, None)]
        server.put("triggers", b"q", topic=topics.STATUS_QUERY, agent="gw-1")
        server.put("triggers", b"t", agent="gw-1")
        await until(lambda: len(owner.messages) == 3)
    by_payload = {message.payload: message for message in owner.messages}
    assert by_payload[b"q"].receipt is None
    assert by_payload[b"t"].topic == topics.TRIGGER
    assert by_payload[b"t"].receipt is not None
    (answer,) = server.published[f"projects/{PROJECT}/topics/answers"]
    assert answer["attributes"]["agent"] == "gw-1"
    assert list(server.published) == [f"projects/{PROJECT}/topics/answers", f"projects/{PROJECT}/topics/triggers"]
