from __future__ import annotations

import msgspec
import pytest

from edgeagent.errors import OutboxFull, RecordTooLarge, StorageFailed
from edgeagent.events.dedupe import event_key
from edgeagent.outbox.records import (
    DAMAGED,
    DEAD,
    DEAD_WAY,
    EXPIRED,
    HIGH,
    NORMAL,
    REPLAYED,
    SETTLED,
    Group,
    OutboxLimits,
    digest_of,
)
from edgeagent.outbox.store import Store
from tests.fakes.crash_filesystem import Fate
from tests.fakes.stores import (
    A_SEGMENT,
    BOOT,
    DATA,
    DIRECTORY,
    LIMITS,
    SEGMENT_BYTES,
    balanced,
    disk,
    everything,
    fill,
    group,
    ids,
    opened,
    read_all,
    record,
)


def test_a_record_of_several_rules_is_one_trigger_for_each() -> None:
    store = opened(disk())
    assert store.append([group(NORMAL, record("a", ["r1", "r2"]), record("b", ["r1"]))]) == [1]
    leased = store.read(NORMAL)
    assert [(entry.seq, entry.record.id, entry.rule) for entry in leased] == [
        (1, "a", "r1"),
        (2, "a", "r2"),
        (3, "b", "r1"),
    ]
    store.release(NORMAL, 2, SETTLED)
    store.close()
    account = store.account()
    assert (account.accepted, account.settled, account.pending) == (3, 1, 2)


def test_what_was_leased_is_not_read_again_before_a_restart() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 3)
    assert ids(store.read(NORMAL)) == ["e1", "e2", "e3"]
    assert store.read(NORMAL) == []
    fill(store, 1, first=4)
    assert ids(store.read(NORMAL)) == ["e4"]
    store.close()
    assert ids(opened(filesystem).read(NORMAL)) == ["e1", "e2", "e3", "e4"]


def test_what_was_settled_out_of_order_does_not_come_again_after_a_restart() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 6)
    for leased in store.read(NORMAL)[1::2]:
        store.release(NORMAL, leased.seq, SETTLED)
    store.close()
    assert ids(opened(filesystem).read(NORMAL)) == ["e1", "e3", "e5"]


def test_two_priorities_are_two_logs_of_one_account() -> None:
    filesystem = disk()
    store = opened(filesystem)
    assert store.append([group(NORMAL, record("a")), group(HIGH, record("b")), group(NORMAL, record("c"))]) == [1, 1, 2]
    assert ids(store.read(HIGH)) == ["b"]
    assert ids(store.read(NORMAL)) == ["a", "c"]
    store.release(HIGH, 1, EXPIRED)
    store.close()
    account = opened(filesystem).account()
    assert (account.accepted, account.pending, account.expired) == (3, 2, 1)


def test_groups_of_one_log_share_a_sync() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 1)
    before = filesystem.syncs
    store.append([group(NORMAL, record(f"g{number}")) for number in range(5)])
    assert filesystem.syncs == before + 1


def test_a_full_outbox_refuses_whole_groups_and_takes_events_again_when_there_is_room() -> None:
    filesystem = disk()
    store = opened(filesystem)
    accepted = 0
    while isinstance(store.append([group(NORMAL, record(f"e{accepted}", data=DATA))])[0], int):
        accepted += 1
    assert accepted
    assert not store.accepting
    before = store.account()
    [outcome] = store.append([group(NORMAL, *(record(f"g{number}", data=DATA) for number in range(3)))])
    assert isinstance(outcome, OutboxFull)
    assert outcome.max_bytes == LIMITS.max_bytes
    assert store.account() == before
    assert store.used_bytes <= LIMITS.max_bytes - SEGMENT_BYTES, "one segment stays free for dead letters"
    for leased in read_all(store):
        store.release(NORMAL, leased.seq, SETTLED)
    assert isinstance(store.append([group(NORMAL, record("x", data=DATA))])[0], OutboxFull), "not before the checkpoint"
    store.checkpoint()
    assert store.used_bytes <= 2 * SEGMENT_BYTES
    assert store.accepting
    fill(store, 3 * A_SEGMENT)
    assert balanced(store)


