from __future__ import annotations

import pytest

from edgeagent.config.tables import Mqtt, MqttAllow
from edgeagent.listener.access import Permissions
from edgeagent.listener.bounds import broker_of
from edgeagent.listener.packets import (
    NEVER_EXPIRES,
    ClientWill,
    Connect,
    Publish,
    Subscribe,
    TopicSubscription,
    Unsubscribe,
)
from edgeagent.listener.reasons import Reason
from edgeagent.listener.retained import RetainOutcome
from edgeagent.listener.subscriptions import Subscriptions
from tests.fakes.device_broker import EVERYTHING, Devices, told, waiting

NOTHING = Permissions(Mqtt(), "edgeagent/status/{source}").of("plug", "plug")
WILL = ClientWill(Publish("tele/plug/LWT", b"Offline", 1, retain=True))


def will(delay_s: int) -> ClientWill:
    return ClientWill(WILL.message, delay_s)


def test_who_subscribes_gets_it_at_the_lower_qos_of_both() -> None:
    devices = Devices()
    for name, qos in (("a", 0), ("b", 1), ("c", 2)):
        assert devices.subscribe(devices.connect(name).session, "t/#", qos=qos) == (qos,)
    for qos in (0, 1, 2):
        found = told(devices.publish("t/x", qos=qos).deliveries)
        assert found == {name: (b"x", min(qos, own)) for name, own in (("a", 0), ("b", 1), ("c", 2))}


def test_0x10_is_answered_only_when_nobody_wants_it() -> None:
    devices = Devices()
    nobody = devices.publish("t")
    assert nobody.reason(is_event=False) is Reason.NO_MATCHING_SUBSCRIBERS
    assert nobody.reason(is_event=True) is Reason.SUCCESS
    devices.subscribe(devices.connect("a").session, "t")
    assert devices.publish("t").reason(is_event=False) is Reason.SUCCESS
    assert devices.publish("kept", retain=True).reason(is_event=False) is Reason.SUCCESS


def test_what_waits_for_who_is_away_is_at_qos_1_and_2_and_only_in_sessions_that_go_on() -> None:
    devices = Devices()
    stays, goes = (devices.connect(name, expiry_s=expiry_s).session for name, expiry_s in (("s", 60), ("g", 0)))
    for session in (stays, goes):
        devices.subscribe(session, "t")
        devices.leave(session)
    assert (
        devices.publish("t", b"0", qos=0).deliveries == () or told(devices.publish("t", b"0", qos=0).deliveries) == {}
    )
    devices.publish("t", b"1")
    devices.publish("t", b"2", qos=2)
    assert devices.sessions.get("g") is None
    accepted = devices.connect("s", clean=False, expiry_s=60)
    assert accepted.is_present
    assert accepted.session is stays
    assert waiting(stays) == [b"1", b"2"]
    assert told(devices.publish("t", b"3").deliveries) == {"s": (b"3", 1)}


def test_a_clean_start_forgets_subscriptions_and_what_waits() -> None:
    devices = Devices()
    session = devices.connect("s", expiry_s=60).session
    devices.subscribe(session, "t")
    devices.leave(session)
    devices.publish("t")
    accepted = devices.connect("s", clean=True, expiry_s=60)
    assert not accepted.is_present
    assert waiting(accepted.session) == []
    assert not devices.publish("t").is_wanted


def test_a_session_ends_with_its_interval_and_never_while_it_is_connected() -> None:
    devices = Devices()
    session, forever = (devices.connect(name, expiry_s=s).session for name, s in (("s", 60), ("f", NEVER_EXPIRES)))
    for each in (session, forever):
        devices.subscribe(each, "t")
    devices.now += 1000
    devices.broker.tick(devices.now)
    assert len(devices.sessions) == 2
    devices.leave(session)
    devices.leave(forever)
    assert devices.broker.due_at() == devices.now + 60
    devices.now += 59.9
    devices.broker.tick(devices.now)
    assert devices.sessions.get("s") is session
    devices.now += 0.2
    devices.broker.tick(devices.now)
    assert devices.sessions.get("s") is None
    devices.now += 10 * 365 * 86_400
    devices.broker.tick(devices.now)
    assert devices.sessions.get("f") is forever


