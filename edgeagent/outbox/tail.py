"""The tail: triggers just committed, kept in memory until they are leased, so that they need not be read from the disk.

Only triggers that directly follow everything leased are added, so they are handed out in the order of their log,
whether from memory or from the disk. If the tail is full, or the log's reader is not at its end, the rest is read from
the disk. Triggers in the tail count as leased: nothing else touches them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from edgeagent.events.event import Record
from edgeagent.outbox.records import Group, Leased

_MAX_TRIGGERS = 2048
_MAX_BYTES = 1 << 20


class LogTail:
    """Owns the tail of one log. `next_seq`: the seq after everything leased and everything in the tail."""

    def __init__(self, log: str, next_seq: int, boot: bytes) -> None:
        """Begin empty. `boot`: the boot in which the records' `uptime_ms` counts."""
        self.next_seq = next_seq
        self._log = log
        self._boot = boot
        self._triggers: list[Leased] = []
        self._bytes = 0

    def add(self, seq: int, records: Sequence[Record]) -> None:
        """Add records that were committed, the first one with this seq, as far as they fit."""
        if seq != self.next_seq:
            return
        log, boot, triggers = self._log, self._boot, self._triggers
        for record in records:
            if len(triggers) >= _MAX_TRIGGERS or self._bytes >= _MAX_BYTES:
                break
            for rule in record.rules:
                triggers.append(Leased(log, seq, rule, record, boot))
                seq += 1
            self._bytes += len(record.data)
        self.next_seq = seq

    def take(self) -> list[Leased]:
        """Lease everything in the tail."""
        taken, self._triggers, self._bytes = self._triggers, [], 0
        return taken

    def put_back(self) -> int:
        """Empty the tail; returns the seq from which the disk must be read."""
        taken = self.take()
        self.next_seq = taken[0].seq if taken else self.next_seq
        return self.next_seq


class Tails:
    """Owns the tails of all logs of events, and knows how far each log reaches."""

    def __init__(self, next_seqs: Mapping[str, int], ends: Mapping[str, int], boot: bytes) -> None:
        """`next_seqs`: where leasing continues; `ends`: the next seq of each log."""
        self._tails = {name: LogTail(name, seq, boot) for name, seq in next_seqs.items()}
        self._ends = dict(ends)
        self._closed = 0

    def added(self, group: Group, seq: int, ends: Mapping[str, int]) -> None:
        """Add a group that was committed with this seq."""
        self.reach(ends)
        if not self._closed:
            self._tails[group.log].add(seq, group.events)

    def reach(self, ends: Mapping[str, int]) -> None:
        """Note that the logs reach at least this far; an older report than the last one does no harm."""
        for name, end in ends.items():
            self._ends[name] = max(self._ends[name], end)

    def take(self, name: str) -> list[Leased] | None:
        """The next triggers of a log if they are in memory; empty if there are none, None if the disk must be read.

        It is always None for a log that receives no events.
        """
        tail = self._tails.get(name)
        if tail is None:
            return None
        if newest := tail.take():
            return newest
        return [] if tail.next_seq >= self._ends[name] else None

    def leased(self, name: str, next_seq: int) -> None:
        """Note that the disk was read up to this seq."""
        self._tails[name].next_seq = next_seq

    def handed_out(self) -> dict[str, int]:
        """The seq of each log below which everything was leased or is in the tail."""
        return {name: tail.next_seq for name, tail in self._tails.items()}

    def put_back(self) -> dict[str, int]:
        """Empty all tails; returns the same as `handed_out` afterwards."""
        return {name: tail.put_back() for name, tail in self._tails.items()}

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Add nothing meanwhile: a job reads or releases unleased triggers, and must find all of them on the disk."""
        self.close()
        try:
            yield
        finally:
            self.open()

    def close(self) -> None:
        """Add nothing until `open` was called as often as this."""
        self._closed += 1

    def open(self) -> None:
        """Undo one call of `close`."""
        self._closed -= 1
