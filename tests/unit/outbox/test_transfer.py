from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import msgspec
import pytest

from edgeagent.errors import CommandFailed, MessageError, OutboxFull, RecordTooLarge
from edgeagent.events.event import Record
from edgeagent.outbox.exportfile import ExportReader, ExportWriter
from edgeagent.outbox.records import DEAD, DEAD_WAY, EXPORTED, HIGH, NORMAL, REPLAYED, SETTLED, WINDOWS, OutboxLimits
from edgeagent.outbox.store import Store
from edgeagent.outbox.transfer import release_exported, take_in, waiting_page
from edgeagent.ports.transfer import Checker, ExportedTrigger, Lines, exported_trigger, imported_record
from tests.fakes.crash_filesystem import CrashFilesystem, Fate, PowerCut
from tests.fakes.stores import (
    DATA,
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

GOLDEN = Path(__file__).parents[2] / "golden" / "export-v1.jsonl"
DOCUMENT = Path(__file__).parents[3] / "docs" / "format.md"
DIGEST = "ab" * 32
FULL = Record(
    agent="gw-042",
    source="boiler-1",
    id="018f-7",
    type="reading",
    time="2026-03-20T11:00:00.250Z",
    data='{"temp":97.1,"unit":"°C"}'.encode(),
    is_json=True,
    rules=("overheat", "log"),
    accepted_ms=1_774_004_400_250,
    uptime_ms=86_400_000,
    subject="drum",
    datacontenttype="application/json",
    traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    topic="plant/boiler-1",
)
OPAQUE = Record("gw-042", "pump", "2", "event", "2026-03-20T11:00:01Z", b"\x00\xff", False, ("log",), 1, 7)


def triggers(count: int, log: str = NORMAL) -> list[ExportedTrigger]:
    return [exported_trigger(record(f"i{number}", data=DATA), "r", log) for number in range(1, count + 1)]


def lines(*exported: ExportedTrigger) -> list[bytes]:
    made = Lines()
    return [
        made.header("gw-042", "2026-03-21T08:00:00.000Z"),
        *(made.trigger(trigger) for trigger in exported),
        made.end(),
    ]


def golden_lines() -> list[bytes]:
    return lines(
        exported_trigger(FULL, "overheat", HIGH),
        exported_trigger(FULL, "log", HIGH),
        exported_trigger(OPAQUE, "log", NORMAL),
    )


def read(*given: bytes) -> list[ExportedTrigger]:
    checker = Checker()
    taken = [item for line in given if isinstance(item := checker.take(line), ExportedTrigger)]
    checker.finish()
    return taken


def test_todays_code_writes_the_golden_export() -> None:
    assert b"".join(golden_lines()) == GOLDEN.read_bytes()


def test_the_golden_export_is_read() -> None:
    taken = read(*GOLDEN.read_bytes().splitlines(keepends=True))
    assert [trigger.rule for trigger in taken] == ["overheat", "log", "log"]
    assert imported_record(taken[0]) == msgspec.structs.replace(FULL, rules=("overheat",), uptime_ms=0)
    assert imported_record(taken[2]) == msgspec.structs.replace(OPAQUE, uptime_ms=0)


WINDOW = msgspec.structs.replace(FULL, data=b'[{"temp":97.1},1]', rules=("log",), events=("018f-7", "018f-8"))


def test_a_window_keeps_the_ids_of_its_events() -> None:
    written = lines(exported_trigger(WINDOW, "log", WINDOWS), exported_trigger(OPAQUE, "log", NORMAL))
    [taken, other] = read(*written)
    assert (taken.log, taken.events, other.events) == (WINDOWS, ("018f-7", "018f-8"), ())
    assert b'"events"' not in written[2]
    assert imported_record(taken) == msgspec.structs.replace(WINDOW, uptime_ms=0)


@pytest.mark.parametrize("events", [("",), ("a", "x" * 129), ("\n",), ("e",) * 1001])
def test_ids_that_no_event_can_have_are_refused(events: tuple[str, ...]) -> None:
    with pytest.raises(MessageError, match=r"line 2: .*events"):
        read(*lines(msgspec.structs.replace(exported_trigger(WINDOW, "log", WINDOWS), events=events)))


def test_the_document_names_every_member_of_the_export() -> None:
    text = DOCUMENT.read_text("utf-8")
    table = text[text.index("## The export file") :]
    for member in (*ExportedTrigger.__struct_fields__, "edgeagent_export", "created", "end", "triggers", "blake2b"):
        assert f"`{member}`" in table


def test_json_that_is_no_utf_8_travels_unchanged() -> None:
    odd = msgspec.structs.replace(FULL, data=b'"\xff"', rules=("log",), uptime_ms=0)
    [taken] = read(*lines(exported_trigger(odd, "log", NORMAL)))
    assert imported_record(taken) == odd


@pytest.mark.parametrize("number", range(1, len(golden_lines()) + 1))
def test_a_file_that_ends_early_is_refused_with_the_line(number: int) -> None:
    given = golden_lines()
    with pytest.raises(MessageError, match=f"line {number}: the end is missing"):
        read(*given[: number - 1])
    with pytest.raises(MessageError, match=f"line {number}: the line is cut off"):
        read(*given[: number - 1], given[number - 1][:-1])


def altered(number: int, old: bytes, new: bytes) -> list[bytes]:
    given = golden_lines()
    assert old in given[number - 1]
    given[number - 1] = given[number - 1].replace(old, new)
    return given


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (altered(1, b":1,", b":3,"), "line 1: the export is of version 3"),
        (altered(1, b"edgeagent_export", b"other"), "line 1: the file is not an export"),
        (altered(2, b"97.1", b"17.1"), "line 5: the digest does not match"),
        (altered(3, b'"rule":"log"', b'"rule":"l g"'), "line 3: .*rule"),
        (altered(3, b'"boiler-1"', b'"boiler#1"'), "line 3: .*source"),
        (altered(3, b'"boiler-1"', b"1"), "line 3: .*source"),
        (altered(4, b'"AP8="', b'"AP8"'), "line 4: .*data_base64"),
        (altered(4, b'"data_base64"', b'"other"'), "line 4: .*data"),
        (altered(4, b'"accepted_ms":1', b'"accepted_ms":-1'), "line 4: .*accepted_ms"),
        (altered(5, b'"triggers":3', b'"triggers":4'), "line 5: 4 triggers were written, but 3 are here"),
        ([*golden_lines(), b"\n"], "line 6: there is a line after the end"),
        ([golden_lines()[0], *golden_lines()[2:]], "line 4: 3 triggers were written, but 2 are here"),
    ],
)
def test_an_altered_file_is_refused_with_line_and_reason(given: list[bytes], reason: str) -> None:
    with pytest.raises(MessageError, match=reason):
        read(*given)