def test_disconnect_may_say_another_interval() -> None:
    devices = Devices()
    session = devices.connect("s", expiry_s=60).session
    devices.leave(session, expiry_s=0)
    assert devices.sessions.get("s") is None
    short = devices.connect("s").session
    devices.leave(short, expiry_s=60)  # MQTT 5, 3.14.2.2.2: not from 0
    assert devices.sessions.get("s") is None


def test_a_client_that_comes_again_takes_over_and_the_old_connection_changes_nothing_any_more() -> None:
    devices = Devices()
    old, new = object(), object()
    session = devices.connect("s", expiry_s=60, connection=old, will=WILL).session
    devices.subscribe(session, "t")
    accepted = devices.connect("s", clean=False, expiry_s=60, connection=new)
    assert accepted.taken_over is old
    assert accepted.is_present
    assert list(accepted.wills) == [WILL.message]
    assert devices.broker.gone(session, old, devices.now, is_normal=False) == ()
    assert told(devices.publish("t").deliveries) == {"s": (b"x", 1)}


def test_a_session_that_ends_with_its_connection_is_not_there_for_who_takes_over() -> None:
    devices = Devices()
    devices.subscribe(devices.connect("s").session, "t")
    accepted = devices.connect("s", clean=False, expiry_s=60)
    assert not accepted.is_present
    assert accepted.taken_over is not None
    assert not devices.publish("t").is_wanted


@pytest.mark.parametrize("normal", [True, False])
def test_a_will_is_published_after_an_abnormal_end_only(normal: bool) -> None:
    devices = Devices()
    session = devices.connect("plug", will=WILL).session
    assert list(devices.leave(session, is_normal=normal)) == ([] if normal else [WILL.message])


def test_a_will_with_a_delay_waits_for_the_client_to_come_back() -> None:
    devices = Devices()
    session = devices.connect("plug", expiry_s=60, will=will(10)).session
    assert list(devices.leave(session, is_normal=False)) == []
    devices.now += 5
    assert devices.connect("plug", clean=False, expiry_s=60, will=will(10)).wills == []
    devices.now += 20
    assert list(devices.broker.tick(devices.now)) == []
    devices.leave(session, is_normal=False)
    assert devices.broker.due_at() == devices.now + 10
    devices.now += 10
    assert list(devices.broker.tick(devices.now)) == [WILL.message]
    assert list(devices.broker.tick(devices.now)) == []


def test_a_will_waits_no_longer_than_the_session() -> None:
    devices = Devices()
    session = devices.connect("plug", expiry_s=5, will=will(100)).session
    devices.leave(session, is_normal=False)
    devices.now += 5
    assert list(devices.broker.tick(devices.now)) == [WILL.message]
    at_once = devices.connect("plug", expiry_s=0, will=will(100)).session
    assert list(devices.leave(at_once, is_normal=False)) == [WILL.message]
    before = devices.connect("plug", expiry_s=60, will=will(100)).session
    devices.leave(before, is_normal=False)
    assert list(devices.connect("plug", clean=True).wills) == [WILL.message]


def test_a_will_on_a_topic_that_the_client_may_not_publish_on_keeps_it_out() -> None:
    devices = Devices()
    assert devices.try_to_connect(Connect(5, "plug", True, will=WILL), rights=NOTHING) is Reason.NOT_AUTHORIZED
    assert devices.broker.counts.denied == 1
    assert len(devices.sessions) == 0


