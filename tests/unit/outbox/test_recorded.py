"""`outbox.recorded`: events that are still on disk, whatever became of them."""

from __future__ import annotations

import pytest

from edgeagent.outbox import recorded
from edgeagent.outbox.recorded import recorded_page
from edgeagent.outbox.records import DEAD, DEAD_WAY, NORMAL, REPLAYED, SETTLED, WINDOWS
from edgeagent.outbox.store import Store
from edgeagent.ports.operator import RecordedPage
from tests.fakes.stores import (
    A_SEGMENT,
    closing,
    disk,
    everything,
    filesystem_with,
    fill,
    group,
    opened,
    read_all,
    record,
    segment_of,
)


def pages(store: Store) -> list[RecordedPage]:
    """All pages of the log."""
    result = [recorded_page(store, NORMAL, 0)]
    while (seq := result[-1].next_seq) is not None:
        result.append(recorded_page(store, NORMAL, seq))
    return result


def event_ids(store: Store) -> list[str]:
    return [trigger.id for page in pages(store) for trigger in page.triggers]


def test_events_that_are_settled_are_there_until_their_segment_goes() -> None:
    store = opened(disk())
    fill(store, A_SEGMENT + 2)
    for leased in read_all(store):
        store.release(NORMAL, leased.seq, SETTLED)
    assert event_ids(store) == [f"e{number}" for number in range(1, A_SEGMENT + 3)]
    store.checkpoint()
    assert event_ids(store) == [f"e{number}" for number in range(A_SEGMENT + 1, A_SEGMENT + 3)]


def test_an_event_with_several_rules_is_there_once() -> None:
    store = opened(disk())
    store.append([group(NORMAL, record("e1", ["a", "b", "c"]), record("e2"))])
    assert [(trigger.id, trigger.rule) for page in pages(store) for trigger in page.triggers] == [
        ("e1", "a"),
        ("e2", "r"),
    ]


def test_an_outbox_that_was_never_used_has_none() -> None:
    assert pages(opened(disk())) == [RecordedPage([], None)]


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_pages_together_are_all_events(monkeypatch: pytest.MonkeyPatch, frames: int) -> None:
    monkeypatch.setattr(recorded, "_PAGE_FRAMES", frames)
    store = opened(disk())
    fill(store, 10)
    assert event_ids(store) == [f"e{number}" for number in range(1, 11)]


def test_what_is_damaged_is_passed_over() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, A_SEGMENT + 1)
    path, data, frames = segment_of(filesystem, 1)
    frame = next(frame for frame in frames if b"e2" in bytes(frame.payload))
    offset = frame.offset + bytes(data[frame.offset : frame.end]).find(b"xxx")
    store.close()
    store = opened(filesystem_with(filesystem, path, data[:offset] + b"?" + data[offset + 1 :]))
    assert event_ids(store) == ["e1", "e3", "e4", "e5"]


def test_a_window_that_was_put_back_is_no_event() -> None:
    store = opened(disk())
    store.append([group(NORMAL, record("e1"), record("e2"))])
    store.gather([closing(read_all(store))])
    [window] = everything(store, WINDOWS)
    store.move(window, DEAD, DEAD_WAY, reason="no", code=400, attempts=1)
    store.move(everything(store, DEAD)[0], NORMAL, REPLAYED, reason="", code=0, attempts=0)
    assert event_ids(store) == ["e1", "e2"]
