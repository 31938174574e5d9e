"""The format on disk, byte by byte: what today's code writes is what it has always written, and docs/format.md is true.

A golden file is never changed. `golden_vectors` makes the bytes of all of them; a new version's are written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import msgspec
import pytest

from edgeagent.events.event import Record
from edgeagent.outbox.cursor import SLOT_BYTES, Checkpoint, CursorFile, LogState
from edgeagent.outbox.firingsfile import _Content as FiringsContent
from edgeagent.outbox.frame import HEADER_BYTES, Batch, Frame, FrameKind, FramesEnd, SegmentHeader, decode_batch, scan
from edgeagent.outbox.recent import Delivery, _Content
from edgeagent.outbox.records import (
    DEAD,
    DEAD_WAY,
    HIGH,
    LIMITED,
    LOGS,
    NORMAL,
    PARKED,
    SETTLED,
    WINDOWS,
    Armed,
    Closing,
    Group,
    Leased,
    Moved,
    OutboxLimits,
    decode,
)
from edgeagent.outbox.segment import segment_path
from edgeagent.outbox.store import Store
from edgeagent.rules.firings import Firing
from tests.fakes.crash_filesystem import CrashFilesystem

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "format.md"
DIRECTORY = Path("/outbox")
BOOT = bytes(range(16))
VERSIONS = ("v1", "v1.1", "v1.2")
CURSOR_VERSIONS = (*VERSIONS, "v1.3")
NOW_MS = 1_774_004_400_250
LIMITS = OutboxLimits(max_bytes=1 << 20, segment_bytes=1024, dedupe_events=100)

FULL = Record(
    agent="gw-042",
    source="boiler-1",
    id="018f-7",
    type="reading",
    time="2026-03-20T11:00:00.250Z",
    data=b'{"temp":97.1}',
    is_json=True,
    rules=("overheat", "log"),
    accepted_ms=NOW_MS,
    uptime_ms=86_400_000,
    subject="drum",
    datacontenttype="application/json",
    traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    topic="plant/boiler-1",
    delivery=("1f2e3d4c", 17),
)
WINDOW = msgspec.structs.replace(
    FULL, data=b'[{"temp":97.1},"AP8="]', rules=("log",), delivery=None, events=("018f-7", "2")
)
PLAIN = Record("gw-042", "pump", "2", "event", "2026-03-20T11:00:01Z", b"\x00\xff", False, ("log",), NOW_MS, 7)
MOVED = Moved(
    HIGH, 1, msgspec.structs.replace(PLAIN, rules=("log",)), "spec.entrypoint is required", 400, 3, NOW_MS, BOOT
)
GATHERED = Moved(NORMAL, 2, WINDOW, "", 0, 0, NOW_MS, BOOT, [(NORMAL, 3)])
ARMED = Armed("boiler-1", ("overheat", "idle"))
REMEMBERED = frozenset({"overheat"})
FIRING = Firing("overheat", FULL.source, FULL.id, NOW_MS, FULL.uptime_ms, BOOT, armed=True)


def open_store(filesystem: CrashFilesystem) -> Store:
    salts = count(0x5A175A17)
    return Store(
        filesystem,
        DIRECTORY,
        LIMITS,
        boot=BOOT,
        new_salt=lambda: next(salts),
        now_ms=lambda: NOW_MS,
        remembered=REMEMBERED,
    )


def golden_disk() -> CrashFilesystem:
    """A disk with two commits of events, one settled trigger, one dead letter, and a checkpoint."""
    filesystem = CrashFilesystem(Random(0))  # noqa: S311  nothing fails here
    store = open_store(filesystem)
    store.append([Group(NORMAL, [FULL, PLAIN], [(bytes(16), bytes(8)), (b"\1" * 16, b"\1" * 8)])])
    store.events.received += 6
    store.events.filtered += 3
    store.events.duplicate += 2
    store.events.conflict += 1
    store.append([Group(NORMAL, [PLAIN], [(b"\2" * 16, b"\2" * 8)])])
    store.append([Group(HIGH, [PLAIN], [(b"\3" * 16, b"\3" * 8)])])
    [first, second, *_] = store.read(NORMAL)
    [high] = store.read(HIGH)
    assert (first.seq, second.seq) == (1, 2)
    store.release(NORMAL, second.seq, SETTLED)
    store.move(high, DEAD, DEAD_WAY, reason=MOVED.reason, code=MOVED.code, attempts=MOVED.attempts)
    store.checkpoint()
    return filesystem


def golden_windows() -> CrashFilesystem:
    """A disk with what armed a rule between two events, one of which is in a window with a later one."""
    filesystem = CrashFilesystem(Random(0))  # noqa: S311  nothing fails here
    store = open_store(filesystem)
    store.append([Group(NORMAL, [FULL, ARMED, PLAIN], [(bytes(16), bytes(8)), (b"\1" * 16, b"\1" * 8)], REMEMBERED)])
    _, first, second = store.read(NORMAL)
    store.gather([Closing("log", [first, second], WINDOW)])
    store.close()
    return filesystem


def golden_vectors() -> dict[str, bytes]:
    """The content of every golden file, as today's code writes it."""
    files = golden_disk().files()
    cursor = files[DIRECTORY / "cursor"]
    slots = [cursor[:SLOT_BYTES].rstrip(b"\0"), cursor[SLOT_BYTES:].rstrip(b"\0")]
    newest = max(slots, key=lambda slot: msgspec.msgpack.decode(slot[16:], type=Checkpoint).generation)
    windows = golden_windows().files()
    return {
        "segment-v1.2.bin": files[segment_path(DIRECTORY / NORMAL, 1)],
        "dead-segment-v1.2.bin": files[segment_path(DIRECTORY / DEAD, 1)],
        "cursor-v1.3.bin": newest,
        "recent-v1.bin": files[DIRECTORY / "recent"],
        "record-v1.1.bin": msgspec.msgpack.encode(FULL),
        "moved-v1.1.bin": msgspec.msgpack.encode(MOVED),
        "armed-v1.bin": msgspec.msgpack.encode(ARMED),
        "armed-segment-v1.1.bin": windows[segment_path(DIRECTORY / NORMAL, 1)],
        "windows-segment-v1.1.bin": windows[segment_path(DIRECTORY / WINDOWS, 1)],
        "firings-v1.bin": windows[DIRECTORY / "firings"],
        "batch-v1.bin": msgspec.msgpack.encode(Batch(5, 3, 10, 4, 2, 3, 0, 0, 1)),
    }


