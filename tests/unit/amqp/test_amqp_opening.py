"""The way from the protocol's header to a connection in use: what is asked, and what a refusal means."""

from __future__ import annotations

import pytest
from pamqp import commands

from edgeagent.amqp.connection import AmqpPhase
from edgeagent.errors import Denied, NameInUse
from edgeagent.ports.link import Subscription
from edgeagent.wire import topics
from tests.fakes.amqp_peer import AGENTS, AmqpPeer, request, start


def names(peer: AmqpPeer) -> list[str]:
    return [method.name for _, method in peer.methods]


def test_an_agent_declares_its_queue_binds_its_keys_and_consumes_it_alone() -> None:
    peer = AmqpPeer()
    peer.open()
    assert peer.first == b"AMQP\x00\x00\x09\x01"
    assert peer.machine.phase is AmqpPhase.IN_USE
    declared = [method for _, method in peer.methods if isinstance(method, commands.Queue.Declare)]
    assert [(queue.queue, queue.passive, queue.durable, queue.exclusive) for queue in declared] == [
        ("edgeagent.agent.gw-1", True, True, False),
        ("edgeagent.agent.gw-1", False, True, False),
    ]
    assert declared[1].arguments == {"x-expires": 600_000}
    bound = [method.routing_key for _, method in peer.methods if isinstance(method, commands.Queue.Bind)]
    assert bound == ["argo.workflows.response.gw-1", "argo.workflows.status.gw-1"]
    (consume,) = [method for _, method in peer.methods if isinstance(method, commands.Basic.Consume)]
    assert consume.exclusive
    assert peer.machine.opened is not None
    assert peer.machine.opened.kept, "the queue was there"
    assert peer.machine.opened.heartbeat_s == 30, "the smaller of ours and the broker's"


def test_a_queue_that_is_not_there_yet_is_a_new_session() -> None:
    peer = AmqpPeer()
    peer.refusals[commands.Queue.Declare] = 404, "NOT_FOUND - no queue"
    peer.open()
    assert peer.machine.opened is not None
    assert not peer.machine.opened.kept
    assert "Channel.CloseOk" in names(peer)


def test_dispatchers_share_one_queue_that_bounds_what_waits_and_loses_nothing_it_gives_up() -> None:
    shared = (Subscription("$share/g/argo/workflows/trigger"), Subscription("$share/g/argo/workflows/trigger/+"))
    live = Subscription("edgeagent/dispatch/g/+", qos=0, retained=True)
    peer = AmqpPeer(request(mark="dispatch g", subscriptions=(*shared, live)))
    peer.open()
    declared = {
        method.queue: method
        for _, method in peer.methods
        if isinstance(method, commands.Queue.Declare) and not method.passive
    }
    assert declared["edgeagent.trigger.g"].arguments == {
        "x-queue-type": "quorum",
        "x-message-ttl": 600_000,
        "x-max-length-bytes": 256 << 20,
        "x-overflow": "reject-publish",
        "x-dead-letter-exchange": "edgeagent.dead",
        "x-dead-letter-strategy": "at-least-once",
    }
    assert declared["edgeagent.dispatch.g.n1"].exclusive
    assert declared["edgeagent.dead"].durable
    consumed = [method for _, method in peer.methods if isinstance(method, commands.Basic.Consume)]
    assert [(each.queue, each.no_ack, each.exclusive) for each in consumed] == [
        ("edgeagent.trigger.g", False, False),
        ("edgeagent.dispatch.g.n1", True, False),
    ]


def kept(*names: str) -> Subscription:
    """A dispatcher's subscription to the cursors of these namespaces."""
    found = tuple(topics.cursor_topic("g", name) for name in names)
    return Subscription(topics.cursor_filter("g"), qos=0, retained=True, kept=found)


def test_what_must_outlive_everybody_has_a_queue_that_is_read_before_anything_else_and_keeps_its_message() -> None:
    peer = AmqpPeer(request(mark="dispatch g", subscriptions=(kept("plant", "yard"),)))
    key = "edgeagent.dispatch.g.cursor.plant"
    peer.kept[key] = b'{"finished":"2026-03-20T12:00:00Z"}'
    peer.open()
    assert peer.machine.phase is AmqpPhase.IN_USE, peer.machine.error
    ((topic, payload, retain),) = [(each.topic, each.payload, each.retain) for each in peer.machine.messages]
    assert (topic, payload, retain) == ("edgeagent/dispatch/g/cursor/plant", peer.kept[key], True)
    declared = [
        (method.queue, method.durable, method.arguments)
        for _, method in peer.methods
        if isinstance(method, commands.Queue.Declare) and "cursor" in method.queue
    ]
    last_only = {"x-queue-type": "classic", "x-max-length": 1}
    assert declared == [(key, True, last_only), ("edgeagent.dispatch.g.cursor.yard", True, last_only)]
    (returned,) = [method for _, method in peer.methods if isinstance(method, commands.Basic.Reject)]
    assert (returned.delivery_tag, returned.requeue) == (1, True)
    assert not len(peer.machine.deliveries)


