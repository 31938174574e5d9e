"""Any bytes in any file of a real outbox: it opens, and exactly what is damaged is lost, counted and told."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgeagent.events.event import Record
from edgeagent.outbox.files import OsFilesystem
from edgeagent.outbox.frame import HEADER_BYTES, Frame, FrameKind, SegmentHeader, scan
from edgeagent.outbox.records import DEAD, DEAD_WAY, HIGH, LOGS, NORMAL, SETTLED, WINDOWS, Armed, OutboxLimits
from edgeagent.outbox.store import Store
from tests.fakes.stores import blocks_of, closing, everything, group, record
from tests.profiles import examples

LIMITS = OutboxLimits(max_bytes=64 << 10, segment_bytes=2048, dedupe_events=50)
REMEMBERED = frozenset({"a"})
Trigger = tuple[str, str]  # event id and rule
NAMES = ["notes.txt", f"{7:020d}.seg", f"{3:020d}.seg.tmp", f"{2**63:020d}.seg", "9" * 20 + ".seg", "1.seg", "x.seg"]


RECENT, FIRINGS = b"\x93\xc4\x01x\x90\x01", b"\x92\x90\x01"  # as a program of another time may have left them


class Place(NamedTuple):
    """Where the bytes of a frame that hold a record are, and the indexes of its block, one of which they need."""

    path: str
    offset: int
    end: int
    indexes: tuple[tuple[int, int], ...]


class Sample:
    """A store's directory, where what is pending lies in it, how many triggers it accepted, and other cursor files."""

    def __init__(
        self, directory: Path, pending: dict[str, dict[int, tuple[Trigger, Place]]], accepted: int, cursors: list[bytes]
    ) -> None:
        self.directory = directory
        self.pending = pending
        self.accepted = accepted
        self.past, self.future = cursors


class Found(NamedTuple):
    """What opening a store finds."""

    pending: dict[str, dict[int, Trigger]]
    accepted: int
    damaged: int
    problems: list[str]


@contextmanager
def opened(directory: Path) -> Iterator[Store]:
    """The store in a directory, closed in the end."""
    salts = itertools.count(len(list(directory.rglob("*"))))
    store = Store(
        OsFilesystem(),
        directory,
        LIMITS,
        boot=bytes(16),
        new_salt=lambda: next(salts) * 7919,
        now_ms=lambda: 1_000,
        remembered=REMEMBERED,
    )
    try:
        yield store
    finally:
        store.close()


def pending_of(store: Store) -> dict[str, dict[int, Trigger]]:
    """Every trigger that is handed out, by log and seq; each once."""
    result: dict[str, dict[int, Trigger]] = {}
    for log in LOGS:
        leased = everything(store, log)
        result[log] = {entry.seq: (entry.record.id, entry.rule) for entry in leased}
        assert len(result[log]) == len(leased)
        assert list(result[log]) == sorted(result[log])
    return result


def look(directory: Path) -> Found:
    """Open a store, read all of it, and close it."""
    with opened(directory) as store:
        pending = pending_of(store)
        account = store.account()
        return Found(pending, account.accepted, account.damaged, list(account.problems()))


def frames_of(data: bytes) -> list[Frame]:
    """The frames of a segment file."""
    header = SegmentHeader.decode(data)
    assert header is not None
    return [item for item in scan(memoryview(data), header.salt, 0) if isinstance(item, Frame)]


def places(directory: Path, log: str) -> dict[int, Place]:
    """Where each seq of a log lies."""
    result = {}
    for path in sorted((directory / log).glob("*.seg")):
        data = path.read_bytes()
        for block in blocks_of(data):
            size = 20 + 11 * len(block.sizes)  # without the padding
            copy_start = block.end - (block.offset - block.start)
            front, copy = (block.start, block.start + size), (copy_start, copy_start + size)
            indexes = (front, copy) if len(block.sizes) > 2 else (front,)
            for frame in frames_of(data):
                if frame.kind is not FrameKind.BATCH and block.start <= frame.offset < block.end:
                    place = Place(f"{log}/{path.name}", frame.offset, frame.end, indexes)
                    result.update(dict.fromkeys(range(frame.seq, frame.seq + frame.count), place))
    return result