def golden(name: str) -> bytes:
    return (HERE / name).read_bytes()


@pytest.mark.parametrize("name", list(golden_vectors()))
def test_todays_code_writes_the_golden_bytes(name: str) -> None:
    assert golden_vectors()[name] == golden(name)


def test_the_golden_record_and_move_are_read() -> None:
    for version in ("v1", "v1.1"):
        assert msgspec.msgpack.decode(golden(f"record-{version}.bin"), type=Record) == FULL
        assert msgspec.msgpack.decode(golden(f"moved-{version}.bin"), type=Moved) == MOVED
    assert msgspec.msgpack.decode(golden("armed-v1.bin"), type=Armed) == ARMED
    assert msgspec.msgpack.decode(golden("batch-v1.bin"), type=Batch) == Batch(5, 3, 10, 4, 2, 3, 0, 0, 1)


@pytest.mark.parametrize("name", ["segment-v1.bin", "segment-v1.1.bin", "segment-v1.2.bin"])
def test_the_golden_segment_is_read(name: str) -> None:
    data = golden(name)
    header = SegmentHeader.decode(data)
    assert header == SegmentHeader(0x5A175A17, 1, 1, 0, 0, NOW_MS, BOOT, 1024 if "v1.2" in name else 0)
    *frames, tail = scan(memoryview(data), header.salt, header.first_seq)
    assert isinstance(tail, FramesEnd)
    assert not tail.torn
    found = [(item.seq, item.kind, _content(item)) for item in frames if isinstance(item, Frame)]
    assert found == [
        (1, FrameKind.BATCH, Batch(1, 0)),
        (1, FrameKind.EVENT, FULL),
        (3, FrameKind.EVENT, PLAIN),
        (4, FrameKind.BATCH, Batch(2, 3, 8, 2, 2, 3, 0, 0, 1)),
        (4, FrameKind.EVENT, PLAIN),
    ]


def _content(frame: Frame) -> object:
    if frame.kind is FrameKind.BATCH:
        return decode_batch(frame)
    content = decode(frame)
    assert content is not None
    return content[0]


@pytest.mark.parametrize("version", CURSOR_VERSIONS)
def test_the_golden_cursor_is_read(version: str) -> None:
    filesystem = CrashFilesystem(Random(0))  # noqa: S311  nothing fails here
    filesystem.create(DIRECTORY / "cursor", 2 * SLOT_BYTES).write_at(SLOT_BYTES, golden(f"cursor-{version}.bin"))
    _, checkpoint = CursorFile.open(filesystem, DIRECTORY / "cursor")
    active = int(version in {"v1.2", "v1.3"})
    states = {
        NORMAL: LogState(5, 1, [1, 1], {"settled": 1}, 0, 2, 1, active),
        HIGH: LogState(2, 2, [], {"dead": 1}, 0, 2, 1, active),
        DEAD: LogState(2, 1, [], {}, 1, 2, 1, active),
        PARKED: LogState(1, 1, [], {}, 0, 1, 0),
        WINDOWS: LogState(1, 1, [], {}, 0, 1, 0),
        LIMITED: LogState(1, 1, [], {}, 0, 1, 0),
    }
    if version != "v1.3":
        del states[LIMITED]
    if version == "v1":
        del states[WINDOWS]
    assert checkpoint == Checkpoint(4, states, Batch(4, 0, 10, 4, 2, 3, 0, 0, 1))