@pytest.mark.parametrize("method", [commands.Queue.Declare, commands.Queue.Bind, commands.Basic.Get])
def test_what_should_outlive_everybody_and_cannot_is_told_and_no_reason_not_to_work(method: type) -> None:
    peer = AmqpPeer(request(mark="dispatch g", subscriptions=(kept("plant"),)), queues=())
    peer.refusals[method] = 404, "NOT_FOUND - home node of the queue is down"
    peer.open()
    assert peer.machine.phase is AmqpPhase.IN_USE, peer.machine.error
    assert peer.machine.opened is not None
    ((subscription, error),) = peer.machine.opened.refused
    assert subscription.topic_filter == "edgeagent/dispatch/g/cursor/+"
    assert "the queue edgeagent.dispatch.g.cursor.plant: the broker says NOT_FOUND" in str(error)


def test_what_is_no_longer_wanted_is_unbound() -> None:
    peer = AmqpPeer(request(unwanted=("argo/workflows/status/+",)))
    peer.open()
    assert [method.routing_key for _, method in peer.methods if isinstance(method, commands.Queue.Unbind)] == [
        "argo.workflows.status.*"
    ]


def test_a_subscription_that_is_not_required_may_be_refused() -> None:
    peer = AmqpPeer(request(subscriptions=(AGENTS[1],)))
    peer.refusals[commands.Queue.Bind] = 403, "ACCESS_REFUSED - read access to topic"
    peer.open()
    assert peer.machine.phase is AmqpPhase.IN_USE
    assert peer.machine.opened is not None
    ((subscription, error),) = peer.machine.opened.refused
    assert subscription == AGENTS[1]
    assert "rights (docs/brokers.md)" in str(error)


@pytest.mark.parametrize(
    ("method", "code", "text", "words", "kind"),
    [
        (commands.Queue.Bind, 403, "ACCESS_REFUSED", "subscription to argo/workflows/response/gw-1", Denied),
        (commands.Exchange.Declare, 404, "NOT_FOUND", "the exchange amq.topic", Denied),
        (commands.Queue.Declare, 406, "PRECONDITION_FAILED", "it exists with other arguments", Denied),
        (
            commands.Basic.Consume,
            403,
            "ACCESS_REFUSED - in exclusive use",
            "another connection by our name is open",
            NameInUse,
        ),
    ],
)
def test_a_refusal_ends_the_connection_in_words(
    method: type, code: int, text: str, words: str, kind: type[Exception]
) -> None:
    peer = AmqpPeer()
    peer.refusals[method] = code, text
    peer.open()
    assert peer.machine.phase is AmqpPhase.ENDED
    assert isinstance(peer.machine.error, kind)
    assert words in str(peer.machine.error)
    assert text in str(peer.machine.error)


def test_a_wrong_password_is_the_brokers_word_and_what_to_check() -> None:
    peer = AmqpPeer()
    peer.send(0, start())
    peer.send(0, commands.Connection.Close(403, "ACCESS_REFUSED - Login was refused", 0, 0))
    assert isinstance(peer.machine.error, Denied)
    assert "Login was refused (403); check username" in str(peer.machine.error)


@pytest.mark.parametrize("said", ["vhost plnt not found", "access to vhost '/' refused for user 'gw-042'"])
def test_a_wrong_virtual_host_is_told_with_where_it_stands(said: str) -> None:
    peer = AmqpPeer()
    peer.send(0, start())
    peer.send(0, commands.Connection.Close(530, f"NOT_ALLOWED - {said}", 0, 0))
    assert isinstance(peer.machine.error, Denied)
    assert f"{said} (530); the virtual host is the path of the url" in str(peer.machine.error)


def test_a_certificate_stands_for_a_name_where_the_broker_takes_it() -> None:
    peer = AmqpPeer(username=None)
    ((_, answer),) = peer.heard(peer.send(0, start("EXTERNAL")))
    assert isinstance(answer, commands.Connection.StartOk)
    assert (answer.mechanism, answer.response) == ("EXTERNAL", "")
    refused = AmqpPeer(username=None)
    refused.send(0, start("PLAIN"))
    assert "no client certificate in place of a username" in str(refused.machine.error)


def test_the_password_is_in_no_text() -> None:
    assert "secret" not in repr(AmqpPeer().machine._terms)


def test_frames_too_small_for_the_protocol_are_refused() -> None:
    peer = AmqpPeer()
    peer.send(0, start())
    peer.send(0, commands.Connection.Tune(0, 100, 0))
    assert "a largest frame of 100 bytes" in str(peer.machine.error)


def test_a_broker_that_watches_no_heartbeats_is_watched_by_ours() -> None:
    peer = AmqpPeer()
    peer.send(0, start())
    tune_ok, _ = peer.heard(peer.send(0, commands.Connection.Tune(0, 0, 0)))
    assert isinstance(tune_ok[1], commands.Connection.TuneOk)
    assert (tune_ok[1].heartbeat, tune_ok[1].frame_max) == (30, 131_072)
