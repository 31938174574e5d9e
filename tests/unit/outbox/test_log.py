from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from edgeagent.errors import StorageFailed
from edgeagent.outbox.frame import HEADER_BYTES, Batch, Frame, FrameKind, SegmentHeader
from edgeagent.outbox.log import Entries, Log, room_of
from edgeagent.outbox.reader import Damage, LogReader
from edgeagent.outbox.segment import Segment, number_of, segment_path
from edgeagent.outbox.segment_end import Recovered
from tests.fakes.crash_filesystem import CrashFilesystem, Fate

DIRECTORY = Path("/log")
SEGMENT_BYTES = 1024


class Kept:
    """A log on a disk in memory, and how often it asked to keep things before a new segment."""

    def __init__(self, filesystem: CrashFilesystem | None = None) -> None:
        self.filesystem = filesystem or CrashFilesystem(Random(0))  # noqa: S311  chance for tests
        self.rolls = 0
        self.log = Log(self.filesystem, DIRECTORY, SEGMENT_BYTES, self._header, self._before_roll)

    def recover(self) -> Recovered:
        """Open it, without a checkpoint."""
        recovered = self.log.recover(None, gone_way="settled")
        self.log.secure_tail()
        return recovered

    def append(self, *payloads: bytes) -> int:
        """Append in one commit."""
        room = room_of(len(payloads), sum(map(len, payloads)))
        return self.log.append(
            Entries(bytes((FrameKind.EVENT,)) * len(payloads), [1] * len(payloads), payloads, room), Batch(1, 0)
        )

    def read(self, seq: int = 1) -> list[bytes | Damage]:
        """Everything from a seq on."""
        reader = LogReader(self.log, seq)
        found: list[bytes | Damage] = []
        while items := reader.read(3, 1 << 20):
            found += [item.payload if isinstance(item, Frame) else item for item in items]
        reader.close()
        return found

    def numbers(self) -> list[int | None]:
        """The numbers of the files that are there."""
        return [number_of(name) for name in self.filesystem.list(DIRECTORY)]

    def _header(self, number: int, seq: int, previous: Segment | None) -> SegmentHeader:
        before = (previous.number, previous.valid_bytes) if previous else (0, 0)
        return SegmentHeader(self.filesystem.random.getrandbits(32), number, seq, *before, 0, bytes(16))

    def _before_roll(self) -> None:
        self.rolls += 1


def kept() -> Kept:
    made = Kept()
    made.recover()
    return made


def test_segment_names_sort_as_their_numbers_do() -> None:
    path = segment_path(DIRECTORY, 2**63 - 1)
    assert path.name == "09223372036854775807.seg"
    assert number_of(path.name) == 2**63 - 1
    assert segment_path(DIRECTORY, 9).name < segment_path(DIRECTORY, 10).name


@pytest.mark.parametrize(
    "name",
    [
        "1.seg",
        f"{1:020d}",
        f"{1:020d}.seg.tmp",
        f"{1:021d}.seg",
        "x" * 20 + ".seg",
        "",
        f"{2**63:020d}.seg",
        "9" * 20 + ".seg",
    ],
)
def test_other_names_are_no_segments(name: str) -> None:
    assert number_of(name) is None


def test_records_have_seqs_without_gaps_over_all_segments() -> None:
    made = kept()
    seqs = [made.append(bytes(200)) for _ in range(12)]
    assert seqs == list(range(1, 13))
    assert len(made.log.segments) > 2
    assert made.log.segments[0].first_seq == 1
    assert len(made.read()) == 12
    assert made.read(11) == [bytes(200)] * 2
    assert made.read(13) == []


def test_what_must_be_kept_is_kept_before_each_segment() -> None:
    made = kept()
    made.append(b"a")
    assert made.rolls == 1
    while len(made.log.segments) < 3:
        made.append(bytes(200))
    assert made.rolls == 3


def test_one_commit_is_one_write_and_one_sync() -> None:
    made = kept()
    made.append(b"a")
    names: list[str] = []
    made.filesystem.fails = lambda _number, name: bool(names.append(name))  # type: ignore[func-returns-value]
    made.append(b"b", b"c", b"d")
    assert names == ["write", "sync"]


def test_after_a_failed_sync_the_same_records_go_to_a_new_segment_and_the_failed_ones_are_never_seen() -> None:
    made = kept()
    made.append(b"a")
    failures = iter([True])
    made.filesystem.fails = lambda _number, name: name == "sync" and next(failures, False)
    assert made.append(b"b") == 2
    assert made.read() == [b"a", b"b"]
    assert made.numbers() == [1, 2]
    for fate in Fate:
        after = Kept(_copy(made.filesystem).crash(fate))
        after.recover()
        assert after.read() == [b"a", b"b"]


