"""The log `limited`: what moves there, what is read of it, and how it is condensed, also if a crash interrupts that."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random

import pytest

from edgeagent.events.event import Record
from edgeagent.outbox import limited
from edgeagent.outbox.limited import Condensing, HeldBack
from edgeagent.outbox.records import LIMITED, NORMAL, SETTLED, Group, Leased, OutboxLimits
from edgeagent.outbox.store import Store
from edgeagent.rules.rate import FirstPublication, PublishedTriggers
from tests.fakes.crash_filesystem import CrashFilesystem

DIRECTORY = Path("/state/outbox")
BOOT = bytes(16)
NOW_MS = 1_800_000_000_000
SEGMENT_BYTES = 16 << 10


def opened(filesystem: CrashFilesystem) -> Store:
    salts = count(1)
    limits = OutboxLimits(1 << 20, SEGMENT_BYTES, 100)
    return Store(filesystem, DIRECTORY, limits, boot=BOOT, new_salt=lambda: next(salts), now_ms=lambda: NOW_MS)


def disk() -> CrashFilesystem:
    return CrashFilesystem(Random(0))  # noqa: S311  nothing fails at random here


def record(number: int, rule: str) -> Record:
    return Record("gw", "door", str(number), "event", "", b"x" * 40, False, (rule,), NOW_MS, number)


def limit(store: Store, numbers: range, rules: str = "ab", *, high: bool = False) -> None:
    """Take events of these rules in turn, and move their triggers to the log."""
    for start in range(numbers.start, numbers.stop, 50):
        part = range(start, min(start + 50, numbers.stop))
        records = [record(number, rules[number % len(rules)]) for number in part]
        keys = [(number.to_bytes(16, "big"), bytes(8)) for number in part]
        store.append([Group(NORMAL, records, keys)])
        limited.relocate(store, [HeldBack(leased, high) for leased in store.read(NORMAL)], NOW_MS)


def everything(store: Store, name: str = LIMITED) -> list[Leased]:
    return [leased for part in store.peek(name) for leased in part]


def numbers(leased: list[Leased], rule: str = "") -> list[int]:
    return [int(one.record.id) for one in leased if not rule or one.rule == rule]


def settle(store: Store, rule: str) -> None:
    for leased in everything(store):
        if leased.rule == rule:
            store.release(LIMITED, leased.seq, SETTLED)


def condensed(store: Store, kept: frozenset[int] = frozenset()) -> int:
    """Condense the log; returns the seq of the first copy."""
    log = store.log(LIMITED)
    at: Condensing | None = Condensing(log.released.cursor, log.next_seq)
    end = log.next_seq
    while at is not None:
        at = limited.condense(store, at, kept, NOW_MS)
    return end


def balanced(store: Store, **wanted: int) -> None:
    account = store.account()
    assert list(account.problems()) == []
    assert {name: getattr(account, name) for name in wanted} == wanted


def test_what_must_wait_leaves_its_own_log_and_is_pending_as_before() -> None:
    filesystem = disk()
    store = opened(filesystem)
    limit(store, range(10), high=True)
    assert everything(store, NORMAL) == []
    assert numbers(everything(store)) == list(range(10))
    assert all(leased.is_high and not leased.is_replayed for leased in everything(store))
    balanced(store, accepted=10, pending=10)
    store.close()
    again = opened(filesystem)
    assert numbers(everything(again)) == list(range(10))
    balanced(again, accepted=10, pending=10)


def test_a_crash_after_the_move_leaves_each_trigger_once() -> None:
    filesystem = disk()
    store = opened(filesystem)
    limit(store, range(10))
    again = opened(filesystem)  # no checkpoint says that they moved
    assert everything(again, NORMAL) == []
    assert numbers(everything(again)) == list(range(10))
    balanced(again, accepted=10, pending=10)


def test_a_trigger_that_ended_meanwhile_is_not_moved() -> None:
    store = opened(disk())
    store.append([Group(NORMAL, [record(1, "a"), record(2, "a")], [(bytes(16), bytes(8)), (b"1" * 16, bytes(8))])])
    leased = store.read(NORMAL)
    store.release(NORMAL, leased[0].seq, SETTLED)
    limited.relocate(store, [HeldBack(one, high=False) for one in leased], NOW_MS)
    assert numbers(everything(store)) == [2]
    balanced(store, settled=1, pending=1)


def test_a_line_is_read_in_parts_up_to_where_it_is_known() -> None:
    store = opened(disk())
    limit(store, range(400))
    found: list[Leased] = []
    seq, until = 1, 300
    while seq <= until:
        part = limited.read_line(store, seq, until, lambda leased: leased.rule == "b", 20)
        assert len(part.found) <= 20
        assert part.next_seq > seq
        found += part.found
        seq = part.next_seq
    assert numbers(found) == list(range(1, 300, 2))


def test_a_log_of_which_little_is_left_is_condensed_in_order() -> None:
    filesystem = disk()
    store = opened(filesystem)
    limit(store, range(900), "abbbbbbbbb")
    assert not limited.is_sparse(store.log(LIMITED), 0)
    settle(store, "b")
    log = store.log(LIMITED)
    assert limited.is_sparse(log, 0)
    first, *others = everything(store)
    end = condensed(store, frozenset([first.seq]))
    assert [one.seq >= end for one in everything(store)] == [False, *[True] * len(others)]
    assert numbers(everything(store)) == list(range(0, 900, 10))
    assert limited.is_sparse(log, 0), "because of what stayed"
    assert not limited.is_sparse(log, end), "so it is not done again for nothing"
    store.release(LIMITED, first.seq, SETTLED)
    store.checkpoint()
    assert log.released.above(0) == (0, 0)
    assert len(log.segments) <= 2
    balanced(store, accepted=900, pending=89, settled=811)
    again = opened(filesystem)
    assert numbers(everything(again)) == list(range(10, 900, 10))
    assert limited.interrupted(again) is None
    balanced(again, accepted=900, pending=89, settled=811)


def test_many_holes_make_a_log_sparse_long_before_a_checkpoint_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited, "_MAX_RANGES", 40)
    store = opened(disk())
    limit(store, range(100))
    assert not limited.is_sparse(store.log(LIMITED), 0)
    settle(store, "b")
    assert limited.is_sparse(store.log(LIMITED), 0)
    condensed(store)
    assert not limited.is_sparse(store.log(LIMITED), 0)


@pytest.mark.parametrize("with_checkpoint", [False, True])
def test_condensing_that_a_crash_interrupted_is_finished_in_order(with_checkpoint: bool) -> None:
    filesystem = disk()
    store = opened(filesystem)
    limit(store, range(900))
    settle(store, "b")
    log = store.log(LIMITED)
    begun = Condensing(log.released.cursor, log.next_seq)
    assert limited.condense(store, begun, frozenset(), NOW_MS) is not None
    if with_checkpoint:
        store.checkpoint()
    again = opened(filesystem)
    assert numbers(everything(again), "a") != list(range(0, 900, 2)), "as the log has them now"
    left = limited.interrupted(again)
    assert left is not None
    assert left.end == begun.end
    at: Condensing | None = left
    while at is not None:
        at = limited.condense(again, at, frozenset(), NOW_MS)
    again.rewind(LIMITED, left.end)
    assert numbers(list(all_read(again)), "a") == list(range(0, 900, 2))
    assert limited.interrupted(again) is None


def all_read(store: Store) -> Iterator[Leased]:
    while part := store.read(LIMITED):
        yield from part


def test_an_empty_log_was_not_interrupted() -> None:
    assert limited.interrupted(opened(disk())) is None


def test_a_checkpoint_has_what_was_published_before_it_has_what_ended() -> None:
    filesystem = disk()
    store = opened(filesystem)
    limit(store, range(2))
    known = PublishedTriggers(NOW_MS, 5, BOOT, {"a": (FirstPublication(1, bytes(16)),)})
    store.rates.put(known)
    store.release(LIMITED, 1, SETTLED)
    store.checkpoint()
    assert opened(filesystem).rates.content == known


def test_a_checkpoint_is_written_for_what_was_published_alone() -> None:
    filesystem = disk()
    store = opened(filesystem)
    store.checkpoint()
    known = PublishedTriggers(NOW_MS, 5, BOOT, {"a": (FirstPublication(1, bytes(16)),)})
    store.rates.put(known)
    store.checkpoint()
    assert opened(filesystem).rates.content == known
