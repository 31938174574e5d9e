"""The tail: triggers that were just committed, kept in memory until they are leased, so that no disk is read for them.

Only what comes right behind everything that was leased goes in; so triggers are handed out in the order of their log,
whether they come from here or from the disk. When it is full, or when the reader of the log is not at its end, the
rest is left to the disk. What is in it counts as leased: nothing else touches it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from edgeagent.events.event import Record
from edgeagent.outbox.records import Group, Leased

_MAX_TRIGGERS = 2048
_MAX_BYTES = 1 << 20


class LogTail:
    """Of one log. `next_seq`: what was leased and what is here ends there."""

    def __init__(self, log: str, next_seq: int, boot: bytes) -> None:
        """Nothing yet. `boot`: in which the records' `uptime_ms` count that will come."""
        self.next_seq = next_seq
        self._log = log
        self._boot = boot
        self._triggers: list[Leased] = []
        self._bytes = 0

    def add(self, seq: int, records: Sequence[Record]) -> None:
        """Take up records that were committed, the first one with this seq, as far as they fit."""
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
        """Lease what is here."""
        taken, self._triggers, self._bytes = self._triggers, [], 0
        return taken

    def put_back(self) -> int:
        """Leave what is here to the disk; returns the seq from where on it has to be read."""
        taken = self.take()
        self.next_seq = taken[0].seq if taken else self.next_seq
        return self.next_seq


class Tails:
    """Of all logs of events, and how far those reach."""

    def __init__(self, next_seqs: Mapping[str, int], ends: Mapping[str, int], boot: bytes) -> None:
        """`next_seqs`: where leasing goes on; `ends`: the seq that comes next in each log."""
        self._tails = {name: LogTail(name, seq, boot) for name, seq in next_seqs.items()}
        self._ends = dict(ends)
        self._closed = 0

    def added(self, group: Group, seq: int, ends: Mapping[str, int]) -> None:
        """A group was committed with this seq."""
        self.reach(ends)
        if not self._closed:
            self._tails[group.log].add(seq, group.events)

    def reach(self, ends: Mapping[str, int]) -> None:
        """The logs reach so far, or further: this may be told later than what came after it."""
        for name, end in ends.items():
            self._ends[name] = max(self._ends[name], end)

    def take(self, name: str) -> list[Leased] | None:
        """The next triggers of a log if they are here, or none if there are none; None: look on the disk.

        Of a log that takes no events nothing is ever here.
        """
        tail = self._tails.get(name)
        if tail is None:
            return None
        if newest := tail.take():
            return newest
        return [] if tail.next_seq >= self._ends[name] else None

    def leased(self, name: str, next_seq: int) -> None:
        """The disk was read up to this seq."""
        self._tails[name].next_seq = next_seq

    def handed_out(self) -> dict[str, int]:
        """Below which seq everything of a log was leased, or is here."""
        return {name: tail.next_seq for name, tail in self._tails.items()}

    def put_back(self) -> dict[str, int]:
        """Leave everything that is here to the disk; returns as `handed_out`."""
        return {name: tail.put_back() for name, tail in self._tails.items()}

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Take up nothing meanwhile: a job reads or releases what was not leased, and must find all on the disk."""
        self.close()
        try:
            yield
        finally:
            self.open()

    def close(self) -> None:
        """Take up nothing until `open`."""
        self._closed += 1

    def open(self) -> None:
        """See `close`; as often as that."""
        self._closed -= 1
