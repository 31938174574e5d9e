"""The file `rates` (docs/format.md): its golden bytes are written, and read."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from edgeagent.outbox.ratesfile import KeptTimes
from edgeagent.rules.rate import PublishedTimes
from tests.fakes.crash_filesystem import CrashFilesystem

GOLDEN = (Path(__file__).parent / "rates-v1.bin").read_bytes()
FILE = Path("/state/outbox/rates")
TIMES = PublishedTimes(
    1_800_000_000_000, 86_400_000, bytes(range(16)), {"overheat": (-5_000, 86_000_000, 86_390_000), "log": ()}
)


def test_todays_code_writes_the_golden_bytes() -> None:
    filesystem = CrashFilesystem(Random(0))  # noqa: S311  nothing fails here
    kept = KeptTimes(filesystem, FILE)
    kept.put(TIMES)
    assert kept.changed
    kept.save()
    assert not kept.changed
    assert filesystem.read(FILE) == GOLDEN


def test_the_golden_bytes_are_read() -> None:
    filesystem = CrashFilesystem(Random(0))  # noqa: S311  nothing fails here
    filesystem.replace(FILE, GOLDEN)
    assert KeptTimes(filesystem, FILE).content == TIMES


def test_a_file_that_cannot_be_read_counts_as_none(caplog: pytest.LogCaptureFixture) -> None:
    filesystem = CrashFilesystem(Random(0))  # noqa: S311  nothing fails here
    filesystem.replace(FILE, GOLDEN[:-3])
    assert KeptTimes(filesystem, FILE).content is None
    assert "rules may exceed their rate once" in caplog.text