def test_while_one_log_is_full_what_still_fits_an_active_segment_is_taken() -> None:
    store = opened(disk())
    fill(store, 1, HIGH)
    while isinstance(store.append([group(NORMAL, record("e", data=DATA))])[0], int):
        pass
    refused, taken = store.append([group(NORMAL, record("a", data=DATA)), group(HIGH, record("b", data=DATA))])
    assert isinstance(refused, OutboxFull)
    assert isinstance(taken, int)


def test_a_smaller_group_does_not_overtake_one_that_was_refused_for_want_of_room() -> None:
    store = opened(disk())
    while isinstance(store.append([group(NORMAL, record("e", data=DATA))])[0], int):
        pass
    outcomes = store.append([group(NORMAL, record("large", data=DATA)), group(NORMAL, record("small"))])
    assert [type(outcome) for outcome in outcomes] == [OutboxFull, OutboxFull]
    assert isinstance(store.append([group(NORMAL, record("small"))])[0], int), "alone it fits"


def test_dead_letters_are_written_when_the_outbox_is_full() -> None:
    store = opened(disk())
    while isinstance(store.append([group(NORMAL, record("e", data=DATA))])[0], int):
        pass
    leased = read_all(store)
    for entry in leased[:A_SEGMENT]:
        store.move(entry, DEAD, DEAD_WAY, reason="no", code=400, attempts=1)
    assert store.used_bytes <= LIMITS.max_bytes
    assert store.account().dead == A_SEGMENT
    assert balanced(store)
    with pytest.raises(OutboxFull):
        store.move(everything(store, DEAD)[0], NORMAL, REPLAYED, reason="", code=0, attempts=0)
    assert store.account().dead == A_SEGMENT


def test_an_outbox_of_the_least_size_does_not_fill_up_with_what_is_settled() -> None:
    store = opened(disk(), OutboxLimits(4 * SEGMENT_BYTES, SEGMENT_BYTES, 100))
    for round_number in range(20):
        for log in (NORMAL, HIGH):
            assert isinstance(store.append([group(log, record(f"{log}{round_number}", data=DATA))])[0], int)
            for leased in store.read(log):
                if round_number:
                    store.release(log, leased.seq, SETTLED)
                else:
                    store.move(leased, DEAD, DEAD_WAY, reason="no", code=400, attempts=1)
        store.checkpoint()
    assert store.account().pending == 0


def test_a_group_larger_than_a_segment_can_never_be_stored_and_does_not_hurt_the_others() -> None:
    store = opened(disk())
    large = group(NORMAL, *(record(f"g{number}", data=DATA) for number in range(8)))
    first, refused, second = store.append([group(NORMAL, record("a")), large, group(NORMAL, record("b"))])
    assert (first, second) == (1, 2)
    assert isinstance(refused, RecordTooLarge)
    assert refused.size_bytes > refused.limit_bytes


def test_the_largest_group_that_fits_is_stored() -> None:
    store = opened(disk())
    size = SEGMENT_BYTES
    while True:
        [outcome] = store.append([group(NORMAL, record("a", data=b"x" * size))])
        if isinstance(outcome, int):
            break
        assert isinstance(outcome, RecordTooLarge)
        size -= 1
    assert size > SEGMENT_BYTES - 500
    assert len(everything(store)[0].record.data) == size


def test_keys_and_deliveries_survive_a_restart_and_the_removal_of_their_segments() -> None:
    filesystem = disk()
    store = opened(filesystem)
    for number in range(4 * A_SEGMENT):
        store.append([came(number)])
        for leased in store.read(NORMAL):
            store.release(NORMAL, leased.seq, SETTLED)
        store.checkpoint()
    before = (store.recent.keys(), store.recent.deliveries())
    assert [len(part) for part in before] == [2 * A_SEGMENT, 2 * A_SEGMENT]
    for fate in (Fate.LOST, Fate.TORN):
        filesystem = filesystem.crash(fate)
        after = opened(filesystem)
        assert (after.recent.keys(), after.recent.deliveries()) == before


