from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.events.dedupe import OPEN_DELIVERIES
from edgeagent.outbox.recent import Delivery, Recent
from tests.fakes.crash_filesystem import CrashFilesystem
from tests.fakes.stores import disk

PATH = Path("/outbox/recent")


def key(number: int) -> bytes:
    return f"{number:016d}".encode()


def recent_of(count: int, capacity: int) -> Recent:
    recent = Recent(capacity)
    for number in range(count):
        recent.add(key(number), b"digest..", Delivery("session", number, b"digest..", f"e{number}"))
    return recent


def saved(recent: Recent) -> CrashFilesystem:
    filesystem = disk()
    recent.save(filesystem, PATH, 7)
    return filesystem


def test_the_last_events_are_found_again_in_their_order() -> None:
    again = Recent.load(saved(recent_of(5, 10)), PATH, 10)
    assert again.keys() == [(key(number), b"digest..") for number in range(5)]
    assert [delivery.event_id for delivery in again.deliveries()] == ["e0", "e1", "e2", "e3", "e4"]
    assert again.batch == 7


def test_no_more_events_are_kept_than_the_horizon_has() -> None:
    recent = recent_of(100, 10)
    assert recent.keys() == [(key(number), b"digest..") for number in range(90, 100)]
    assert len(saved(recent_of(1000, 10)).files()[PATH]) < 10 * 24 + 1000 * 40
    assert Recent.load(saved(recent_of(10, 10)), PATH, 3).keys() == [(key(number), b"digest..") for number in (7, 8, 9)]


def test_a_horizon_of_none_keeps_none() -> None:
    assert recent_of(5, 0).keys() == []


def test_no_more_deliveries_are_kept_than_can_come_again() -> None:
    recent = recent_of(3 * OPEN_DELIVERIES, 10)
    assert [delivery.packet_id for delivery in recent.deliveries()] == list(
        range(2 * OPEN_DELIVERIES, 3 * OPEN_DELIVERIES)
    )


@pytest.mark.parametrize("content", [b"", b"\xff", b"\x93", b"\x92\xc4\x00\x90", b"\x01", b"x" * 100, b"\xa2\xff\xff"])
def test_an_unreadable_file_counts_as_empty(content: bytes) -> None:
    filesystem = disk()
    filesystem.replace(PATH, content)
    recent = Recent.load(filesystem, PATH, 10)
    assert (recent.keys(), recent.deliveries(), recent.batch) == ([], [], 0)


def test_an_absent_file_counts_as_empty() -> None:
    assert Recent.load(disk(), PATH, 10).keys() == []
