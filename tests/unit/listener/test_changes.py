from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.listener.changes import Changes, Pending, StoredSession, Urgency
from edgeagent.listener.flows import Sent
from edgeagent.listener.packets import NEVER_EXPIRES, Publish
from edgeagent.listener.parcels import Kept
from edgeagent.listener.queue import Room
from tests.fakes.device_broker import Devices, waiting


def kept(topic: str, payload: bytes = b"x") -> Kept:
    return Kept(Publish(topic, payload), None)


def test_what_comes_and_goes_before_it_is_written_is_not_written() -> None:
    changes = Changes()
    for number in range(1000):
        changes.message(kept(f"t/{number}"), is_new=True)
        changes.no_message(f"t/{number}")
    changes.no_message("on disk")
    assert changes.take().messages.entries == {"on disk": None}


@pytest.mark.parametrize(
    ("new", "urgency"), [((), Urgency.NONE), ((False,), Urgency.LATER), ((False, True, False), Urgency.SOON)]
)
def test_another_value_waits_longer_than_something_new(new: tuple[bool, ...], urgency: Urgency) -> None:
    changes = Changes()
    for number, is_new in enumerate(new):
        changes.message(kept(f"t/{number}"), is_new=is_new)
    assert changes.urgency is urgency
    changes.take()
    assert changes.urgency is Urgency.NONE


def test_it_is_known_what_is_not_on_disk_yet() -> None:
    changes = Changes()
    changes.message(kept("t"), is_new=True)
    assert changes.is_unwritten("t")
    changes.take()
    assert changes.is_unwritten("t")
    changes.written()
    assert not changes.is_unwritten("t")


def test_what_could_not_be_written_comes_again_unless_it_changed() -> None:
    changes = Changes()
    changes.message(kept("a", b"1"), is_new=True)
    changes.message(kept("b", b"1"), is_new=True)
    changes.session(StoredSession("s", None, 5, 60), is_new=True)
    changes.take()
    changes.message(kept("a", b"2"), is_new=False)
    changes.no_message("b")
    changes.put_back()
    batch = changes.take()
    assert batch.messages.entries == {"a": kept("a", b"2")}
    assert list(batch.sessions.entries) == ["s"]


STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.sampled_from(["", "write", "fail"])))


def write(disk: dict[str, int], batch: Pending[int]) -> None:
    for key, value in batch.entries.items():
        assert key not in batch.new or key not in disk
        if value is None:
            disk.pop(key, None)
        else:
            disk[key] = value


@given(STEPS)
def test_the_disk_ends_with_what_is_there_whatever_fails_in_between(steps: list[tuple[str, int, str]]) -> None:
    disk: dict[str, int] = {}
    there: dict[str, int] = {}
    pending, under_way = Pending[int](), Pending[int]()
    for key, value, end in steps:
        if value:
            pending.put(key, value, is_new=key not in there)
            there[key] = value
        elif there.pop(key, None) is not None:
            pending.drop(key)
        if end == "fail":
            under_way, pending = Pending(), under_way.before(pending)
        elif end:
            write(disk, under_way)
            under_way, pending = pending, Pending()
    write(disk, under_way)
    write(disk, pending)
    assert disk == there


def test_the_broker_tells_what_is_to_be_kept_and_nothing_else() -> None:
    devices = Devices()
    short = devices.connect("short").session
    devices.subscribe(short, "t")
    devices.publish("t")
    assert devices.changes.urgency is Urgency.NONE
    session = devices.connect("s", expiry_s=60, user="alice").session
    devices.subscribe(session, "t", qos=1)
    assert devices.publish("kept", retain=True).is_unwritten
    batch = devices.changes.take()
    assert list(batch.messages.entries) == ["kept"]
    assert [found.client_id for found in batch.sessions.entries.values() if found] == ["s"]
    devices.changes.written()
    assert not devices.publish("kept", retain=True).is_unwritten  # the same again
    devices.leave(session)
    devices.connect("s", clean=False, expiry_s=60, user="alice")
    assert devices.changes.urgency is Urgency.NONE  # going and coming back costs no write
    devices.leave(session)
    devices.now += 60
    devices.broker.tick(devices.now)
    assert devices.changes.take().sessions.entries == {"s": None}


def test_what_was_on_disk_is_there_again_and_the_time_of_sessions_begins_anew() -> None:
    before = Devices()
    session = before.connect("s", expiry_s=60, user="alice").session
    before.subscribe(session, "t/#", qos=1)
    before.connect("f", expiry_s=NEVER_EXPIRES)
    before.publish("kept", b"value", retain=True)
    before.leave(session)
    before.publish("t/x", b"waits")
    batch = before.changes.take()
    after = Devices()
    after.now = 5.0
    messages = [message for message in batch.messages.entries.values() if message is not None]
    after.broker.restore(messages, [each for each in batch.sessions.entries.values() if each is not None], after.now)
    after.broker.restore_waiting(before.broker.waiting())
    assert after.changes.urgency is Urgency.NONE
    restored = after.sessions.of("s")
    assert (restored.user, restored.expiry_s, waiting(restored)) == ("alice", 60, [b"waits"])
    assert after.broker.due_at() == 65.0
    accepted = after.connect("s", clean=False, expiry_s=60, user="alice")
    assert accepted.is_present
    assert after.publish("t/y").is_wanted
    found = after.retained.get("kept")
    assert found is not None
    assert found.publish.payload == b"value"


def test_what_was_sent_and_not_acknowledged_waits_before_what_was_not_sent() -> None:
    before = Devices()
    session = before.connect("s", expiry_s=60).session
    before.subscribe(session, "t", qos=1)
    for number in range(2):
        (delivery,) = before.publish("t", b"%d" % number, expiry_s=30).deliveries
        sent = delivery.parcel
        packet_id = session.outbound.next_packet_id()
        session.outbound.add(packet_id, Sent(sent.publish, sent.qos, sent.retain, sent.identifiers, before.now))
    before.leave(session)
    before.publish("t", b"2")
    after = Devices()
    kept_before = [each for each in before.changes.take().sessions.entries.values() if each is not None]
    after.broker.restore([], kept_before, after.now)
    after.broker.restore_waiting(before.broker.waiting())
    assert waiting(after.sessions.of("s")) == [b"0", b"1", b"2"]
    assert [parcel.expires_at for parcel in after.sessions.of("s").queue] == [1030.0, 1030.0, None]


def test_smaller_bounds_after_a_restart_hold() -> None:
    before = Devices(max_waiting=10, max_retained=10)
    for number in range(5):
        before.leave(before.connect(f"s{number}", expiry_s=60).session)
        before.publish(f"t/{number}", retain=True)
    batch = before.changes.take()
    after = Devices(max_waiting=2, max_retained=2, room=Room(0))
    messages = [message for message in batch.messages.entries.values() if message is not None]
    after.broker.restore(messages, [each for each in batch.sessions.entries.values() if each is not None], 0.0)
    assert (len(after.sessions), len(after.retained)) == (2, 2)
    left = after.changes.take()
    assert list(left.messages.entries.values()) == [None] * 3
    assert list(left.sessions.entries.values()) == [None] * 3
