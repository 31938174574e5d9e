from __future__ import annotations

from edgeagent.events.dedupe import (
    DIGEST_BYTES,
    KEY_BYTES,
    OPEN_DELIVERIES,
    Dedupe,
    DedupeVerdict,
    Deliveries,
    data_digest,
    event_key,
)


def test_the_same_source_and_id_again_is_a_duplicate_and_with_other_data_a_conflict() -> None:
    dedupe = Dedupe(10)
    key = event_key("boiler", "7")
    assert dedupe.check(key, data_digest(b"1")) is DedupeVerdict.NEW
    dedupe.add(key, data_digest(b"1"))
    assert dedupe.check(key, data_digest(b"1")) is DedupeVerdict.DUPLICATE
    assert dedupe.check(key, data_digest(b"2")) is DedupeVerdict.CONFLICT
    assert dedupe.check(event_key("boiler", "8"), data_digest(b"1")) is DedupeVerdict.NEW


def test_source_and_id_are_told_apart() -> None:
    keys = [event_key("a", "bc"), event_key("ab", "c"), event_key("a", "b"), event_key("abc", "")]
    assert len(set(keys)) == 4
    assert {len(key) for key in keys} == {KEY_BYTES}
    assert len(data_digest(b"")) == DIGEST_BYTES


def test_the_oldest_event_is_forgotten_beyond_the_horizon() -> None:
    dedupe = Dedupe(2)
    for event_id in "abc":
        dedupe.add(event_key("s", event_id), data_digest(b""))
    verdicts = [dedupe.check(event_key("s", event_id), data_digest(b"")) for event_id in "abc"]
    assert verdicts == [DedupeVerdict.NEW, DedupeVerdict.DUPLICATE, DedupeVerdict.DUPLICATE]


def test_of_which_rules_an_event_has_triggers_is_known_as_long_as_the_event_is() -> None:
    dedupe = Dedupe(2)
    dedupe.add(b"a", b"1", ("one",))
    dedupe.add(b"b", b"1")
    assert (dedupe.rules(b"a"), dedupe.rules(b"b")) == (("one",), ())
    dedupe.add(b"c", b"1", ("two",))
    assert (dedupe.rules(b"a"), dedupe.rules(b"c")) == ((), ("two",))
    dedupe.forget(b"c")
    assert dedupe.rules(b"c") == ()


def test_a_horizon_of_none_knows_nothing() -> None:
    dedupe = Dedupe(0)
    dedupe.add(b"key", b"digest")
    assert dedupe.check(b"key", b"digest") is DedupeVerdict.NEW


def test_an_event_that_was_not_stored_after_all_is_new_again() -> None:
    dedupe = Dedupe(2)
    dedupe.add(b"key", b"digest")
    dedupe.forget(b"key")
    dedupe.forget(b"key")
    assert dedupe.check(b"key", b"digest") is DedupeVerdict.NEW


def test_a_delivery_that_comes_again_is_the_event_that_it_was() -> None:
    deliveries = Deliveries()
    deliveries.add("s", 1, b"a", "event-1")
    assert deliveries.event_id("s", 1, b"a") == "event-1"
    assert deliveries.event_id("s", 1, b"b") is None
    assert deliveries.event_id("s", 2, b"a") is None


def test_a_packet_id_that_is_used_anew_names_the_new_event() -> None:
    deliveries = Deliveries()
    deliveries.add("s", 1, b"a", "event-1")
    deliveries.add("s", 1, b"c", "event-3")
    assert deliveries.event_id("s", 1, b"a") is None
    assert deliveries.event_id("s", 1, b"c") == "event-3"


def test_no_more_deliveries_are_kept_than_can_come_again_and_the_oldest_goes_first() -> None:
    deliveries = Deliveries()
    for packet_id in (*range(OPEN_DELIVERIES), 0, OPEN_DELIVERIES):
        deliveries.add("s", packet_id, b"d", f"event-{packet_id}")
    known = [packet_id for packet_id in range(OPEN_DELIVERIES + 1) if deliveries.event_id("s", packet_id, b"d")]
    assert known == [0, *range(2, OPEN_DELIVERIES + 1)]


def test_a_packet_id_means_nothing_in_another_session_nor_after_the_session_has_ended() -> None:
    deliveries = Deliveries()
    deliveries.add("a", 1, b"d", "event-1")
    deliveries.add("b", 1, b"d", "event-2")
    assert (deliveries.event_id("a", 1, b"d"), deliveries.event_id("b", 1, b"d")) == ("event-1", "event-2")
    deliveries.forget("a")
    deliveries.forget("a")
    assert (deliveries.event_id("a", 1, b"d"), deliveries.event_id("b", 1, b"d")) == (None, "event-2")