def test_an_export_is_a_new_file_that_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "export"
    with ExportWriter(path, "gw", "now") as writer:
        writer.add(triggers(1)[0])
    assert list(tmp_path.iterdir()) == []
    with ExportWriter(path, "gw", "now") as writer:
        writer.add(triggers(1)[0])
        assert not path.exists()
        writer.finish()
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o077 == 0
    with ExportReader(path) as reader:
        assert list(reader.triggers()) == triggers(1)
    with pytest.raises(CommandFailed, match="exists"):
        ExportWriter(path, "gw", "now")


def test_a_name_under_which_no_file_can_be_is_told_without_blaming_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "none/export"
    for open_it, cannot in ((lambda: ExportReader(path), "read"), (lambda: ExportWriter(path, "gw", "now"), "written")):
        with pytest.raises(CommandFailed, match=f"^{path} cannot be {cannot}: No such file or directory$"):
            open_it()


def test_what_is_taken_in_counts_as_imported_and_is_read_like_the_rest() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 2)
    assert take_in(store, DIGEST, 1, [*triggers(2), *triggers(1, HIGH)], 1_000).stored == 3
    account = store.account()
    assert (account.accepted, account.imported, account.pending) == (2, 3, 5)
    assert balanced(store)
    leased = read_all(store)
    assert ids(leased) == ["e1", "e2", "i1", "i2"]
    assert {entry.record.agent for entry in leased} == {"gw"}
    assert leased[2].boot == b""  # no boot's clock: its age goes by wall clock
    assert ids(read_all(store, HIGH)) == ["i1"]


def crashed(filesystem: CrashFilesystem) -> Iterator[Store]:
    """The store after a crash, and after a stop."""
    after = filesystem.crash(Fate.LOST)
    store = opened(after)
    yield store
    store.close()
    yield opened(after)


def test_an_import_counts_the_same_after_a_crash_and_after_a_stop() -> None:
    filesystem = disk()
    take_in(opened(filesystem), DIGEST, 1, triggers(9), 1_000)  # more than a segment
    for store in crashed(filesystem):
        account = store.account()
        assert (account.accepted, account.imported, account.pending) == (0, 9, 9)
        assert balanced(store)
        assert take_in(store, DIGEST, 1, triggers(9), 1_000).known == 9


def test_an_import_is_counted_as_such_even_without_the_cursor_file() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 1)
    take_in(store, DIGEST, 1, triggers(2), 1_000)
    filesystem.remove(Path("/outbox/cursor"))
    store = opened(filesystem)
    account = store.account()
    assert (account.accepted, account.imported, account.pending) == (1, 2, 3)
    assert balanced(store)


def test_an_imported_trigger_may_die_and_be_replayed() -> None:
    filesystem = disk()
    store = opened(filesystem)
    take_in(store, DIGEST, 1, triggers(1), 1_000)
    [leased] = read_all(store)
    store.move(leased, DEAD, DEAD_WAY, reason="no", code=400, attempts=1)
    assert (store.account().imported, store.account().dead) == (1, 1)
    [dead] = everything(store, DEAD)
    store.move(dead, NORMAL, REPLAYED, reason="", code=0, attempts=0)
    for again in crashed(filesystem):
        account = again.account()
        assert (account.accepted, account.imported, account.pending, account.dead) == (0, 1, 1, 0)
        assert balanced(again)


