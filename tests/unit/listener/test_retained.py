from __future__ import annotations

from edgeagent.listener.packets import Publish
from edgeagent.listener.parcels import OVERHEAD_BYTES, Parcel
from edgeagent.listener.retained import Replay, Retained, RetainOutcome
from edgeagent.listener.subscriptions import Grant


def message(topic: str, payload: bytes = b"x", qos: int = 1, expiry_s: int | None = None) -> Publish:
    return Publish(topic, payload, qos, retain=True, packet_id=7, duplicate=True, expiry_s=expiry_s)


def replayed(retained: Retained, *filters: str, now: float = 0.0) -> list[Parcel]:
    return Replay(retained, dict.fromkeys(filters, Grant(2))).take(10_000, now)


def topics(parcels: list[Parcel]) -> list[str]:
    return [parcel.publish.topic for parcel in parcels]


def test_the_last_message_of_a_topic_is_kept_and_an_empty_one_removes_it() -> None:
    retained = Retained(10, 10_000)
    assert retained.put(message("a", b"1"), 0) is RetainOutcome.NEW
    assert retained.put(message("a", b"1"), 0) is RetainOutcome.SAME
    assert retained.put(message("a", b"2"), 0) is RetainOutcome.CHANGED
    (parcel,) = replayed(retained, "#")
    assert parcel == Parcel(Publish("a", b"2", 1, retain=True), 1, True, (), None)
    assert retained.put(message("a", b""), 0) is RetainOutcome.REMOVED
    assert retained.put(message("a", b""), 0) is RetainOutcome.SAME
    assert replayed(retained, "#") == []
    assert retained.used_bytes == 0


def test_a_message_beyond_the_bounds_is_not_kept_and_takes_nothing_from_others() -> None:
    retained = Retained(2, 10_000)
    retained.put(message("a"), 0)
    retained.put(message("b"), 0)
    assert retained.put(message("c"), 0) is RetainOutcome.NO_ROOM
    assert retained.put(message("b", b"new"), 0) is RetainOutcome.CHANGED
    assert topics(replayed(retained, "#")) == ["a", "b"]
    small = Retained(10, OVERHEAD_BYTES + 50)
    assert small.put(message("a", b"x" * 40), 0) is RetainOutcome.NEW
    assert small.put(message("b"), 0) is RetainOutcome.NO_ROOM


def test_a_value_that_is_too_large_leaves_no_old_one_that_is_no_longer_true() -> None:
    retained = Retained(10, OVERHEAD_BYTES + 50)
    retained.put(message("state", b"on"), 0)
    assert retained.put(message("state", b"off" * 100), 0) is RetainOutcome.NO_ROOM
    assert retained.get("state") is None
    assert retained.used_bytes == 0


def test_nothing_is_kept_where_none_are_allowed() -> None:
    assert Retained(0, 10_000).put(message("a"), 0) is RetainOutcome.NO_ROOM


def test_messages_end_with_their_time_and_are_sent_with_what_is_left_of_it() -> None:
    retained = Retained(10, 10_000)
    retained.put(message("a", expiry_s=10), 100.0)
    retained.put(message("b", expiry_s=5), 100.0)
    retained.put(message("c"), 100.0)
    assert retained.due_at() == 105.0
    parcels = replayed(retained, "#", now=104.5)
    assert [parcel.at(104.5).expiry_s for parcel in parcels if parcel.at(104.5)] == [6, 1, None]  # type: ignore[union-attr]
    assert topics(replayed(retained, "#", now=105.0)) == ["a", "c"]
    assert retained.expired(105.0) == ["b"]
    retained.put(message("a"), 106.0)  # without an end now
    assert retained.expired(1000.0) == []
    assert retained.due_at() is None


def test_a_replay_finds_bit_by_bit_and_tells_when_it_is_done() -> None:
    retained = Retained(1000, 1 << 20)
    for number in range(100):
        retained.put(message(f"room/{number}"), 0)
    replay = Replay(retained, {"room/+": Grant(0, identifier=3), "room/7": Grant(1)})
    found: list[Parcel] = []
    turns = 0
    while not replay.is_done:
        found += replay.take(10, 0)
        turns += 1
    assert turns == 11
    assert len(found) == 101
    assert found[0] == Parcel(Publish("room/0", b"x", 1, retain=True), 0, True, (3,), None)
    assert (found[-1].publish.topic, found[-1].qos, found[-1].identifiers) == ("room/7", 1, ())
    assert Replay(retained, {}).is_done


def test_a_replay_tells_what_is_true_when_it_is_read() -> None:
    retained = Retained(10, 10_000)
    for topic in "abc":
        retained.put(message(topic, b"old"), 0)
    replay = Replay(retained, {"+": Grant(0)})
    assert topics(replay.take(1, 0)) == ["a"]
    retained.put(message("b", b"new"), 0)
    retained.remove("c")
    retained.put(message("d"), 0)
    assert [(each.publish.topic, each.publish.payload) for each in replay.take(10, 0)] == [("b", b"new")]


def test_topics_that_begin_with_a_dollar_are_not_found_by_wildcards_at_the_start() -> None:
    retained = Retained(10, 10_000)
    retained.put(message("$data/x"), 0)
    assert replayed(retained, "#", "+/x") == []
    assert topics(replayed(retained, "$data/#")) == ["$data/x"]


def test_what_no_longer_fits_is_not_taken_back_from_the_disk() -> None:
    retained = Retained(2, 10_000)
    before = Retained(3, 10_000)
    for topic in "abc":
        before.put(message(topic), 0)
    kept = [before.get(topic) for topic in "abc"]
    assert [retained.restore(each) for each in kept if each is not None] == [True, True, False]