def test_another_user_neither_ends_the_connection_nor_gets_what_waits() -> None:
    devices = Devices()
    session = devices.connect("s", expiry_s=60, user="alice").session
    devices.subscribe(session, "t")
    assert devices.try_to_connect(Connect(5, "s", True), user="mallory") is Reason.CLIENT_ID_NOT_VALID
    assert devices.try_to_connect(Connect(5, "s", False), user=None) is Reason.CLIENT_ID_NOT_VALID
    assert session.connection is not None
    devices.leave(session)
    devices.publish("t", b"for alice")
    other = devices.connect("s", clean=False, expiry_s=60, user="mallory")
    assert not other.is_present
    assert waiting(other.session) == []


@pytest.mark.parametrize(
    ("version", "client_id", "clean", "given"),
    [
        (5, "", False, "id"),
        (5, "", True, "id"),
        (4, "", True, "id"),
        (4, "", False, None),
        (3, "", True, None),
    ],
)
def test_who_has_no_client_id_is_given_one_where_the_version_allows_it(
    version: int, client_id: str, clean: bool, given: str | None
) -> None:
    answer = Devices().try_to_connect(Connect(version, client_id, clean))
    if given is None:
        assert answer is Reason.CLIENT_ID_NOT_VALID
    else:
        assert not isinstance(answer, Reason)
        assert answer.session.client_id == given


def test_a_client_id_of_any_length_is_not_taken() -> None:
    assert Devices().try_to_connect(Connect(5, "x" * 257, True)) is Reason.CLIENT_ID_NOT_VALID


def test_sessions_that_nobody_comes_back_to_are_bounded_and_the_user_with_most_loses_one() -> None:
    devices = Devices(max_waiting=3)
    quiet = devices.connect("quiet", expiry_s=NEVER_EXPIRES, user="alice").session
    devices.leave(quiet)
    for number in range(10):
        session = devices.connect(f"c{number}", expiry_s=NEVER_EXPIRES, user="mallory").session
        devices.subscribe(session, "t")
        devices.leave(session)
    assert devices.sessions.waiting == 3
    assert devices.sessions.get("quiet") is quiet
    assert devices.sessions.get("c9") is not None
    assert devices.broker.counts.evicted == 8
    assert devices.broker.subscriptions.count == 2


def test_a_broker_has_the_bounds_of_its_configuration() -> None:
    broker = broker_of(Mqtt(max_connections=3, max_retained=1, session_queue=2))
    for number in range(10):
        connection = object()
        accepted = broker.connect(
            Connect(4, f"c{number}", False, session_expiry_s=NEVER_EXPIRES), None, EVERYTHING, connection, "id", 0.0
        )
        assert not isinstance(accepted, Reason)
        broker.subscribe(accepted.session, Subscribe(1, (TopicSubscription("t", 1),)), EVERYTHING)
        broker.gone(accepted.session, connection, 0.0, is_normal=True)
    assert broker.sessions.waiting == 6
    outcomes = [broker.publish(Publish(topic, b"x", 1, retain=True), None, 0.0).outcome for topic in ("t", "u")]
    assert outcomes == [RetainOutcome.NEW, RetainOutcome.NO_ROOM]
    for _ in range(3):
        broker.publish(Publish("t", b"x", 1), None, 0.0)
    assert {len(session.queue) for session in broker.sessions} == {2}


def test_each_filter_of_a_subscribe_is_answered_for_itself() -> None:
    devices = Devices(subscriptions=Subscriptions(max_cost_of_one=6))
    rights = Permissions(
        Mqtt(allow=[MqttAllow(subscribe=("cmnd/#", "$share/g/cmnd/x"))]), "edgeagent/status/{source}"
    ).of(None, "c")
    session = devices.connect("c").session
    wanted = tuple(
        TopicSubscription(each, 1)
        for each in ("cmnd/x", "cmnd/#/x", "#", "$share/g/cmnd/x", "cmnd/y", "cmnd/x", "cmnd/1/2/3")
    )
    assert devices.broker.subscribe(session, Subscribe(1, wanted), rights).codes == (
        1,
        Reason.TOPIC_FILTER_INVALID,
        Reason.NOT_AUTHORIZED,
        Reason.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
        1,
        1,
        Reason.QUOTA_EXCEEDED,
    )
    ended = devices.broker.unsubscribe(session, Unsubscribe(2, ("cmnd/x", "cmnd/x", "#")))
    assert ended == (Reason.SUCCESS, Reason.NO_SUBSCRIPTION_EXISTED, Reason.NO_SUBSCRIPTION_EXISTED)
    assert told(devices.publish("cmnd/y").deliveries) == {"c": (b"x", 1)}
    assert not devices.publish("cmnd/x").is_wanted


