from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from edgeagent.common.elapsed import Instant
from edgeagent.errors import DeadLettersFull, OutboxFull
from edgeagent.outbox.records import (
    DEAD,
    DEAD_WAY,
    EXPIRED,
    HIGH,
    NORMAL,
    PARKED,
    PARKED_WAY,
    REPLAYED,
    SETTLED,
    DeadLimits,
    OutboxLimits,
)
from edgeagent.outbox.store import Store
from tests.fakes.crash_filesystem import CrashFilesystem, Fate
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
    segment_of,
)

SET_MS = 1_800_000_000_000  # what a clock says that is right
AGING = msgspec.structs.replace(LIMITS, max_age_ms=1000)
DROPPING = msgspec.structs.replace(LIMITS, drop_oldest=True)


def test_the_oldest_triggers_give_way_and_their_exact_range_is_told(caplog: pytest.LogCaptureFixture) -> None:
    store = opened(disk(), DROPPING)
    fill(store, 10 * A_SEGMENT)
    account = store.account()
    assert account.accepted == 10 * A_SEGMENT
    assert account.dropped == account.accepted - account.pending > 0
    assert store.used_bytes <= DROPPING.max_bytes
    assert balanced(store)
    left = everything(store)
    assert ids(left) == [f"e{number}" for number in range(account.dropped + 1, account.accepted + 1)]
    told = [entry for entry in caplog.records if getattr(entry, "event", "") == "outbox_dropped"]
    assert sum(getattr(entry, "lost") for entry in told) == account.dropped  # noqa: B009  not known to the type
    assert next((loss.first_seq, loss.last_seq) for loss in store.losses.last) == (1, A_SEGMENT)
    assert ids(read_all(store)) == ids(left), "the reader goes on behind what was dropped"


def test_what_is_leased_is_never_dropped() -> None:
    store = opened(disk(), DROPPING)
    fill(store, A_SEGMENT + 1)
    leased = read_all(store)
    fill(store, 10 * A_SEGMENT, first=100)
    released = [store.release(NORMAL, entry.seq, SETTLED) for entry in leased]
    assert all(released), "each was still there"
    assert store.account().dropped > 0
    assert balanced(store)


def test_normal_triggers_give_way_before_high_ones() -> None:
    store = opened(disk(), DROPPING)
    fill(store, 2 * A_SEGMENT, HIGH)
    fill(store, 8 * A_SEGMENT, NORMAL, first=100)
    assert len(everything(store, HIGH)) == 2 * A_SEGMENT
    assert store.account().dropped > 0


def test_what_was_dropped_stays_dropped_across_a_crash() -> None:
    filesystem = disk()
    store = opened(filesystem, DROPPING)
    fill(store, 10 * A_SEGMENT)
    before = store.account()
    after = opened(filesystem.survivor(), DROPPING)
    assert after.account() == before
    assert ids(everything(after)) == ids(everything(store))


def test_refusing_is_the_policy_unless_another_is_asked_for() -> None:
    store = opened(disk())
    outcomes = [store.append([group(NORMAL, record(f"e{number}", data=DATA))])[0] for number in range(100)]
    assert any(isinstance(outcome, OutboxFull) for outcome in outcomes)
    assert store.account().dropped == 0


def _aging(
    filesystem: CrashFilesystem,
    now_ms: list[int],
    uptime_ms: Sequence[int] = (0,),
    limits: OutboxLimits = AGING,
) -> Store:
    return Store(
        filesystem,
        DIRECTORY,
        limits,
        boot=BOOT,
        new_salt=lambda: filesystem.random.getrandbits(32),
        now_ms=lambda: now_ms[0],
        uptime_ms=lambda: uptime_ms[0],
    )


def test_segments_older_than_the_largest_age_expire_even_while_nobody_reads() -> None:
    now_ms = [SET_MS]
    store = _aging(disk(), now_ms)
    fill(store, 2 * A_SEGMENT)
    now_ms[0] += 5_000
    fill(store, 2 * A_SEGMENT, first=100)
    account = store.account()
    assert account.expired == A_SEGMENT, "the first segment; the second was still written to later"
    assert [loss.reason for loss in store.losses.last] == ["older than outbox.max_age"]
    assert balanced(store)


