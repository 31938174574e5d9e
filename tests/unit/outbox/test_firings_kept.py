"""The last firings of rules in the store: right after a restart, a power cut, and where the segments are gone."""

from __future__ import annotations

import msgspec
import pytest

from edgeagent.errors import StorageFailed
from edgeagent.outbox.frame import Frame, FrameKind
from edgeagent.outbox.reader import LogReader
from edgeagent.outbox.recorded import recorded_page
from edgeagent.outbox.records import DEAD, DEAD_WAY, HIGH, LOGS, NORMAL, REPLAYED, SETTLED, Armed
from edgeagent.outbox.store import Store
from edgeagent.outbox.verify import verify_part
from edgeagent.rules.firings import MAX_FIRINGS, Firing
from tests.fakes.crash_filesystem import CrashFilesystem, Fate
from tests.fakes.stores import (
    A_SEGMENT,
    BOOT,
    DATA,
    DIRECTORY,
    LIMITS,
    balanced,
    disk,
    everything,
    group,
    opened,
    read_all,
    record,
    segment_of,
)

FILE = DIRECTORY / "firings"
RULES = frozenset({"r", "other"})
ARMED = Armed("boiler", ("r",))


def store_of(filesystem: CrashFilesystem) -> Store:
    return opened(filesystem, LIMITS, RULES)


def fire(store: Store, *event_ids: str, log: str = NORMAL) -> None:
    """Events come for which the rule fires, each in a commit of its own."""
    for event_id in event_ids:
        assert isinstance(store.append([group(log, record(event_id, data=DATA), remembered=RULES)])[0], int)


def arm(store: Store) -> None:
    """An event arms the rule, and is stored for none."""
    assert isinstance(store.append([group(NORMAL, ARMED, remembered=RULES)])[0], int)


def last(store: Store) -> list[tuple[str, str, bool]]:
    """Rule, event and whether it is armed of each firing, that which changed longest ago first."""
    return [(firing.rule, firing.event_id, firing.armed) for firing in store.firings]


def settle_all(store: Store) -> None:
    for leased in read_all(store):
        store.release(NORMAL, leased.seq, SETTLED)
    store.checkpoint()


def test_the_last_firing_of_a_rule_is_known_after_a_power_cut() -> None:
    filesystem = disk()
    store = store_of(filesystem)
    fire(store, "e1", "e2")
    store.append([group(HIGH, record("e3", ["other", "not asked for"], source="pump"), remembered=RULES)])
    expected = [
        Firing("r", "boiler", "e2", 1_000, 5, BOOT),
        Firing("other", "pump", "e3", 1_000, 5, BOOT),
    ]
    assert list(store.firings) == expected
    assert list(store_of(filesystem.crash(Fate.LOST)).firings) == expected


def test_what_arms_a_rule_is_kept_though_no_rule_stores_its_event() -> None:
    filesystem = disk()
    store = store_of(filesystem)
    arm(store)
    assert last(store) == [], "it never fired, so there is nothing to arm"
    fire(store, "e1")
    arm(store)
    assert last(store) == [("r", "e1", True)]
    assert last(store_of(filesystem.crash(Fate.LOST))) == [("r", "e1", True)]


def test_within_a_group_things_happened_in_the_order_in_which_they_stand() -> None:
    for entries, armed in (((record("e1"), ARMED), True), ((ARMED, record("e1")), False)):
        filesystem = disk()
        store = store_of(filesystem)
        fire(store, "e0")
        store.append([group(NORMAL, *entries, remembered=RULES)])
        assert last(store) == [("r", "e1", armed)]
        assert last(store_of(filesystem.survivor(Fate.LOST))) == [("r", "e1", armed)]