@pytest.mark.parametrize(("handling", "first", "again"), [(0, 1, 1), (1, 1, 0), (2, 0, 0)])
def test_retained_messages_come_with_the_subscription_as_it_asks(handling: int, first: int, again: int) -> None:
    devices = Devices()
    devices.publish("t", b"kept", retain=True)
    session = devices.connect("c").session
    subscribe = Subscribe(1, (TopicSubscription("t", 2, retain_handling=handling),), 9)
    for expected in (first, again):
        replay = devices.broker.subscribe(session, subscribe, EVERYTHING).replay
        found = replay.take(100, devices.now)
        assert [(each.publish.payload, each.qos, each.retain, each.identifiers) for each in found] == [
            (b"kept", 1, True, (9,))
        ] * expected


def test_the_retain_flag_goes_on_only_to_who_asked_for_it() -> None:
    devices = Devices()
    devices.subscribe(devices.connect("plain").session, "t")
    devices.subscribe(devices.connect("bridge").session, "t", retain_as_published=True)
    published = devices.publish("t", retain=True)
    assert {each.session.client_id: each.parcel.retain for each in published.deliveries} == {
        "plain": False,
        "bridge": True,
    }


def test_who_publishes_gets_its_own_message_unless_it_said_no_local() -> None:
    devices = Devices()
    echoed, quiet = devices.connect("echoed").session, devices.connect("quiet").session
    devices.subscribe(echoed, "t")
    devices.subscribe(quiet, "t", no_local=True)
    assert set(told(devices.publish("t", by=quiet).deliveries)) == {"echoed"}
    assert set(told(devices.publish("t", by=echoed).deliveries)) == {"echoed", "quiet"}


def test_a_retained_message_that_is_not_kept_is_passed_on_counted_and_answered() -> None:
    devices = Devices(max_retained=1)
    devices.subscribe(devices.connect("c").session, "#")
    assert devices.publish("a", retain=True).outcome is RetainOutcome.NEW
    published = devices.publish("b", retain=True)
    assert set(told(published.deliveries)) == {"c"}
    assert published.reason(is_event=False) is Reason.QUOTA_EXCEEDED
    assert published.reason(is_event=True) is Reason.SUCCESS
    assert devices.broker.counts.unkept == 1


def test_what_is_dropped_for_a_device_that_is_away_is_counted() -> None:
    devices = Devices(queue=3)
    session = devices.connect("s", expiry_s=60).session
    devices.subscribe(session, "t")
    devices.leave(session)
    for number in range(5):
        devices.publish("t", b"%d" % number)
    assert waiting(session) == [b"2", b"3", b"4"]
    assert devices.broker.counts.dropped == 2
    devices.now += 60
    devices.broker.tick(devices.now)
    assert devices.broker.counts.dropped == 5
    assert devices.sessions.room.used_bytes == 0


def test_a_message_that_waits_has_less_time_left_when_it_is_sent() -> None:
    devices = Devices()
    session = devices.connect("s", expiry_s=60).session
    devices.subscribe(session, "t")
    devices.leave(session)
    devices.publish("t", b"1", expiry_s=10)
    devices.publish("t", b"2", expiry_s=30)
    devices.now += 12
    parcel = session.queue.pop(devices.now)
    assert parcel is not None
    publish = parcel.at(devices.now)
    assert publish is not None
    assert (publish.payload, publish.expiry_s) == (b"2", 18)