def test_the_same_file_again_is_recognised_and_another_one_is_not() -> None:
    store = opened(disk())
    assert take_in(store, DIGEST, 1, triggers(3), 1_000).stored == 3
    again = take_in(store, DIGEST, 2, triggers(4)[1:], 1_000)
    assert (again.stored, again.known) == (1, 2)
    # The same trigger may go out and come back: in another file it is taken, so that it is never in no place.
    assert take_in(store, "cd" * 32, 1, triggers(3), 1_000).stored == 3


def test_an_import_that_finds_no_room_says_so_and_goes_on_later() -> None:
    store = opened(disk(), OutboxLimits(max_bytes=4 * SEGMENT_BYTES, segment_bytes=SEGMENT_BYTES, dedupe_events=100))
    with pytest.raises(OutboxFull):
        take_in(store, DIGEST, 1, triggers(40), 1_000)
    stored = store.account().imported
    assert 0 < stored < 40
    assert balanced(store)
    for leased in read_all(store):
        store.release(NORMAL, leased.seq, SETTLED)
    store.checkpoint()
    assert take_in(store, DIGEST, 1, triggers(stored + 1), 1_000).stored == 1


def test_a_trigger_that_no_segment_holds_is_refused() -> None:
    store = opened(disk())
    large = exported_trigger(record("i1", data=b"x" * LIMITS.segment_bytes), "r", NORMAL)
    with pytest.raises(RecordTooLarge):
        take_in(store, DIGEST, 1, [large], 1_000)
    assert store.account().imported == 0


def test_pages_show_what_waits_and_what_is_in_flight() -> None:
    store = opened(disk())
    fill(store, 3)
    store.read(NORMAL)
    fill(store, 9, first=4)
    store.release(NORMAL, 2, SETTLED)
    page = waiting_page(store, NORMAL, 0, 4)
    assert [(each.seq, each.in_flight) for each in page.triggers] == [(1, True), (3, True), (4, False), (5, False)]
    assert (page.waiting, page.next_seq) == (11, 6)
    page = waiting_page(store, NORMAL, 6, 1000)
    assert [each.seq for each in page.triggers] == [6, 7, 8, 9, 10, 11, 12]
    assert page.next_seq is None


def test_what_was_exported_is_released_for_good_and_what_is_in_flight_stays() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 2)
    store.read(NORMAL)
    fill(store, 4, first=3)
    store.append([group(HIGH, record("h1"))])
    assert release_exported(store, {NORMAL: [(1, 1 << 60)], HIGH: [(1, 2), (7, 3)]}) == 5
    assert release_exported(store, {NORMAL: [(3, 7)]}) == 0
    assert read_all(store) == []
    for again in crashed(filesystem):
        assert ids(everything(again)) == ["e1", "e2"]
        assert everything(again, HIGH) == []
        assert again.account().exported == 5
        assert sum(again.log(name).ways.get(EXPORTED, 0) for name in (NORMAL, HIGH)) == 5
        assert balanced(again)


def cut_after(filesystem: CrashFilesystem, operations: int) -> None:
    """Cut the power in one of the next operations."""
    at = filesystem.operations + operations
    filesystem.cuts = lambda number, _name: number == at


def test_after_a_power_cut_anywhere_in_an_import_the_same_file_again_makes_it_whole() -> None:
    for cut in count(1):
        filesystem = disk(cut)
        store = opened(filesystem)
        fill(store, 1)
        cut_after(filesystem, cut)
        said = 0
        try:
            for first in (1, 4, 7):
                said += take_in(store, DIGEST, first, triggers(9)[first - 1 : first + 2], 1_000).stored
            store.close()
        except PowerCut:
            pass
        else:
            assert cut > 10
            return
        after = opened(filesystem.crash())
        assert said <= after.account().imported <= 9
        assert balanced(after)
        take_in(after, DIGEST, 1, triggers(9), 1_000)
        assert sorted(ids(everything(after))) == ["e1", *(f"i{number}" for number in range(1, 10))]
        assert (after.account().accepted, after.account().imported) == (1, 9)
        assert balanced(after)


def test_a_power_cut_anywhere_in_an_export_leaves_every_trigger_somewhere() -> None:
    for cut in count(1):
        filesystem = disk(cut)
        store = opened(filesystem)
        fill(store, 9)
        file = [waiting.trigger.id for waiting in waiting_page(store, NORMAL, 0, 1000).triggers]
        cut_after(filesystem, cut)
        said = False
        try:
            for first in (1, 4, 7):
                release_exported(store, {NORMAL: [(first, first + 3)]})
            said = True
            store.close()
        except PowerCut:
            pass
        else:
            assert cut > 5
            return
        after = opened(filesystem.crash())
        assert {*file, *ids(everything(after))} == {f"e{number}" for number in range(1, 10)}
        assert balanced(after)
        assert not said or not everything(after)
