from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.outbox.records import HIGH, NORMAL, WINDOWS, Armed, Group, Leased
from edgeagent.outbox.tail import _MAX_TRIGGERS, Tails
from tests.fakes.outbox import SEGMENT_BYTES, running_outbox
from tests.fakes.stores import BOOT, group, ids, record

pytestmark = pytest.mark.virtual_time


def tails(next_seq: int = 1, end: int = 1) -> Tails:
    return Tails({NORMAL: next_seq, HIGH: 1}, {NORMAL: end, HIGH: 1}, BOOT)


def one(name: str, *, log: str = NORMAL) -> Group:
    return group(log, record(name, ["r1", "r2"]))


def added(tail: Tails, seq: int, name: str) -> None:
    tail.added(one(name), seq, {NORMAL: seq + 2, HIGH: 1})


def seqs(leased: list[Leased] | None) -> list[int] | None:
    return None if leased is None else [entry.seq for entry in leased]


def test_what_comes_behind_everything_leased_is_handed_out_from_memory_once() -> None:
    tail = tails()
    assert tail.take(NORMAL) == []
    added(tail, 1, "a")
    added(tail, 3, "b")
    leased = tail.take(NORMAL)
    assert leased is not None
    assert [(entry.seq, entry.record.id, entry.rule, entry.boot) for entry in leased] == [
        (1, "a", "r1", BOOT),
        (2, "a", "r2", BOOT),
        (3, "b", "r1", BOOT),
        (4, "b", "r2", BOOT),
    ]
    assert tail.take(NORMAL) == []
    assert tail.handed_out() == {NORMAL: 5, HIGH: 1}


def test_what_arms_a_rule_is_no_trigger() -> None:
    tail = tails()
    armed = Armed("boiler", ("r1",))
    tail.added(group(NORMAL, armed), 1, {NORMAL: 1, HIGH: 1})
    tail.added(group(NORMAL, armed, record("a"), armed, record("b")), 1, {NORMAL: 3, HIGH: 1})
    assert seqs(tail.take(NORMAL)) == [1, 2]
    assert tail.take(NORMAL) == []


def test_a_log_that_takes_no_events_is_on_the_disk() -> None:
    assert tails().take(WINDOWS) is None


def test_behind_a_backlog_on_disk_nothing_is_kept_in_memory() -> None:
    tail = tails(next_seq=1, end=101)
    added(tail, 101, "a")
    assert tail.take(NORMAL) is None
    tail.leased(NORMAL, 103)
    assert tail.take(NORMAL) == []
    added(tail, 103, "b")
    assert seqs(tail.take(NORMAL)) == [103, 104]


def test_it_is_bounded_and_the_disk_goes_on_where_it_ends() -> None:
    tail = tails()
    for number in range(_MAX_TRIGGERS):
        added(tail, 2 * number + 1, str(number))
    assert seqs(tail.take(NORMAL)) == list(range(1, _MAX_TRIGGERS + 1))
    assert tail.handed_out()[NORMAL] == _MAX_TRIGGERS + 1
    assert tail.take(NORMAL) is None


def test_a_job_that_must_find_all_on_the_disk_does() -> None:
    tail = tails()
    added(tail, 1, "a")
    assert tail.put_back()[NORMAL] == 1
    with tail.closed():
        added(tail, 3, "b")
    assert tail.take(NORMAL) is None


@given(st.lists(st.sampled_from(["commit", "take", "put back", "closed commit"]), max_size=60))
def test_every_trigger_comes_once_and_in_order_from_memory_or_from_the_disk(steps: list[str]) -> None:
    tail, end, leased = tails(), 1, list[int]()
    for step in steps:
        if step == "commit":
            added(tail, end, "e")
            end += 2
        elif step == "closed commit":
            with tail.closed():
                added(tail, end, "e")
            end += 2
        elif step == "put back":
            tail.put_back()
        else:
            found = seqs(tail.take(NORMAL))
            if found is None:  # the disk is read from where it was handed out
                found = list(range(tail.handed_out()[NORMAL], end))
                tail.leased(NORMAL, end)
            leased += found
    assert leased == list(range(1, len(leased) + 1))


async def test_what_is_only_kept_in_memory_gives_way_when_the_oldest_must(tmp_path: Path) -> None:
    data = b"x" * 4000
    async with running_outbox(tmp_path, max_bytes=8 * SEGMENT_BYTES, drop_oldest=True) as outbox:
        await outbox.append(group(NORMAL, record("e0", data=data)))
        assert ids(await outbox.lease(NORMAL)) == ["e0"], "leased: it stays"
        for number in range(1, 150):
            await outbox.append(group(NORMAL, record(f"e{number}", data=data)))
        await outbox.barrier()
        account = outbox.health.account
        assert account.accepted == 150
        assert account.dropped > 0
        assert account.pending == 150 - account.dropped
        left: list[int] = []
        while part := await outbox.lease(NORMAL):
            left += [entry.seq for entry in part]
        assert left == list(range(151 - len(left), 151))
        assert len(left) == account.pending - 1


def test_an_end_that_is_told_late_hides_nothing_that_was_committed_since() -> None:
    """A job on the disk tells its caller a turn of the loop later than a commit behind it does."""
    tail = tails()
    with tail.closed():
        added(tail, 1, "a")
        tail.reach({NORMAL: 1, HIGH: 1})
    assert tail.take(NORMAL) is None
