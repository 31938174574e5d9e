"""The file `rates`: it is on the disk before a checkpoint is that relies on it."""

from __future__ import annotations

import pytest

from edgeagent.errors import StorageFailed
from edgeagent.outbox.records import NORMAL, SETTLED
from edgeagent.rules.rate import FirstPublication, PublishedTriggers
from tests.fakes.crash_filesystem import Fate
from tests.fakes.stores import disk, fill, opened, read_all


def published(*numbers: int) -> PublishedTriggers:
    """These triggers of a rule were published."""
    return PublishedTriggers(1_000, 5, bytes(16), {"r": tuple(FirstPublication(n, bytes([n] * 16)) for n in numbers)})


@pytest.mark.parametrize("seed", range(20))
def test_a_file_that_a_process_before_has_replaced_and_not_synced_is_written_before_the_checkpoint(seed: int) -> None:
    filesystem = disk(seed)
    store = opened(filesystem)
    fill(store, 1)
    store.rates.put(published(1))
    store.checkpoint()
    store.rates.put(published(1, 2))
    filesystem.fails = lambda _number, name: name == "replace"
    with pytest.raises(StorageFailed):
        store.checkpoint()
    filesystem.fails = lambda _number, _name: False
    store = opened(filesystem)
    found = store.rates.content
    [leased] = read_all(store)
    store.release(NORMAL, leased.seq, SETTLED)
    store.checkpoint()
    assert opened(filesystem.crash(Fate.LOST)).rates.content == found
