"""The file `recent` (docs/format.md): its golden bytes are read. `test_format` writes them."""

from __future__ import annotations

from pathlib import Path
from random import Random

from edgeagent.outbox.recent import Delivery, Recent
from tests.fakes.crash_filesystem import CrashFilesystem

FILE = Path("/state/outbox/recent")


def test_the_golden_file_is_read() -> None:
    filesystem = CrashFilesystem(Random(0))  # noqa: S311  nothing fails here
    filesystem.replace(FILE, (Path(__file__).parent / "recent-v1.bin").read_bytes())
    recent = Recent.load(filesystem, FILE, 100)
    assert recent.keys() == [
        (bytes(16), bytes(8)),
        (b"\1" * 16, b"\1" * 8),
        (b"\2" * 16, b"\2" * 8),
        (b"\3" * 16, b"\3" * 8),
    ]
    assert recent.deliveries() == [Delivery("1f2e3d4c", 17, bytes(8), "018f-7")]
    assert recent.batch == 3