def came(number: int) -> Group:
    """An event: every second one has no id of its own, as it comes from the local broker."""
    entry = record(f"e{number}", data=DATA)
    if number % 2:
        entry = msgspec.structs.replace(entry, topic="plant/boiler", delivery=("session", number))
    return Group(NORMAL, [entry], [(b"" if number % 2 else event_key(entry.source, entry.id), digest_of(entry))])


def test_keys_of_both_priorities_are_kept_once_and_in_the_order_of_the_commits() -> None:
    filesystem = disk()
    store = opened(filesystem)
    for number in range(3 * A_SEGMENT):
        store.append([msgspec.structs.replace(came(number), log=HIGH if number % 3 == 0 else NORMAL)])
    before = store.recent.keys()
    assert opened(filesystem.crash(Fate.LOST)).recent.keys() == before


def test_a_dead_letter_keeps_why_and_the_boot_in_which_its_event_was_accepted() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 1)
    [leased] = store.read(NORMAL)
    store.move(leased, DEAD, DEAD_WAY, reason="spec.entrypoint is required", code=400, attempts=3)
    store.close()
    rebooted = Store(filesystem, DIRECTORY, LIMITS, boot=bytes(16), new_salt=lambda: 1, now_ms=lambda: 2_000)
    [letter] = everything(rebooted, DEAD)
    assert letter.moved is not None
    assert (letter.moved.reason, letter.moved.code, letter.moved.attempts) == ("spec.entrypoint is required", 400, 3)
    rebooted.move(letter, NORMAL, REPLAYED, reason="", code=0, attempts=0)
    [again] = rebooted.read(NORMAL)
    assert (again.record, again.boot) == (leased.record, BOOT)
    assert everything(rebooted, DEAD) == []
    assert balanced(rebooted)


def test_moving_what_is_released_does_nothing() -> None:
    store = opened(disk())
    fill(store, 1)
    [leased] = store.read(NORMAL)
    store.release(NORMAL, leased.seq, SETTLED)
    store.move(leased, DEAD, DEAD_WAY, reason="late", code=400, attempts=1)
    assert everything(store, DEAD) == []
    assert balanced(store)


def test_an_expired_trigger_that_is_settled_after_all_is_counted_as_such() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 2)
    for leased in store.read(NORMAL):
        store.release(NORMAL, leased.seq, EXPIRED)
    store.late(EXPIRED)
    store.late(DAMAGED)
    store.close()
    account = opened(filesystem).account()
    assert (account.settled, account.expired, account.pending) == (1, 1, 0)


def test_segments_go_only_after_a_checkpoint_holds_what_settled_them() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 3 * A_SEGMENT)
    segments = set(filesystem.files())
    for leased in read_all(store):
        store.release(NORMAL, leased.seq, SETTLED)
    assert set(filesystem.files()) == segments
    assert store.account().pending == 0
    filesystem.fails = lambda _number, name: name == "sync"
    with pytest.raises(StorageFailed, match="the disk failed: sync"):
        store.checkpoint()
    assert set(filesystem.files()) == segments
    filesystem.fails = lambda _number, _name: False
    store.checkpoint()
    assert len([path for path in filesystem.files() if path.suffix == ".seg"]) <= 1
    assert opened(filesystem.crash(Fate.LOST)).account().settled == 3 * A_SEGMENT


def test_reading_a_backlog_holds_one_part_of_it_in_memory() -> None:
    limits = OutboxLimits(64 << 20, 8 << 20, 10)
    store = opened(disk(), limits)
    for start in range(0, 5000, 1000):
        store.append([group(NORMAL, *(record(f"e{start + number}", data=DATA) for number in range(1000)))])
    parts = list(store.peek(NORMAL))
    assert max(map(len, parts)) <= 256
    assert ids([leased for part in parts for leased in part]) == [f"e{number}" for number in range(5000)]


def test_events_that_were_counted_stand_in_the_next_record() -> None:
    filesystem = disk()
    store = opened(filesystem)
    store.events.received += 5
    store.events.filtered += 5
    fill(store, 2)
    after = opened(filesystem.crash(Fate.LOST))
    assert (after.events.received, after.events.filtered, after.events.stored) == (7, 5, 2)