def test_an_event_that_only_arms_is_no_trigger_and_no_stored_event() -> None:
    filesystem = disk()
    store = store_of(filesystem)
    outcomes = store.append(
        [
            group(NORMAL, ARMED, remembered=RULES),
            group(NORMAL, record("e1", ["r", "other"]), ARMED, record("e2"), remembered=RULES),
            group(NORMAL, record("e3"), remembered=RULES),
        ]
    )
    assert outcomes == [1, 1, 4]
    arm(store)
    for after in (store, store_of(filesystem.survivor(Fate.LOST))):
        assert [(leased.seq, leased.record.id) for leased in everything(after)] == [
            (1, "e1"),
            (2, "e1"),
            (3, "e2"),
            (4, "e3"),
        ]
        assert (after.events.stored, after.events.received, after.account().accepted) == (3, 3, 4)
        assert balanced(after)
        part = verify_part(after, NORMAL, 1)
        assert (part.records, part.triggers, part.damaged, part.next_seq) == (3, 4, (), None)
        assert [trigger.id for trigger in recorded_page(after, NORMAL, 0).triggers] == ["e1", "e2", "e3"]
        items = LogReader(after.log(NORMAL), 1).read(100, 1 << 20)
        assert {item.kind for item in items if isinstance(item, Frame)} == {FrameKind.EVENT}
    assert [frame.kind.name for frame in segment_of(filesystem, 1)[2]] == [
        *("BATCH", "ARMED"),
        *("BATCH", "EVENT", "ARMED", "EVENT", "EVENT"),
        *("BATCH", "ARMED"),
    ]


def test_segments_of_nothing_but_what_arms_rules_hold_nobody_up() -> None:
    filesystem = disk()
    store = store_of(filesystem)
    fire(store, "e1")
    for _ in range(2):  # a segment each
        store.close()
        store = store_of(filesystem)
        arm(store)
    store.close()
    store = store_of(filesystem)
    fire(store, "e2")
    assert [leased.record.id for leased in read_all(store)] == ["e1", "e2"]
    assert last(store) == [("r", "e2", False)]
    assert balanced(store)
    for seq in (1, 2):
        store.release(NORMAL, seq, SETTLED)
    store.checkpoint()
    assert last(store_of(filesystem.crash(Fate.LOST))) == [("r", "e2", False)]


def test_damage_to_what_arms_a_rule_costs_no_trigger() -> None:
    filesystem = disk()
    store = store_of(filesystem)
    fire(store, "e1")
    arm(store)
    store.close()
    store = store_of(filesystem)
    fire(store, "e2")
    path, _, frames = segment_of(filesystem, 1)
    for frame in [frame for frame in frames if frame.offset > frames[1].offset]:
        filesystem.damage(path, frame.offset - 40, b"\xff" * 60)
    after = store_of(filesystem.survivor(Fate.LOST))
    assert [leased.record.id for leased in read_all(after)] == ["e1", "e2"]
    assert after.account().damaged == 0
    assert verify_part(after, NORMAL, 1).damaged == ()


def test_firings_are_known_when_the_segments_of_their_events_are_gone() -> None:
    filesystem = disk()
    store = store_of(filesystem)
    fire(store, *(f"e{number}" for number in range(3 * A_SEGMENT)))
    arm(store)
    settle_all(store)
    assert not [path for path in filesystem.files() if path.parent.name == NORMAL], "not even the newest one is left"
    for fate in Fate:
        assert last(store_of(filesystem.survivor(fate))) == [("r", f"e{3 * A_SEGMENT - 1}", True)]


def test_what_came_after_the_file_counts_in_the_order_in_which_it_came_to_both_logs() -> None:
    filesystem = disk()
    store = store_of(filesystem)
    for number in range(3 * A_SEGMENT):
        fire(store, f"e{number}", log=HIGH if number % 3 else NORMAL)
        assert last(store_of(filesystem.survivor(Fate.LOST))) == [("r", f"e{number}", False)]


def test_a_trigger_that_is_put_back_is_no_firing() -> None:
    filesystem = disk()
    store = store_of(filesystem)
    fire(store, "e1", "e2")
    leased = store.read(NORMAL)[0]
    store.move(leased, DEAD, DEAD_WAY, reason="no", code=400, attempts=1)
    [letter] = everything(store, DEAD)
    store.move(letter, NORMAL, REPLAYED, reason="", code=0, attempts=0)
    assert last(store_of(filesystem.crash(Fate.LOST))) == [("r", "e2", False)]


def test_only_the_rules_that_ask_are_remembered_and_others_are_forgotten() -> None:
    filesystem = disk()
    store = store_of(filesystem)
    fire(store, *(f"e{number}" for number in range(A_SEGMENT + 1)))  # in the file, and behind it
    assert last(opened(filesystem.survivor(), LIMITS, {"other"})) == []
    assert last(opened(filesystem.survivor())) == []


def test_an_agent_none_of_whose_rules_asks_has_no_such_file() -> None:
    filesystem = disk()
    store = opened(filesystem)
    for number in range(3 * A_SEGMENT):
        store.append([group(NORMAL, record(f"e{number}", data=DATA))])
    settle_all(store)
    assert FILE not in filesystem.files()


