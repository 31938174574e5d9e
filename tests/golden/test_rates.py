"""The file `rates` (docs/format.md): its golden bytes are written, and read."""

from __future__ import annotations

from pathlib import Path
from random import Random

import msgspec
import pytest

from edgeagent.outbox.ratesfile import KeptRates
from edgeagent.rules.rate import FirstPublication, PublishedTriggers
from tests.fakes.crash_filesystem import CrashFilesystem

GOLDEN = (Path(__file__).parent / "rates-v1.bin").read_bytes()
FILE = Path("/state/outbox/rates")
FIRST = tuple([FirstPublication(at_ms, bytes([n] * 16)) for n, at_ms in enumerate((-5_000, 86_000_000, 86_390_000))])
RATES = PublishedTriggers(1_800_000_000_000, 86_400_000, bytes(range(16)), {"overheat": FIRST, "log": ()})
OF_TIMES_ONLY = msgspec.msgpack.encode([1_800_000_000_000, 86_400_000, bytes(16), {"overheat": [86_000_000]}])


def test_todays_code_writes_the_golden_bytes() -> None:
    filesystem = CrashFilesystem(Random(0))  # noqa: S311  nothing fails here
    kept = KeptRates(filesystem, FILE)
    kept.put(RATES)
    assert kept.changed
    kept.save()
    assert not kept.changed
    assert filesystem.read(FILE) == GOLDEN


def test_the_golden_bytes_are_read() -> None:
    filesystem = CrashFilesystem(Random(0))  # noqa: S311  nothing fails here
    filesystem.replace(FILE, GOLDEN)
    assert KeptRates(filesystem, FILE).content == RATES


@pytest.mark.parametrize("content", [GOLDEN[:-3], b"", OF_TIMES_ONLY])
def test_a_file_that_cannot_be_read_counts_as_none(content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    filesystem = CrashFilesystem(Random(0))  # noqa: S311  nothing fails here
    filesystem.replace(FILE, content)
    assert KeptRates(filesystem, FILE).content is None
    assert "rules may exceed their rate once" in caplog.text