def test_a_gateway_that_booted_in_1970_loses_nothing_when_the_time_is_put_right() -> None:
    filesystem, now_ms = disk(), [5_000]
    store = _aging(filesystem, now_ms)
    fill(store, 2 * A_SEGMENT)
    now_ms[0] = 3_600_000  # an hour later: its age is told by a clock that is wrong
    fill(store, A_SEGMENT, first=100)
    assert store.account().expired == 0
    now_ms[0] = SET_MS
    fill(store, A_SEGMENT, first=200)
    assert store.account().expired == 0
    store.close()
    store = _aging(filesystem, now_ms)
    fill(store, 1, first=300)
    assert store.account().pending == 4 * A_SEGMENT + 1
    now_ms[0] += 5_000
    fill(store, A_SEGMENT, first=400)
    assert store.account().expired == 4 * A_SEGMENT, "all that came before the last segment that was begun in time"
    assert balanced(store)


def test_a_clock_that_is_wrong_now_expires_nothing() -> None:
    filesystem, now_ms = disk(), [SET_MS]
    store = _aging(filesystem, now_ms)
    fill(store, 2 * A_SEGMENT)
    now_ms[0] = 5_000
    fill(store, A_SEGMENT, first=100)
    assert store.account().expired == 0


@pytest.mark.parametrize("opened_again", [False, True])
def test_a_clock_that_jumps_ahead_expires_nothing_of_this_boot(*, opened_again: bool) -> None:
    filesystem, now_ms, uptime_ms = disk(), [SET_MS], [50_000]
    store = _aging(filesystem, now_ms, uptime_ms)
    fill(store, 2 * A_SEGMENT)
    uptime_ms[0] += 10
    now_ms[0] += 40 * 86_400_000
    if opened_again:
        store.close()
        store = _aging(filesystem, now_ms, uptime_ms)
    fill(store, 2 * A_SEGMENT, first=100)
    assert store.account().expired == 0
    uptime_ms[0] += 5_000
    now_ms[0] += 5_000
    fill(store, A_SEGMENT, first=200)
    assert store.account().expired == 3 * A_SEGMENT, "by the machine's own clock they are older now"
    assert balanced(store)


def test_a_clock_that_jumps_ahead_expires_no_dead_letter_of_this_boot() -> None:
    now_ms, uptime_ms = [SET_MS], [50_000]
    store = _aging(disk(), now_ms, uptime_ms, dying(max_age_ms=1000))
    buried(store, 3)
    now_ms[0] += 40 * 86_400_000
    uptime_ms[0] += 10
    assert store.dead.cut_older(Instant(now_ms[0], uptime_ms[0], BOOT)) is None
    assert store.dead.cut_older(Instant(now_ms[0], uptime_ms[0] + 2000, BOOT)) is not None


def test_a_segment_that_is_younger_than_the_largest_age_keeps_those_behind_it() -> None:
    now_ms = [SET_MS]
    store = _aging(disk(), now_ms)
    fill(store, A_SEGMENT)
    now_ms[0] += 5_000
    fill(store, A_SEGMENT, first=100)
    now_ms[0] -= 5_000  # the clock goes back
    fill(store, A_SEGMENT, first=200)
    now_ms[0] += 5_500
    fill(store, A_SEGMENT, first=300)
    assert store.account().expired == 0


def test_a_parked_trigger_leaves_its_log_and_is_read_again_and_again() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 3)
    for leased in read_all(store)[:2]:
        store.move(leased, PARKED, PARKED_WAY, reason="nobody answered", code=0, attempts=20)
    assert ids(everything(store)) == ["e3"]
    assert (store.account().pending, store.parked) == (3, 2)
    assert balanced(store)
    first = store.read(PARKED)
    assert ids(first) == ["e1", "e2"]
    assert store.read(PARKED) == []
    store.rewind(PARKED)
    assert ids(store.read(PARKED)) == ["e1", "e2"]
    assert store.release(PARKED, first[0].seq, EXPIRED)
    store.move(first[1], DEAD, DEAD_WAY, reason="refused", code=400, attempts=1)
    account = store.account()
    assert (account.pending, account.expired, account.dead) == (1, 1, 1)
    after = opened(filesystem.survivor())
    assert after.account().dead == 1
    assert balanced(after)