@pytest.mark.parametrize("version", CURSOR_VERSIONS)
def test_an_outbox_of_golden_files_is_opened(version: str) -> None:
    filesystem = CrashFilesystem(Random(0))  # noqa: S311  nothing fails here
    of_segments = version if version in VERSIONS else VERSIONS[-1]
    for log, name in ((NORMAL, "segment"), (DEAD, "dead-segment")):
        filesystem.make_directory(DIRECTORY / log)
        filesystem.replace(segment_path(DIRECTORY / log, 1), golden(f"{name}-{of_segments}.bin"))
    filesystem.replace(DIRECTORY / "cursor", golden(f"cursor-{version}.bin"))
    filesystem.replace(DIRECTORY / "recent", golden("recent-v1.bin"))
    store = open_store(filesystem)
    assert [(leased.seq, leased.rule) for leased in store.read(NORMAL)] == [(1, "overheat"), (3, "log"), (4, "log")]
    assert store.read(HIGH) == []
    assert [leased for part in store.peek(DEAD) for leased in part] == [
        Leased(DEAD, 1, "log", MOVED.record, BOOT, msgspec.structs.replace(MOVED, origin=HIGH))
    ]
    account = store.account()
    assert (account.accepted, account.settled, account.pending, account.dead) == (5, 1, 3, 1)
    assert list(account.problems()) == []
    assert (store.events.received, store.events.stored) == (10, 4)


@pytest.mark.parametrize("version", ["v1", "v1.1"])
def test_golden_windows_and_what_armed_a_rule_are_read_without_a_cursor_file(version: str) -> None:
    filesystem = CrashFilesystem(Random(0))  # noqa: S311  nothing fails here
    for log, name in ((NORMAL, "armed-segment"), (WINDOWS, "windows-segment")):
        filesystem.make_directory(DIRECTORY / log)
        filesystem.replace(segment_path(DIRECTORY / log, 1), golden(f"{name}-{version}.bin"))
    store = open_store(filesystem)
    assert list(store.firings) == [FIRING]
    assert [(leased.seq, leased.rule) for leased in store.read(NORMAL)] == [(1, "overheat")]
    assert store.read(WINDOWS) == [Leased(WINDOWS, 1, "log", WINDOW, BOOT, GATHERED)]
    account = store.account()
    assert (account.accepted, account.merged, account.pending) == (3, 1, 2)
    assert list(account.problems()) == []

    filesystem = CrashFilesystem(Random(0))  # noqa: S311  nothing fails here
    filesystem.replace(DIRECTORY / "firings", golden("firings-v1.bin"))
    assert list(open_store(filesystem).firings) == [FIRING]


