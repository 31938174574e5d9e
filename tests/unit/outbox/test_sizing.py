"""`edgeagent size` promises what the real outbox keeps: what it takes and writes is compared with the model."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.events.event import Record
from edgeagent.outbox.files import OsFilesystem
from edgeagent.outbox.records import NORMAL, Group, OutboxLimits
from edgeagent.outbox.sizing import Flash, Load, sizes
from edgeagent.outbox.store import Store

FLASH = Flash(24e12, 4.0)
DAY = 86_400


@pytest.mark.parametrize(("data_bytes", "rules"), [(20, 1), (200, 1), (200, 5), (4000, 1)])
def test_what_waits_takes_no_more_than_the_model_says_and_not_much_less(
    tmp_path: Path, data_bytes: int, rules: int
) -> None:
    names = tuple(f"rule-{number}" for number in range(rules))
    record = Record(
        "gw-042",
        "machine-0001",
        "0197b0f0-7c5e-7c55-9f1e-7b8a3c2d1e0f",
        "event",
        "2027-01-15T08:00:00.000Z",
        b"1" * data_bytes,
        is_json=True,
        rules=names,
        accepted_ms=1_800_000_000_000,
        uptime_ms=1_000_000,
        topic="events/machine-0001",
    )
    limits = OutboxLimits(max_bytes=64 << 20, segment_bytes=8 << 20, dedupe_events=100)
    store = Store(OsFilesystem(), tmp_path, limits, boot=bytes(16), new_salt=lambda: 1, now_ms=lambda: 1)
    events = 200
    try:
        for number in range(events):
            one = msgspec.structs.replace(record, id=record.id[:-4] + f"{number:04d}")
            assert isinstance(store.append([Group(NORMAL, [one], [(bytes(16), bytes(8))])])[0], int)
        taken = store.bytes_per_trigger * rules
    finally:
        store.close()
    said = sizes(Load(DAY, data_bytes, 3600, rules), FLASH).record_bytes
    assert taken <= said <= 1.5 * taken


@given(
    st.floats(0.001, 1e9),
    st.integers(0, 8 << 20),
    st.floats(0, 1e7),
    st.integers(1, 100),
    st.booleans(),
)
def test_more_of_anything_never_needs_less(
    events: float, data_bytes: int, offline_s: float, rules: int, tracked: bool
) -> None:
    load = Load(events, data_bytes, offline_s, rules, tracked)
    found = sizes(load, FLASH)
    assert found.max_bytes >= found.waiting_bytes
    assert found.written_bytes_per_event >= found.record_bytes
    assert 0 < found.flash_years < math.inf
    for more in (
        load._replace(events_per_day=events * 2),
        load._replace(data_bytes=data_bytes + 1000),
        load._replace(offline_s=offline_s * 2),
        load._replace(tracked=True),
    ):
        larger = sizes(more, FLASH)
        assert larger.max_bytes >= found.max_bytes
        assert larger.flash_years <= found.flash_years * 1.0001


def test_it_says_what_was_measured_at_one_event_a_second() -> None:
    """5.06 KiB by the outbox and 7.49 KiB by the ledger: `python -m benchmarks wear`."""
    untracked = sizes(Load(DAY, 82, 3600, tracked=False), FLASH).written_bytes_per_event / 1024
    tracked = sizes(Load(DAY, 82, 3600), FLASH).written_bytes_per_event / 1024
    assert untracked == pytest.approx(5.06, rel=0.1)
    assert tracked == pytest.approx(12.55, rel=0.1)


def test_without_an_event_the_flash_lasts_for_ever() -> None:
    found = sizes(Load(0, 200, 3600), FLASH)
    assert (found.waiting_events, found.written_bytes_per_day, found.flash_years) == (0, 0, math.inf)