def live(directory: Path) -> list[bytes]:
    """A store's life with everything in it; returns its cursor file as it was at the start, and after more life."""
    cursor = directory / "cursor"
    with opened(directory) as store:
        for number in range(30):
            rules = ("a", "b") if number % 5 == 0 else ("a",)
            log = HIGH if number % 4 == 0 else NORMAL
            entries: list[Record | Armed] = [record(f"e{number}", rules, b"x" * (100 + 9 * number))]
            entries += [Armed("boiler", ("a",))] if number % 2 else []
            store.append([group(log, *entries, remembered=REMEMBERED)])
        store.checkpoint()
        past = cursor.read_bytes()
        for log in (NORMAL, HIGH):
            leased = store.read(log)
            for entry in leased[1::3]:
                store.release(log, entry.seq, SETTLED)
            for entry in leased[::6]:
                store.move(entry, DEAD, DEAD_WAY, reason="no", code=400, attempts=1)
            rest = [entry for entry in leased[2::3] if entry.rule == "a"]
            store.gather([closing(rest[-4:-2]), closing(rest[-2:])])
        store.checkpoint()
        for number in range(30, 40):
            store.append([group(NORMAL, record(f"e{number}", data=b"y" * 200), record(f"f{number}"))])
    with tempfile.TemporaryDirectory() as name:
        later = Path(name) / "later"
        shutil.copytree(directory, later)
        with opened(later) as store:
            for number in range(20):
                store.append([group(NORMAL, record(f"later{number}", data=b"z" * 200))])
        future = (later / "cursor").read_bytes()
    return [past, future]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """An outbox that was closed in order."""
    directory = tmp_path_factory.mktemp("sample") / "outbox"
    cursors = live(directory)
    with opened(shutil.copytree(directory, directory.parent / "copy")) as store:
        pending = pending_of(store)
        accepted = store.account().accepted
    found = {
        log: {seq: (trigger, places(directory, log)[seq]) for seq, trigger in triggers.items()}
        for log, triggers in pending.items()
    }
    assert all(found[log] for log in (NORMAL, HIGH, DEAD, WINDOWS))
    return Sample(directory, found, accepted, cursors)


def segment_damage() -> st.SearchStrategy[tuple[str, int, int, bytes]]:
    """What happens to one segment file: how, to which one, where (per mille of it), with which bytes."""
    kinds = ["flip", "zero", "write", "cut", "extend", "remove", "swap", "rename", "empty"]
    return st.tuples(
        st.sampled_from(kinds), st.integers(0, 99), st.integers(0, 1000), st.binary(min_size=1, max_size=64)
    )


def hurt(directory: Path, damage: tuple[str, int, int, bytes]) -> None:
    """Do it."""
    kind, index, per_mille, content = damage
    files = sorted(directory.glob("*/*.seg"))
    if not files:
        return
    path = files[index % len(files)]
    if kind == "remove":
        path.unlink()
    elif kind == "rename":
        path.rename(path.with_name(f"{1000 + index:020d}.seg"))
    elif kind == "swap":
        siblings = sorted(path.parent.glob("*.seg"))
        other = siblings[per_mille % len(siblings)]
        first, second = path.read_bytes(), other.read_bytes()
        path.write_bytes(second)
        other.write_bytes(first)
    else:
        path.write_bytes(hurt_bytes(bytearray(path.read_bytes()), kind, per_mille, content))


def hurt_bytes(data: bytearray, kind: str, per_mille: int, content: bytes) -> bytes:
    """A file's bytes with others in their place."""
    offset = len(data) * per_mille // 1001
    if kind == "flip" and data:
        data[offset] ^= content[0] or 1
    elif kind == "zero":
        start = offset // 512 * 512
        data[start : start + 512] = bytes(len(data[start : start + 512]))
    elif kind == "write":
        data[offset : offset + len(content)] = content
    elif kind == "cut":
        del data[offset:]
    elif kind == "extend":
        data += content
    elif kind == "empty":
        return bytes(len(data))
    return bytes(data)


@contextmanager
def copy_of(sample: Sample) -> Iterator[Path]:
    """A copy of its directory."""
    with tempfile.TemporaryDirectory() as name:
        yield shutil.copytree(sample.directory, Path(name) / "outbox")


def intact(sample: Sample, directory: Path, place: Place) -> bool:
    """Whether a frame, an index of it and its segment's header are as they were, where they were."""
    file = directory / place.path
    before, now = (sample.directory / place.path).read_bytes(), file.read_bytes() if file.exists() else b""
    same = [now[start:end] == before[start:end] for start, end in place.indexes]
    return (
        now[:HEADER_BYTES] == before[:HEADER_BYTES]
        and any(same)
        and now[place.offset : place.end] == before[place.offset : place.end]
    )


QUIET = settings(max_examples=examples(80), suppress_health_check=list(HealthCheck))


