"""What goes over a connection in use: publications and their confirms, deliveries and their acknowledgements."""

from __future__ import annotations

from pamqp import body, commands, header

from edgeagent.amqp.connection import AmqpPhase
from edgeagent.amqp.opening import CONSUMING, PUBLISHING
from edgeagent.ports.link import TAKEN, UNHEARD, Ack, Publication, PublishRefused
from tests.fakes.amqp_peer import AmqpPeer, content

TRIGGER = "argo/workflows/trigger/gw-1"
VECTOR = (
    # Basic.Publish on channel 2: amq.topic, the key, mandatory.
    "01 0002 0000002d 003c0028 0000 09 616d712e746f706963"
    " 1b 6172676f2e776f726b666c6f77732e747269676765722e67772d31 01 ce"
)


def opened() -> AmqpPeer:
    peer = AmqpPeer()
    peer.open()
    return peer


def publication(token: int, **values: object) -> Publication:
    return Publication(token, TRIGGER, b"{}", **values)  # type: ignore[arg-type]


def outcomes(peer: AmqpPeer) -> list[tuple[int, object]]:
    acks, peer.machine.acks = peer.machine.acks, []
    return [(ack.token, ack.outcome) for ack in acks]


def test_a_trigger_is_written_as_the_plugin_of_mqtt_reads_it() -> None:
    peer = opened()
    written, answers = peer.machine.publish(
        [
            publication(
                1,
                content_type="application/json",
                correlation_data=b"c0ffee",
                response_topic="argo/workflows/response/gw-1",
                expiry_s=60,
                user_properties=(("agent", "gw-1"), ("rule", "overheat"), ("source", "boiler-1")),
                traceparent="00-1-2-01",
                attempt=3,
            )
        ]
    )
    assert not answers
    vector = bytes.fromhex(VECTOR)
    assert written[: len(vector)].hex() == vector.hex()
    described = _properties(written[len(vector) :])
    assert described.headers == {
        "agent": "gw-1",
        "rule": "overheat",
        "source": "boiler-1",
        "edgeagent": "gw-1",
        "traceparent": "00-1-2-01",
        "x-reply-to-topic": "argo.workflows.response.gw-1",
    }
    assert described.reply_to == "argo.workflows.response.gw-1"
    assert (described.correlation_id, described.message_id) == ("c0ffee", "c0ffee-3")
    assert (described.expiration, described.delivery_mode) == ("60000", 2)
    assert described.content_type == "application/json"


def _properties(data: bytes) -> commands.Basic.Properties:
    from pamqp import frame  # noqa: PLC0415  for this alone

    _, channel, head = frame.unmarshal(data)
    assert channel == PUBLISHING
    assert isinstance(head, header.ContentHeader)
    return head.properties


def test_confirms_answer_one_or_all_up_to_it() -> None:
    peer = opened()
    peer.machine.publish([publication(token) for token in range(11, 16)])
    peer.confirm(2)
    assert outcomes(peer) == [(12, TAKEN)]
    peer.confirm(4, multiple=True)
    assert outcomes(peer) == [(11, TAKEN), (13, TAKEN), (14, TAKEN)]
    assert len(peer.machine.confirms) == 1


def test_the_publication_that_waits_longest_is_known() -> None:
    peer = opened()
    assert peer.machine.confirms.oldest == 0
    peer.machine.publish([publication(1), publication(2)])
    assert peer.machine.confirms.oldest == 1
    peer.confirm(1)
    assert peer.machine.confirms.oldest == 2


def test_a_return_before_its_confirm_means_that_nobody_listens() -> None:
    peer = opened()
    peer.machine.publish([publication(token, correlation_data=b"c", attempt=token) for token in (1, 2)])
    returned = commands.Basic.Return(312, "NO_ROUTE", "amq.topic", "argo.workflows.trigger.gw-1")
    peer.send(PUBLISHING, returned, *content(b"{}", message_id="c-1"))
    assert not outcomes(peer), "it is not answered before its confirm"
    peer.confirm(2, multiple=True)
    assert outcomes(peer) == [(1, UNHEARD), (2, TAKEN)]


def test_a_nack_is_a_refusal_for_now() -> None:
    peer = opened()
    peer.machine.publish([publication(1)])
    peer.send(PUBLISHING, commands.Basic.Nack(1))
    ((token, outcome),) = outcomes(peer)
    assert token == 1
    assert isinstance(outcome, PublishRefused)
    assert not outcome.permanent


def test_a_publication_at_qos_0_is_sent_and_never_answered() -> None:
    peer = opened()
    peer.machine.publish([publication(1, qos=0), publication(2)])
    peer.confirm(2, multiple=True)
    assert outcomes(peer) == [(2, TAKEN)]


def test_a_body_larger_than_a_frame_goes_in_pieces() -> None:
    peer = opened()
    payload = bytes(300_000)
    written, _ = peer.machine.publish([Publication(1, TRIGGER, payload)])
    assert written.count(b"\x03\x00\x02") >= 3
    assert len(written) > len(payload)


