"""The golden files of the format on disk: their names, what they hold, and the same bytes made by today's code.

A golden file is never changed. `golden_vectors` makes the bytes of all of them; a new version's are written by hand.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from random import Random

import msgspec

from edgeagent.events.artifact import Artifact
from edgeagent.events.event import Record
from edgeagent.events.time_quality import UNSYNCHRONIZED
from edgeagent.outbox.cursor import SLOT_BYTES, Checkpoint
from edgeagent.outbox.frame import Batch
from edgeagent.outbox.records import (
    DEAD,
    DEAD_WAY,
    HIGH,
    NORMAL,
    SETTLED,
    WINDOWS,
    Armed,
    Closing,
    Group,
    Moved,
    OutboxLimits,
)
from edgeagent.outbox.segment import segment_path
from edgeagent.outbox.store import Store
from edgeagent.rules.firings import Firing
from tests.fakes.crash_filesystem import CrashFilesystem

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "format.md"
DIRECTORY = Path("/outbox")
BOOT = bytes(range(16))
VERSIONS = ("v1", "v1.1", "v1.2", "v1.3")
SEGMENT_VERSIONS = (*VERSIONS, "v1.4")
CURSOR_VERSIONS = VERSIONS
SIDE_VERSIONS = ("v1", "v1.1", "v1.2", "v1.3")  # of the segments with windows, and with what armed a rule
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
UNTIMED = msgspec.structs.replace(FULL, time_quality=UNSYNCHRONIZED)
ARTIFACT = Artifact("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", 1 << 30, "image/jpeg")
LARGE = msgspec.structs.replace(
    FULL,
    data=b'{"size":1073741824,"sha256":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",'
    b'"contentType":"image/jpeg"}',
    datacontenttype="image/jpeg",
    delivery=None,
    artifact=ARTIFACT,
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
        "segment-v1.4.bin": files[segment_path(DIRECTORY / NORMAL, 1)],
        "dead-segment-v1.4.bin": files[segment_path(DIRECTORY / DEAD, 1)],
        "cursor-v1.3.bin": newest,
        "recent-v1.bin": files[DIRECTORY / "recent"],
        "record-artifact-v1.1.bin": msgspec.msgpack.encode(LARGE),
        "record-clock-v1.bin": msgspec.msgpack.encode(UNTIMED),
        "record-v1.3.bin": msgspec.msgpack.encode(FULL),
        "moved-v1.3.bin": msgspec.msgpack.encode(MOVED),
        "armed-v1.bin": msgspec.msgpack.encode(ARMED),
        "armed-segment-v1.3.bin": windows[segment_path(DIRECTORY / NORMAL, 1)],
        "windows-segment-v1.3.bin": windows[segment_path(DIRECTORY / WINDOWS, 1)],
        "firings-v1.bin": windows[DIRECTORY / "firings"],
        "batch-v1.bin": msgspec.msgpack.encode(Batch(5, 3, 10, 4, 2, 3, 0, 0, 1)),
    }


def golden(name: str) -> bytes:
    return (HERE / name).read_bytes()
