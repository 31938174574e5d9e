"""Stores for tests, over a disk in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random

from edgeagent.events.event import Record, gathered
from edgeagent.outbox.frame import HEADER_BYTES, Block, Frame, SegmentHeader, read_block, scan
from edgeagent.outbox.records import LOGS, NORMAL, Armed, Closing, Group, Leased, OutboxLimits
from edgeagent.outbox.segment import segment_path
from edgeagent.outbox.store import Store
from tests.fakes.crash_filesystem import CrashFilesystem

DIRECTORY = Path("/outbox")
BOOT = bytes(range(16))
SEGMENT_BYTES = 2304
LIMITS = OutboxLimits(max_bytes=8 * SEGMENT_BYTES, segment_bytes=SEGMENT_BYTES, dedupe_events=100)
DATA = b"x" * 300  # so many records of this fit a segment, each in a commit of its own:
A_SEGMENT = 4


def record(event_id: str, rules: Sequence[str] = ("r",), data: bytes = b"{}", source: str = "boiler") -> Record:
    """A record that is complete as far as the outbox looks."""
    return Record("gw", source, event_id, "event", "2026-03-20T11:00:00Z", data, True, tuple(rules), 1_000, 5)


def group(log: str, *records: Record | Armed, remembered: Iterable[str] = ()) -> Group:
    """Records as one caller hands them over."""
    keys = [(f"{entry.id:>16.16}".encode(), b"digest..") for entry in records if isinstance(entry, Record)]
    return Group(log, records, keys, frozenset(remembered))


def closing(members: Sequence[Leased]) -> Closing:
    """A window that closed over triggers of one rule."""
    rule = members[0].rule
    return Closing(rule, members, gathered([member.record for member in members], rule))


def open_store(
    filesystem: CrashFilesystem,
    limits: OutboxLimits,
    remembered: Iterable[str] = (),
    now_ms: Callable[[], int] = lambda: 1_000,
) -> Store:
    """A store on this disk, with salts from its chance."""
    return Store(
        filesystem,
        DIRECTORY,
        limits,
        boot=BOOT,
        new_salt=lambda: filesystem.random.getrandbits(32),
        now_ms=now_ms,
        remembered=frozenset(remembered),
    )


def disk(seed: int = 0) -> CrashFilesystem:
    """A disk on which chance does the same each time."""
    return CrashFilesystem(Random(seed))  # noqa: S311  chance for tests


def opened(
    filesystem: CrashFilesystem,
    limits: OutboxLimits = LIMITS,
    remembered: Iterable[str] = (),
    now_ms: Callable[[], int] = lambda: 1_000,
) -> Store:
    """A store on this disk, with small segments."""
    return open_store(filesystem, limits, remembered, now_ms)


def fill(store: Store, count: int, log: str = NORMAL, first: int = 1) -> None:
    """Store events `e<first>` and on, each in a commit of its own."""
    for number in range(first, first + count):
        assert isinstance(store.append([group(log, record(f"e{number}", data=DATA))])[0], int)


def everything(store: Store, log: str = NORMAL) -> list[Leased]:
    """Every trigger of a log that is not released."""
    return [leased for part in store.peek(log) for leased in part]


def ids(leased: list[Leased]) -> list[str]:
    """The ids of their events."""
    return [entry.record.id for entry in leased]


def read_all(store: Store, log: str = NORMAL) -> list[Leased]:
    """Lease everything there is."""
    result: list[Leased] = []
    while part := store.read(log):
        result += part
    return result


def balanced(store: Store) -> bool:
    """Whether the account adds up."""
    return not list(store.account().problems())


def segment_of(filesystem: CrashFilesystem, number: int, log: str = NORMAL) -> tuple[Path, bytes, list[Frame]]:
    """A segment file: its path, its bytes, and all good frames in it."""
    path = segment_path(DIRECTORY / log, number)
    data = filesystem.files()[path]
    header = SegmentHeader.decode(data)
    assert header is not None
    frames = [item for item in scan(memoryview(data), header.salt, 0) if isinstance(item, Frame)]
    return path, data, frames


def blocks_of(data: bytes) -> list[Block]:
    """The blocks of a segment that is whole."""
    header = SegmentHeader.decode(data)
    assert header is not None
    result: list[Block] = []
    offset = HEADER_BYTES
    while (block := read_block(memoryview(data), offset, header.salt)) is not None:
        result.append(block)
        offset = block.end
    return result


def filesystem_with(filesystem: CrashFilesystem, path: Path, data: bytes) -> CrashFilesystem:
    """The same disk with other bytes in one file."""
    copy = disk()
    for log in LOGS:
        copy.make_directory(DIRECTORY / log)
    for other, content in filesystem.files().items():
        copy.replace(other, data if other == path else content)
    return copy