def test_what_cannot_be_written_is_refused_and_the_others_go() -> None:
    peer = opened()
    dotted = Publication(1, "argo/workflows/response/gw.1", b"")
    long = Publication(2, "a" * 300, b"")
    wide = Publication(3, TRIGGER, b"", user_properties=(("source", "s" * 200_000),))
    written, answers = peer.machine.publish([dotted, long, wide, publication(4)])
    assert [answer.token for answer in answers] == [1, 2, 3]
    assert all(isinstance(answer.outcome, PublishRefused) and answer.outcome.permanent for answer in answers)
    assert written
    peer.confirm(1)
    assert outcomes(peer) == [(4, TAKEN)]


def test_a_delivery_is_a_message_whose_topic_has_slashes() -> None:
    peer = opened()
    headers = {"x-reply-to-topic": "argo.workflows.response.gw-1", "edgeagent": "dispatch g", "traceparent": "00-a"}
    peer.deliver(1, b"{}", correlation_id="c0ffee", headers=headers)
    (message,) = peer.machine.messages
    assert (message.topic, message.payload) == ("argo/workflows/response/gw-1", b"{}")
    assert (message.response_topic, message.mark) == ("argo/workflows/response/gw-1", "dispatch g")
    assert message.correlation_data == b"c0ffee"
    assert message.traceparent == "00-a"


def test_acknowledgements_are_joined_where_nothing_is_left_out() -> None:
    peer = opened()
    for tag in range(1, 7):
        peer.deliver(tag, b"x")
    messages = peer.machine.messages
    taken = [*messages[:3], messages[4]]
    acks = peer.heard(peer.machine.acknowledge(taken))
    assert [(ack.delivery_tag, ack.multiple) for _, ack in acks if isinstance(ack, commands.Basic.Ack)] == [
        (3, True),
        (5, False),
    ]
    assert not peer.machine.acknowledge(taken), "once"
    rest = peer.heard(peer.machine.acknowledge(messages))
    assert [(ack.delivery_tag, ack.multiple) for _, ack in rest if isinstance(ack, commands.Basic.Ack)] == [(6, True)]


def test_messages_of_another_connection_are_never_acknowledged() -> None:
    peer, other = opened(), opened()
    other.machine.deliveries._base <<= 1
    peer.deliver(1, b"x")
    other.deliver(1, b"x")
    assert not peer.machine.acknowledge(other.machine.messages)
    assert peer.machine.acknowledge(peer.machine.messages)


def test_a_message_over_the_limit_is_rejected_unread_and_told() -> None:
    peer = opened()
    (reject,) = peer.heard(peer.deliver(1, bytes(1001)))
    assert isinstance(reject[1], commands.Basic.Reject)
    assert not reject[1].requeue
    assert not peer.machine.messages
    assert peer.machine.too_large == ["argo.workflows.response.gw-1"]
    peer.deliver(2, b"x")
    assert len(peer.machine.messages) == 1


def test_a_message_in_many_reads_is_put_together() -> None:
    peer = opened()
    deliver = commands.Basic.Deliver("0", 1, True, "amq.topic", "argo.workflows.status.gw-1")
    head = header.ContentHeader(0, 6, commands.Basic.Properties())
    peer.send(CONSUMING, deliver)
    peer.send(CONSUMING, head)
    peer.send(CONSUMING, body.ContentBody(b"abc"))
    assert not peer.machine.messages
    peer.send(CONSUMING, body.ContentBody(b"def"))
    (message,) = peer.machine.messages
    assert (message.payload, message.duplicate) == (b"abcdef", True)


def test_a_blocked_broker_says_why_and_when_it_is_over() -> None:
    peer = opened()
    peer.send(0, commands.Connection.Blocked("low on memory"))
    assert peer.machine.blocked == "low on memory"
    peer.send(0, commands.Connection.Unblocked())
    assert not peer.machine.blocked


def test_a_deleted_queue_ends_the_connection_so_that_it_is_made_anew() -> None:
    peer = opened()
    peer.send(CONSUMING, commands.Basic.Cancel("0"))
    assert peer.machine.phase is AmqpPhase.ENDED
    assert "the queue edgeagent.agent.gw-1 was deleted" in str(peer.machine.error)


def test_a_closed_channel_ends_the_connection_and_answers_nothing_in_flight() -> None:
    peer = opened()
    peer.machine.publish([publication(1)])
    (close,) = peer.heard(peer.send(PUBLISHING, commands.Channel.Close(404, "NOT_FOUND - no exchange", 60, 40)))
    assert isinstance(close[1], commands.Connection.Close)
    assert not peer.machine.acks
    assert "publishing: the broker says NOT_FOUND - no exchange (404)" in str(peer.machine.error)


def test_after_the_end_nothing_is_written_but_the_answer_to_a_close() -> None:
    peer = opened()
    peer.deliver(1, b"x")
    messages = peer.machine.messages
    peer.send(0, commands.Connection.Close(320, "CONNECTION_FORCED - shutdown", 0, 0))
    assert peer.machine.may_close
    assert not peer.machine.acknowledge(messages)
    assert peer.machine.publish([publication(1)]) == (b"", list[Ack]())
    assert not peer.deliver(2, b"x")
    assert len(messages) == 1


def test_deliveries_end_when_all_consumers_are_cancelled() -> None:
    peer = opened()
    (cancel,) = peer.heard(peer.machine.cancel())
    assert isinstance(cancel[1], commands.Basic.Cancel)
    assert not peer.machine.is_cancelled
    peer.send(CONSUMING, commands.Basic.CancelOk("0"))
    assert peer.machine.is_cancelled