def tables() -> Iterator[tuple[str, list[list[str]]]]:
    """The tables of the document: the heading of the column that names fields or members, and the rows."""
    lines = DOCUMENT.read_text("utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.startswith("|---"):
            heading = cells(lines[number - 1])
            rows = []
            for row in lines[number + 1 :]:
                if not row.startswith("|"):
                    break
                rows.append(cells(row))
            yield heading[1 if heading[0] == "member" else 2 if heading[0] == "offset" else 0], rows


def cells(line: str) -> list[str]:
    return [cell.strip().strip("`") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


TABLES = dict(tables())
COLUMNS = (("sizes", 4), ("crcs", 4), ("counts", 2), ("kinds", 1))
STRUCTS: dict[str, Any] = {
    "Record": Record,
    "Moved": Moved,
    "Batch": Batch,
    "Checkpoint": Checkpoint,
    "LogState": LogState,
    "Recent": _Content,
    "Delivery": Delivery,
    "Armed": Armed,
    "Firings": FiringsContent,
    "Firing": Firing,
}


@pytest.mark.parametrize("name", STRUCTS)
def test_the_document_names_every_member_in_its_place(name: str) -> None:
    rows = TABLES[name]
    assert [int(row[0]) for row in rows] == list(range(len(rows)))
    assert [row[1] for row in rows] == list(STRUCTS[name].__struct_fields__)


def fields(table: str, data: bytes) -> dict[str, int | bytes]:
    """Read the bytes by a table of the document: integers up to 8 bytes, else bytes."""
    result: dict[str, int | bytes] = {}
    end = 0
    for offset, size, name, *_ in TABLES[table]:
        assert measured(offset, result) == end, f"{table}: the rows do not follow each other"
        length = measured(size, result)
        part = data[end : end + length]
        end += length
        if name:
            is_number = length <= 8 and name not in {"magic", "sizes", "crcs", "counts", "kinds"}
            result[name] = int.from_bytes(part, "little") if is_number else part
        else:
            assert not any(part)
    return result | {"end": end}


def measured(text: str, known: dict[str, int | bytes]) -> int:
    """A number of bytes as the document writes it: `20`, `20+4n` or the name of a field."""
    total = 0
    for part in text.split("+"):
        if part.endswith("n") and part != "n" and part[:-1].isdecimal():
            total += int(part[:-1]) * int(known["frames"])
        else:
            total += int(part) if part.isdecimal() else int(known[{"n": "frames"}.get(part, part)])
    return total


def numbers(data: bytes, size: int) -> list[int]:
    return [int.from_bytes(data[start : start + size], "little") for start in range(0, len(data), size)]


def padded(size: int) -> int:
    return -(-size // 8) * 8


SEGMENT = [(1, 0, 2), (1, 2, 1), (3, 1, 1), (4, 0, 2), (4, 1, 1)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((f"segment-{version}.bin", SEGMENT) for version in VERSIONS),
        *((f"armed-segment-{version}.bin", [(1, 0, 2), (1, 2, 1), (3, 0, 4), (3, 1, 1)]) for version in VERSIONS[:2]),
        *((f"windows-segment-{version}.bin", [(1, 0, 2), (1, 1, 3)]) for version in VERSIONS[:2]),
    ],
)
def test_who_reads_by_the_document_reads_the_golden_segment(name: str, expected: list[tuple[int, int, int]]) -> None:
    data = golden(name)
    header = fields("header field", data)
    assert header["end"] == HEADER_BYTES == header["header_bytes"]
    assert header["magic"] == b"\x8bEDGELOG"
    assert header["crc"] == crc32(data[:92])
    known = SegmentHeader.decode(data)
    assert known is not None
    assert known._asdict() == {name: header[name] for name in known._fields}
    found, offset = [], HEADER_BYTES
    while any(data[offset:]):
        index = fields("index field", data[offset:])
        size = int(index["end"])
        assert index["crc"] == crc32(data[offset + 4 : offset + size], int(header["salt"]))
        payload, seq = offset + padded(size), int(index["seq"])
        columns = (numbers(bytes(index[name]), bytes_each) for name, bytes_each in COLUMNS)
        for length, crc, triggers, kind in zip(*columns, strict=True):
            assert {row[0] for row in TABLES["kind"]} >= {str(kind)}
            assert crc32(data[payload : payload + length]) == crc
            found.append((seq, triggers, kind))
            payload, seq = payload + length, seq + triggers
        end = payload = padded(payload)
        if int(index["frames"]) > 2:
            end += padded(size)
            assert data[payload + 4 : end] == data[offset + 4 : offset + padded(size)]
            complement = int(header["salt"]) ^ 0xFFFFFFFF
            assert numbers(data[payload : payload + 4], 4) == [crc32(data[offset + 4 : offset + size], complement)]
        offset = end
    assert found == expected


@pytest.mark.parametrize("version", CURSOR_VERSIONS)
def test_who_reads_by_the_document_reads_the_golden_cursor(version: str) -> None:
    data = golden(f"cursor-{version}.bin")
    slot = fields("slot field", data)
    assert slot["magic"] == b"EDGECUR1"
    assert slot["end"] == len(data)
    assert slot["crc"] == crc32(bytes(slot["payload"]))
    assert f"Two slots of {SLOT_BYTES} bytes" in DOCUMENT.read_text("utf-8")


def test_the_document_names_every_kind_log_and_golden_file() -> None:
    assert [(int(row[0]), row[1].upper()) for row in TABLES["kind"]] == [(kind.value, kind.name) for kind in FrameKind]
    paths = [row[0] for row in TABLES["path"]]
    assert {f"outbox/{log}/*.seg" for log in LOGS} | {
        "outbox/cursor",
        "outbox/recent",
        "outbox/firings",
        "outbox/rates",
    } <= set(paths)
    named = set(re.findall(r"[a-z-]+-v1(?:\.\d)?\.bin", DOCUMENT.read_text("utf-8")))
    assert named <= {path.name for path in HERE.iterdir()}