def _copy(filesystem: CrashFilesystem) -> CrashFilesystem:
    copy = CrashFilesystem(Random(0))  # noqa: S311  chance for tests
    copy.make_directory(DIRECTORY)
    for path, data in filesystem.files().items():
        copy.replace(path, data)
    return copy


def test_when_the_second_try_fails_too_nothing_is_stored_and_the_log_goes_on_later() -> None:
    made = kept()
    made.append(b"a")
    made.filesystem.fails = lambda _number, name: name == "sync"
    for _ in range(3):
        with pytest.raises(StorageFailed):
            made.append(b"lost")
    assert made.read() == [b"a"]
    assert made.log.next_seq == 2
    made.filesystem.fails = lambda _number, _name: False
    assert made.append(b"b") == 2
    assert made.read() == [b"a", b"b"]
    assert len(made.numbers()) == 2, "what the failures left is removed"


def test_a_file_that_cannot_be_made_is_not_tried_again_under_its_number() -> None:
    made = kept()
    made.filesystem.fails = lambda _number, name: name == "create"
    for _ in range(8):  # by chance some of them leave a file
        with pytest.raises(StorageFailed):
            made.append(b"a")
    made.filesystem.fails = lambda _number, _name: False
    assert made.append(b"a") == 1
    assert made.log.segments[0].number == 9


def test_opening_again_cuts_the_reserved_space_and_begins_a_new_segment() -> None:
    made = kept()
    made.append(b"a")
    made.log.close()
    again = Kept(made.filesystem)
    opened = again.recover()
    assert (opened.torn_bytes, opened.damages, opened.foreign) == (0, [], [])
    assert again.log.used_bytes < SEGMENT_BYTES
    again.append(b"b")
    assert [segment.number for segment in again.log.segments] == [1, 2]
    assert again.read() == [b"a", b"b"]


def test_opening_writes_what_was_read_anew_since_it_may_have_been_in_the_cache_only() -> None:
    made = kept()
    made.append(b"a")
    failures = iter([True])
    made.filesystem.fails = lambda _number, name: name == "sync" and next(failures, False)
    made.log._before_roll = lambda: (_ for _ in ()).throw(StorageFailed("write", "cursor", "full"))
    with pytest.raises(StorageFailed):
        made.append(b"refused, and in the cache")
    made.filesystem.fails = lambda _number, _name: False
    restarted = Kept(made.filesystem)
    restarted.recover()
    found = restarted.read()
    survivor = Kept(made.filesystem.crash(Fate.LOST))
    survivor.recover()
    assert survivor.read() == found, "what was taken for stored must survive a power cut"


def test_a_segment_whose_only_sync_failed_is_left_out_when_a_power_cut_brings_it_back() -> None:
    made = kept()
    made.append(b"a")
    failures = iter([True, True])
    made.filesystem.fails = lambda _number, name: name == "sync" and next(failures, False)
    with pytest.raises(StorageFailed):
        made.append(b"lost")
    ghost = segment_path(DIRECTORY, 2)
    content = made.filesystem.read(ghost)
    made.append(b"b")
    assert made.numbers() == [1, 3]
    made.filesystem.replace(ghost, content)
    after = Kept(made.filesystem)
    after.recover()
    assert after.read() == [b"a", b"b"]
    assert after.numbers() == [1, 3]


def test_segments_are_removed_from_the_front_as_far_as_everything_in_them_is_released() -> None:
    made = kept()
    for _ in range(12):
        made.append(bytes(200))
    last = made.log.segments[-1]
    made.log.release(1, last.first_seq - 2, "settled")
    made.log.remove_front(lambda: True)
    assert made.log.segments[0].first_seq < last.first_seq
    made.log.release(last.first_seq - 1, 1, "settled")
    made.log.remove_front(lambda: True)
    assert made.log.segments == [last]
    assert made.numbers() == [last.number]


def test_a_log_counts_what_is_released_by_its_way() -> None:
    made = kept()
    made.append(b"a", b"b", b"c", b"d")
    assert made.log.release(2, 2, "settled") == 2
    assert made.log.release(1, 4, "damaged") == 2
    assert made.log.ways == {"settled": 2, "damaged": 2}
    assert made.log.recount("damaged", "settled")
    assert not made.log.recount("expired", "settled")
    assert made.log.ways == {"settled": 3, "damaged": 1}
    assert made.log.pending == 0


def test_an_empty_header_is_all_that_an_unused_segment_has() -> None:
    made = kept()
    made.append(b"a")
    made.log.close()
    path = segment_path(DIRECTORY, 1)
    made.filesystem.replace(path, made.filesystem.read(path)[:HEADER_BYTES])
    again = Kept(made.filesystem)
    again.recover()
    assert again.read() == []
    assert again.append(b"b") == 1
