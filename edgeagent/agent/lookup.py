"""Finds triggers in the outbox for devices that ask. A backlog may be long, so one search runs at a time.

A correlation id is a hash: it does not tell where its trigger is. Ids that were read once are kept in a Bloom filter of
fixed size, so a question about an unknown id costs only reading what was stored since the last search. The first search
after a start reads everything; those that arrive meanwhile wait for it and share its result.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

from edgeagent.agent.bloom_filter import ROOMY, BloomFilter, is_correlation_id
from edgeagent.agent.notes import correlation_of
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import EVENT_LOGS, LIMITED, PARKED, WINDOWS, Leased
from edgeagent.outbox.search import walk

# The logs of triggers that may never have been published, and so may be unknown to the ledger. (A parked trigger may be
# one that nobody subscribed to.) They are in the order in which triggers move from one to the next, so that a trigger
# which moves during a search is found in its new log.
BUFFERED_LOGS = (*EVENT_LOGS, WINDOWS, LIMITED, PARKED)
# How many found triggers are remembered, so that they are found again without reading their log up to them.
_MAX_PLACES = 1000

T = TypeVar("T")


class TriggerLookup:
    """Searches the logs in `BUFFERED_LOGS` beside the outbox's work.

    Owns the Bloom filter of the ids that were read. Promises to find a trigger that waits there. Must never change a
    log.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._one_at_a_time = asyncio.Lock()
        self._seen: BloomFilter | None = None
        self._pending = 0  # how many triggers were waiting when the filter was filled
        self._next_seqs: dict[str, int] = {}  # for each log: every lower seq is in the filter
        self._places: OrderedDict[str, tuple[str, int]] = OrderedDict()

    async def trigger(self, correlation_id: str) -> Leased | None:
        """The trigger with this correlation id among those that were not published yet.

        Raises:
            StorageFailed: the disk cannot be read now.
        """
        if not is_correlation_id(correlation_id):
            return None
        async with self._one_at_a_time:
            if correlation_id not in await self._filled():
                return None
            log, seq = self._places.get(correlation_id, (BUFFERED_LOGS[0], 0))
            found = await self._in_log(log, seq, correlation_id, first_part=seq > 0)
            for log in BUFFERED_LOGS if found is None else ():
                found = found or await self._in_log(log, 0, correlation_id)
            if found is not None:
                self._places[correlation_id] = found.log, found.seq
                if len(self._places) > _MAX_PLACES:
                    self._places.popitem(last=False)
            return found

    async def search(self, logs: Sequence[str], pick: Callable[[Leased], T | None], limit: int) -> list[T]:
        """The last `limit` triggers of each log for which `pick` returns a value, as those values.

        Reads the logs from end to end.

        Raises:
            StorageFailed: the disk cannot be read now.
        """
        found: list[T] = []
        async with self._one_at_a_time:
            for log in logs:
                newest: deque[T] = deque(maxlen=limit)
                async for part in walk(self._outbox, log):
                    newest += [picked for leased in part if (picked := pick(leased)) is not None]
                found += newest
        return found

    async def _in_log(self, log: str, seq: int, correlation_id: str, *, first_part: bool = False) -> Leased | None:
        async with aclosing(walk(self._outbox, log, seq)) as parts:
            async for part in parts:
                for leased in part:
                    if correlation_of(leased) == correlation_id:
                        return leased
                if first_part:
                    return None
        return None

    async def _filled(self) -> BloomFilter:
        """The filter, once it holds the ids of everything stored until now."""
        seen = self._seen
        if seen is None or seen.count > max(ROOMY, 2 * self._pending):  # most of these triggers are gone
            seen, self._seen, self._next_seqs = BloomFilter(), None, {}
        for log in BUFFERED_LOGS:
            async for part in walk(self._outbox, log, self._next_seqs.get(log, 0)):
                for leased in part:
                    seen.add(correlation_of(leased))
                self._next_seqs[log] = part[-1].seq + 1 if part else self._next_seqs.get(log, 0)
        if self._seen is None:
            self._seen, self._pending = seen, seen.count
        return seen