def test_damaged_bytes_are_put_aside() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 2 * A_SEGMENT)
    path, data, frames = segment_of(filesystem, 1)
    frame = next(frame for frame in frames if frame.seq == 2 and frame.count)
    filesystem.damage(path, frame.offset + 30, b"\xff")
    read_all(store)
    (kept,) = [found for name, found in filesystem.files().items() if name.parent == DIRECTORY / "quarantine"]
    expected = bytearray(data[frame.offset : frame.end])
    expected[30] = 0xFF
    assert kept == bytes(expected)
    assert store.account().damaged == 1


def buried(store: Store, count: int, first: int = 1) -> None:
    """So many dead letters more."""
    fill(store, count, first=first)
    for leased in read_all(store):
        store.move(leased, DEAD, DEAD_WAY, reason="no", code=400, attempts=1)


def dying(**limits: Any) -> OutboxLimits:
    return msgspec.structs.replace(LIMITS, max_bytes=1 << 20, dead=DeadLimits(**limits))


def test_dead_letters_are_bounded_by_bytes() -> None:
    filesystem = disk()
    limits = dying(max_bytes=2 * SEGMENT_BYTES)
    store = opened(filesystem, limits)
    with pytest.raises(DeadLettersFull, match=rf"dead letters take {2 * SEGMENT_BYTES} bytes .outbox.dead_max_bytes"):
        buried(store, 10 * A_SEGMENT)
    assert store.dead.health().full
    assert store.log(DEAD).used_bytes == 2 * SEGMENT_BYTES
    assert balanced(store)


def test_the_oldest_dead_letters_give_way_by_bytes_and_a_crash_brings_none_back() -> None:
    filesystem = disk()
    limits = dying(max_bytes=2 * SEGMENT_BYTES, when_full="drop_oldest")
    store = opened(filesystem, limits)
    buried(store, 10 * A_SEGMENT)
    account = store.account()
    assert account.dropped > 0
    assert account.dropped + account.dead == account.accepted == 10 * A_SEGMENT
    assert store.log(DEAD).used_bytes <= 2 * SEGMENT_BYTES
    left = ids(everything(store, DEAD))
    assert left == [f"e{number}" for number in range(account.dropped + 1, 10 * A_SEGMENT + 1)]
    assert sum(loss.count for loss in store.losses.last) == account.dropped
    again = opened(filesystem.crash(Fate.LOST), limits)
    assert again.account() == account, "the counter changed with what it counts"
    assert ids(everything(again, DEAD)) == left


def test_one_segment_of_dead_letters_is_enough_to_go_round() -> None:
    store = opened(disk(), dying(max_bytes=SEGMENT_BYTES, when_full="drop_oldest"))
    buried(store, 5 * A_SEGMENT)
    assert store.log(DEAD).used_bytes <= SEGMENT_BYTES
    assert 0 < store.account().dead < store.account().accepted
    assert balanced(store)


def test_dead_letters_older_than_their_largest_age_expire_whatever_the_clock_said_in_between() -> None:
    now_ms = [SET_MS]
    store = opened(disk(), dying(max_age_ms=1000, max_count=8), now_ms=lambda: now_ms[0])
    buried(store, 3)
    now_ms[0] = 5_000  # a boot in 1970
    buried(store, 2, first=4)
    assert store.dead.cut_older(Instant(SET_MS + 5000, 0, BOOT)) is not None, "three of which the time is known"
    assert ids(everything(store, DEAD)) == ["e4", "e5"], "how old they are is not known"
    now_ms[0] = SET_MS + 5000
    buried(store, 6, first=6)
    assert (store.account().expired, store.account().dead) == (3, 8)
    now_ms[0] = SET_MS + 7000
    buried(store, 1, first=12)
    assert ids(everything(store, DEAD)) == ["e12"]
    assert store.account().expired == 11
    assert store.dead.health().oldest_ms == SET_MS + 7000
    assert balanced(store)


def test_a_dead_letter_that_is_replayed_does_not_expire_while_room_is_made_for_it() -> None:
    now_ms = [SET_MS]
    store = opened(disk(), dying(max_age_ms=1000), now_ms=lambda: now_ms[0])
    buried(store, 3)
    fill(store, A_SEGMENT - 3, first=4)  # so that the next one begins a segment, and then what is too old expires
    now_ms[0] = SET_MS + 5000
    for leased in everything(store, DEAD):
        store.move(leased, NORMAL, REPLAYED, reason="", code=0, attempts=0)
    assert sorted(ids(everything(store))) == ["e1", "e2", "e3", "e4"]
    assert (store.account().dead, store.account().expired) == (0, 0)
    assert balanced(store)