@pytest.mark.parametrize("content", [b"", b"\xff", b"\x92\x90", b"\x92\x91\x01\x02", b"\x01"])
def test_a_file_that_cannot_be_read_is_told_and_counts_as_empty(
    content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    filesystem = disk()
    filesystem.replace(FILE, content)
    store = store_of(filesystem)
    assert last(store) == []
    assert [vars(entry)["event"] for entry in caplog.records] == ["outbox_firings_lost"]
    fire(store, "e1")
    assert last(store_of(filesystem.crash(Fate.LOST))) == [("r", "e1", False)]


def test_a_file_that_the_disk_does_not_read_does_not_keep_the_store_from_opening() -> None:
    filesystem = disk()
    fire(store_of(filesystem), *(f"e{number}" for number in range(A_SEGMENT + 1)))
    filesystem.fails = lambda _number, name: name == "read" and len(filesystem.refused) < 1
    filesystem.replace(DIRECTORY / "recent", b"")
    assert len(everything(store_of(filesystem))) == A_SEGMENT + 1


def test_the_newest_segment_stays_while_the_disk_takes_no_file_that_must_know_of_it() -> None:
    filesystem = disk()
    store = store_of(filesystem)
    fire(store, *(f"e{number}" for number in range(A_SEGMENT)))
    filesystem.fails = lambda _number, name: name == "replace"
    settle_all(store)
    segments = [path for path in filesystem.files() if path.parent.name == NORMAL]
    assert len(segments) == 1
    assert last(store_of(filesystem.survivor(Fate.LOST))) == [("r", f"e{A_SEGMENT - 1}", False)]
    filesystem.fails = lambda _number, _name: False
    store.checkpoint()
    assert not [path for path in filesystem.files() if path.parent.name == NORMAL]
    assert last(store_of(filesystem.survivor(Fate.LOST))) == [("r", f"e{A_SEGMENT - 1}", False)]


@pytest.mark.parametrize("seed", range(20))
def test_a_file_that_a_process_before_has_replaced_and_not_synced_is_written_again(seed: int) -> None:
    filesystem = disk(seed)
    store = store_of(filesystem)
    fire(store, *(f"e{number}" for number in range(A_SEGMENT)))
    filesystem.fails = lambda _number, name: name == "replace"
    # The next segment is not begun; the file that is seen, and the one on the disk, are the old or the new one.
    assert isinstance(store.append([group(NORMAL, record("e", data=DATA))])[0], StorageFailed)
    filesystem.fails = lambda _number, _name: False
    store = store_of(filesystem)
    for number in range(2 * A_SEGMENT):
        assert store.append([group(NORMAL, record(f"o{number}", ["not asked for"], DATA))]) == [A_SEGMENT + 1 + number]
    assert last(store_of(filesystem.crash(Fate.LOST))) == [("r", f"e{A_SEGMENT - 1}", False)]


def test_a_full_disk_is_given_back_what_is_settled_where_no_rule_asks() -> None:
    filesystem = disk()
    store = opened(filesystem)
    for number in range(A_SEGMENT):
        store.append([group(NORMAL, record(f"e{number}", data=DATA))])
    filesystem.fails = lambda _number, name: name == "replace"
    settle_all(store)
    assert not [path for path in filesystem.files() if path.parent.name in LOGS]


def test_what_is_refused_is_no_firing() -> None:
    filesystem = disk()
    store = store_of(filesystem)
    fire(store, "e1")
    filesystem.fails = lambda _number, name: name == "sync"
    [outcome] = store.append([group(NORMAL, record("e2"), remembered=RULES)])
    assert isinstance(outcome, StorageFailed)
    assert last(store) == [("r", "e1", False)]


def test_ever_new_sources_do_not_fill_the_file() -> None:
    filesystem = disk()
    store = opened(filesystem, msgspec.structs.replace(LIMITS, max_bytes=64 << 20, segment_bytes=4 << 20), RULES)
    count = MAX_FIRINGS + 10
    for start in range(0, count, 1000):
        sources = [f"s{number}" for number in range(start, min(start + 1000, count))]
        store.append([group(NORMAL, *(record("e", source=source) for source in sources), remembered=RULES)])
    assert len(list(store.firings)) == MAX_FIRINGS
    store.close()
    after = opened(filesystem, msgspec.structs.replace(LIMITS, max_bytes=64 << 20, segment_bytes=4 << 20), RULES)
    assert [firing.source for firing in after.firings] == [f"s{number}" for number in range(10, count)]
