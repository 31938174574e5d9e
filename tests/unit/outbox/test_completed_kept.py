"""MQTT deliveries at QoS 2 in the store: which packet ids stand for which event, after a restart or a power cut."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgeagent.errors import StorageFailed
from edgeagent.events.dedupe import EXACTLY_ONCE, OPEN_DELIVERIES
from edgeagent.outbox.frame import Frame
from edgeagent.outbox.reader import LogReader
from edgeagent.outbox.records import HIGH, NORMAL, SETTLED, Completed, Group, digest_of
from edgeagent.outbox.store import Store
from tests.architecture.source import ROOT
from tests.fakes.crash_filesystem import Fate
from tests.fakes.stores import A_SEGMENT, DATA, DIRECTORY, disk, opened, read_all, record

FATES = [Fate.LOST, Fate.TORN]
GOLDEN = ROOT / "tests/golden/completed-v1.bin"
MANY = 2 * A_SEGMENT + 1


def came(store: Store, packet_id: int, event_id: str, *, log: str = NORMAL, qos: int = 2) -> None:
    """A message becomes an event."""
    number = packet_id + (EXACTLY_ONCE if qos == 2 else 0)
    entry = msgspec.structs.replace(record(event_id, data=DATA), delivery=("s", number))
    assert isinstance(store.append([Group(log, [entry], [(b"", digest_of(entry))])])[0], int)


def completed(store: Store, *packet_ids: int) -> None:
    """PUBREL came for these."""
    group = Group(NORMAL, (), (), completed=[Completed("s", tuple(each + EXACTLY_ONCE for each in packet_ids))])
    assert isinstance(store.append([group])[0], int)


def known(store: Store) -> dict[int, str]:
    """The event that each packet id at QoS 2 stands for."""
    found = store.recent.deliveries()
    return {each.packet_id - EXACTLY_ONCE: each.event_id for each in found if each.packet_id >= EXACTLY_ONCE}


def test_the_golden_record_is_read_and_written() -> None:
    content = Completed("1f2e3d4c", (EXACTLY_ONCE + 17, EXACTLY_ONCE + 65535))
    assert msgspec.msgpack.decode(GOLDEN.read_bytes(), type=Completed) == content
    assert msgspec.msgpack.encode(content) == GOLDEN.read_bytes()


@pytest.mark.parametrize("fate", FATES)
def test_a_packet_id_stands_for_its_event_until_it_is_completed_and_then_for_the_next_one(fate: Fate) -> None:
    filesystem = disk()
    store = opened(filesystem)
    came(store, 1, "a")
    came(store, 2, "b", log=HIGH)
    came(store, 1, "at qos 1", qos=1)
    store = opened(filesystem := filesystem.crash(fate))
    assert known(store) == {1: "a", 2: "b"}
    completed(store, 1, 2)
    store = opened(filesystem := filesystem.crash(fate))
    assert known(store) == {}
    assert [each.event_id for each in store.recent.deliveries()] == ["at qos 1"]
    came(store, 1, "c")
    store = opened(filesystem.crash(fate))
    assert known(store) == {1: "c"}
    assert [leased.record.id for leased in read_all(store)] == ["a", "at qos 1", "c"]


@pytest.mark.parametrize("fate", FATES)
def test_it_is_known_also_when_the_segments_are_gone(fate: Fate) -> None:
    filesystem = disk()
    store = opened(filesystem)
    for number in range(1, MANY):
        came(store, number, f"e{number}")
    completed(store, *range(2, MANY))
    for leased in read_all(store):
        store.release(NORMAL, leased.seq, SETTLED)
    store.checkpoint()
    assert known(opened(filesystem.crash(fate))) == {1: "e1"}


def test_many_others_push_out_what_is_complete_and_not_what_may_come_again() -> None:
    filesystem = disk()
    store = opened(filesystem)
    came(store, 7, "waits")
    for start in range(0, 3 * OPEN_DELIVERIES, 1000):
        entries = [
            msgspec.structs.replace(record(f"e{number}", data=b"{}"), delivery=("other", number))
            for number in range(start, start + 1000)
        ]
        store.append([Group(NORMAL, [entry], [(b"", digest_of(entry))]) for entry in entries])
    assert known(store) == {7: "waits"}
    assert known(opened(filesystem.crash(Fate.LOST))) == {7: "waits"}


def test_completions_without_events_take_no_segments_for_ever() -> None:
    filesystem = disk()
    store = opened(filesystem)
    for number in range(200 * A_SEGMENT):
        completed(store, number % 60_000 + 1)
        if not number % 50:
            store.checkpoint()
    assert store.used_bytes < store.limits.max_bytes // 2
    assert len([path for path in filesystem.files() if path.parent == DIRECTORY / NORMAL]) <= 3


def test_what_completed_a_delivery_is_not_forgotten_when_its_file_cannot_be_written() -> None:
    filesystem = disk()
    store = opened(filesystem)
    came(store, 1, "a", log=HIGH)
    completed(store, 1)
    for number in range(2, A_SEGMENT + 1):  # more than half a segment
        came(store, number, "b")
    for leased in read_all(store):
        store.release(NORMAL, leased.seq, SETTLED)  # the segment with what completed it could go, its own could not
    replace = filesystem.replace

    def refuse(path: Path, data: bytes) -> None:
        if path.name == "recent":
            raise StorageFailed("replace", str(path), "no space left on device")
        replace(path, data)

    filesystem.replace = refuse  # type: ignore[method-assign]
    store.checkpoint()
    assert 1 not in known(opened(filesystem.crash(Fate.LOST)))


def test_a_reader_of_triggers_passes_by_completions() -> None:
    store = opened(disk())
    came(store, 1, "a")
    completed(store, 1)
    came(store, 1, "b")
    items = LogReader(store.log(NORMAL), 1).read(100, 1 << 20)
    assert [item.seq for item in items if isinstance(item, Frame)] == [1, 2]