@QUIET
@given(damages=st.lists(segment_damage(), min_size=1, max_size=4))
@example(damages=[("remove", number, 0, b"x") for number in range(99)])
def test_exactly_the_damaged_records_are_lost_and_the_others_are_handed_out(
    sample: Sample, damages: list[tuple[str, int, int, bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    with copy_of(sample) as directory:
        for damage in damages:
            hurt(directory, damage)
        expected = {
            log: {seq: trigger for seq, (trigger, place) in triggers.items() if intact(sample, directory, place)}
            for log, triggers in sample.pending.items()
        }
        lost = sum(map(len, sample.pending.values())) - sum(map(len, expected.values()))
        first = look(directory)
        assert first == Found(expected, sample.accepted, lost, [])
        told = [vars(entry) for entry in caplog.records if vars(entry).get("event") == "outbox_damaged"]
        assert sum(entry["lost"] for entry in told) == lost
        for log, triggers in sample.pending.items():
            ranges = [range(entry["first_seq"], entry["last_seq"] + 1) for entry in told if entry["log"] == log]
            assert all(any(seq in told for told in ranges) for seq in triggers.keys() - expected[log].keys())
        assert look(directory) == first, "opening again finds the same"
        with opened(directory) as store:
            assert isinstance(store.append([group(NORMAL, record("after"))])[0], int)
            assert ("after", "r") in pending_of(store)[NORMAL].values()


@QUIET
@given(
    damages=st.lists(segment_damage(), max_size=2),
    cursor=st.one_of(
        st.sampled_from(["past", "future", "gone", "kept"]),
        st.binary(max_size=64),
        st.lists(st.integers(0, 131071), max_size=3),
    ),
    recent=st.one_of(st.none(), st.binary(max_size=200)),
    firings=st.one_of(st.none(), st.binary(max_size=200)),
    foreign=st.lists(st.tuples(st.sampled_from(LOGS), st.sampled_from(NAMES), st.binary(max_size=300)), max_size=3),
)
@example(
    damages=[],
    cursor=b"",
    recent=b"\x93\xc4\x01x\x90\x01",
    firings=b"\x92\x90\x01",
    foreign=[(NORMAL, "9" * 20 + ".seg", b"x")],
)
@example(
    damages=[],
    cursor=b"",
    recent=b"\x93\xc4\x01x\x90\x01",
    firings=b"\x92\x90\x01",
    foreign=[(NORMAL, f"{2**64 - 1}.seg", b"x")],
)
def test_whatever_is_in_the_files_the_store_opens_and_loses_nothing_that_can_be_read(
    sample: Sample,
    damages: list[tuple[str, int, int, bytes]],
    cursor: str | bytes | list[int],
    recent: bytes | None,
    firings: bytes | None,
    foreign: list[tuple[str, str, bytes]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.clear()
    with copy_of(sample) as directory:
        for damage in damages:
            hurt(directory, damage)
        put_cursor(sample, directory / "cursor", cursor)
        if recent is not None:
            (directory / "recent").write_bytes(recent)
        if firings is not None:
            (directory / "firings").write_bytes(firings)
        for log, name, content in foreign:
            if not (directory / log / name).exists():
                (directory / log / name).write_bytes(content)
        owed = {
            trigger
            for triggers in sample.pending.values()
            for trigger, place in triggers.values()
            if intact(sample, directory, place) and (not damages or place.path not in newest(directory))
        }
        twin = shutil.copytree(directory, directory.parent / "twin")
        first = look(directory)
        again = look(directory)
        assert (again.pending, again.damaged) == (first.pending, first.damaged), "opening again finds the same"
        assert look(twin) == first, "two recoveries of the same bytes agree"
        told = [vars(entry)["event"] for entry in caplog.records if entry.name.startswith("edgeagent")]
        assert not first.problems or "outbox_account_wrong" in told
        assert owed <= {trigger for triggers in first.pending.values() for trigger in triggers.values()}
        with opened(directory) as store:
            assert isinstance(store.append([group(NORMAL, record("after"))])[0], int)
            assert ("after", "r") in pending_of(store)[NORMAL].values()


def newest(directory: Path) -> set[str]:
    """The last segment of each log: damage in it may look like the end that a crash tears, if no checkpoint vouches."""
    found: dict[str, str] = {}
    for path in sorted(directory.glob("*/*.seg")):
        header = SegmentHeader.decode(path.read_bytes())
        if header is not None and path.name == f"{header.number:020d}.seg":
            found[path.parent.name] = f"{path.parent.name}/{path.name}"
    return set(found.values())


def put_cursor(sample: Sample, path: Path, cursor: str | bytes | list[int]) -> None:
    """Put another cursor file there: an older or newer one, none, garbage, or this one with wrong bytes."""
    if cursor == "past":
        path.write_bytes(sample.past)
    elif cursor == "future":
        path.write_bytes(sample.future)
    elif cursor == "gone":
        path.unlink()
    elif isinstance(cursor, bytes):
        path.write_bytes(cursor)
    elif isinstance(cursor, list):
        data = bytearray(path.read_bytes())
        for offset in cursor:
            data[offset % 400] ^= 0x55
            data[131072 + offset % 400] ^= 0x55
        path.write_bytes(data)


def test_damaged_bytes_are_put_aside_for_whoever_wants_to_look(sample: Sample) -> None:
    with copy_of(sample) as directory:
        path = sorted((directory / NORMAL).glob("*.seg"))[1]
        data = bytearray(path.read_bytes())
        hit = next(frame for frame in frames_of(bytes(data)) if frame.count and frame.seq in sample.pending[NORMAL])
        data[hit.offset + 3] ^= 0x10
        path.write_bytes(data)
        found = look(directory)
        assert found.damaged == len([seq for seq in sample.pending[NORMAL] if hit.seq <= seq < hit.seq + hit.count]) > 0
        [copy] = (directory / "quarantine").iterdir()
        assert copy.read_bytes() == bytes(data[hit.offset : hit.end])
        assert copy.name.startswith(f"{NORMAL}-2-")
