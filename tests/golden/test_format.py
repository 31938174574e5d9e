"""The format on disk, byte by byte: what today's code writes is what it has always written."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from edgeagent.events.event import Record
from edgeagent.outbox.cursor import SLOT_BYTES, Checkpoint, CursorFile, LogState
from edgeagent.outbox.frame import Batch, Frame, FrameKind, FramesEnd, SegmentHeader, decode_batch, scan
from edgeagent.outbox.records import DEAD, HIGH, LIMITED, NORMAL, PARKED, WINDOWS, Armed, Leased, Moved, decode
from edgeagent.outbox.segment import segment_path
from tests.fakes.crash_filesystem import CrashFilesystem
from tests.golden.vectors import (
    ARMED,
    ARTIFACT,
    BOOT,
    CURSOR_VERSIONS,
    DIRECTORY,
    FIRING,
    FULL,
    GATHERED,
    LARGE,
    MOVED,
    NOW_MS,
    PLAIN,
    SEGMENT_VERSIONS,
    SIDE_VERSIONS,
    UNTIMED,
    VERSIONS,
    WINDOW,
    golden,
    golden_vectors,
    open_store,
)


@pytest.mark.parametrize("name", list(golden_vectors()))
def test_todays_code_writes_the_golden_bytes(name: str) -> None:
    assert golden_vectors()[name] == golden(name)


def test_the_golden_record_and_move_are_read() -> None:
    for version in VERSIONS:
        assert msgspec.msgpack.decode(golden(f"record-{version}.bin"), type=Record) == FULL
        assert msgspec.msgpack.decode(golden(f"moved-{version}.bin"), type=Moved) == MOVED
    for version in ("v1", "v1.1"):
        assert msgspec.msgpack.decode(golden(f"record-artifact-{version}.bin"), type=Record) == LARGE
    assert msgspec.msgpack.decode(golden("record-clock-v1.bin"), type=Record) == UNTIMED
    assert ARTIFACT.claim() == LARGE.data
    assert msgspec.msgpack.decode(golden("armed-v1.bin"), type=Armed) == ARMED
    assert msgspec.msgpack.decode(golden("batch-v1.bin"), type=Batch) == Batch(5, 3, 10, 4, 2, 3, 0, 0, 1)


@pytest.mark.parametrize(
    "artifact",
    [
        ("9F86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", 1, "image/jpeg"),
        ("../../../../etc/passwd", 1, "image/jpeg"),
        (ARTIFACT.sha256, -1, "image/jpeg"),
        (ARTIFACT.sha256, 1 << 63, "image/jpeg"),
        (ARTIFACT.sha256, 1, "image/jpeg\r\nx: y"),
        (ARTIFACT.sha256, 1, "x" * 1025),
    ],
)
def test_a_record_whose_artifact_is_out_of_bounds_is_no_record(artifact: tuple[str, int, str]) -> None:
    payload = msgspec.msgpack.encode([*msgspec.structs.astuple(LARGE)[:-2], artifact])
    assert decode(Frame(0, len(payload), 1, len(LARGE.rules), FrameKind.EVENT, payload)) is None


@pytest.mark.parametrize("quality", [0, 6, "device"])
def test_a_record_whose_time_has_no_known_quality_is_no_record(quality: object) -> None:
    payload = msgspec.msgpack.encode([*msgspec.structs.astuple(FULL)[:-1], quality])
    assert decode(Frame(0, len(payload), 1, len(FULL.rules), FrameKind.EVENT, payload)) is None


@pytest.mark.parametrize("version", SEGMENT_VERSIONS)
def test_the_golden_segment_is_read(version: str) -> None:
    data = golden(f"segment-{version}.bin")
    header = SegmentHeader.decode(data)
    assert header == SegmentHeader(0x5A175A17, 1, 1, 0, 0, NOW_MS, BOOT, 1024 if version >= "v1.2" else 0)
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


@pytest.mark.parametrize("version", SEGMENT_VERSIONS)
def test_an_outbox_of_golden_files_is_opened(version: str) -> None:
    filesystem = CrashFilesystem(Random(0))  # noqa: S311  nothing fails here
    for log, name in ((NORMAL, "segment"), (DEAD, "dead-segment")):
        filesystem.make_directory(DIRECTORY / log)
        filesystem.replace(segment_path(DIRECTORY / log, 1), golden(f"{name}-{version}.bin"))
    filesystem.replace(DIRECTORY / "cursor", golden(f"cursor-{min(version, CURSOR_VERSIONS[-1])}.bin"))
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


@pytest.mark.parametrize("version", SIDE_VERSIONS)
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
