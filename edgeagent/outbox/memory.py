"""What the outbox remembers of events whose segments may be gone: their keys, and the last firings of rules.

The files `recent` and `firings` are written when a segment is begun, and before the newest segment of a log is
removed; anything later is in the newest segments, which opening reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from pathlib import Path

from edgeagent.errors import StorageFailed
from edgeagent.events.dedupe import event_key
from edgeagent.events.event import Record
from edgeagent.outbox.files import Filesystem
from edgeagent.outbox.firingsfile import KeptFirings
from edgeagent.outbox.frame import Frame, FrameKind
from edgeagent.outbox.ratesfile import KeptRates
from edgeagent.outbox.reader import numbered
from edgeagent.outbox.recent import Recent
from edgeagent.outbox.records import (
    IMPORT,
    Group,
    Moved,
    decode,
    decode_armed,
    decode_completed,
    deliveries_of,
    delivery_of,
    digest_of,
    import_marks,
)


class Memory:
    """Owns the files `recent` and `firings` and their content in memory. `number`: the last group commit in a file.

    `rates`: the file of that name, which is written with checkpoints.
    """

    def __init__(self, filesystem: Filesystem, directory: Path, events: int, rules: frozenset[str]) -> None:
        """Read the files. `events`: how many events are remembered; `rules`: the rules whose firings are."""
        self._filesystem = filesystem
        self._directory = directory
        self._rules = rules
        self._saved_number = -1  # by this process
        self.recent = Recent.load(filesystem, directory / "recent", events)
        self._firings = KeptFirings.load(filesystem, directory / "firings", rules)
        self.firings = self._firings.firings
        self.rates = KeptRates(filesystem, directory / "rates")
        self.number = max(self.recent.batch, self._firings.batch)

    def stored(self, groups: Sequence[Group], boot: bytes) -> None:
        """Remember groups that were committed in this boot."""
        for group in groups:
            self.recent.add_all(group.keys, deliveries_of(group))
            for completed in group.completed:
                self.recent.complete(completed.session, completed.packet_ids)
            if group.remembered:
                self._firings.take_up(group.records, group.remembered, boot)

    def take_up(self, segments: Iterable[tuple[bytes, Sequence[Frame]]]) -> None:
        """Add what the files lack, in the order in which it was stored, from segments, each with its boot."""
        later: list[tuple[int, bytes, Frame]] = []
        for boot, frames in segments:
            later += [(number, boot, frame) for number, frame in numbered(frames) if isinstance(frame, Frame)]
        later.sort(key=itemgetter(0))
        for number, boot, frame in later:
            if frame.kind is FrameKind.ARMED:
                armed = decode_armed(frame)
                if armed is not None and number > self._firings.batch:
                    self._firings.take_up([armed], self._rules, boot)
            elif frame.kind is FrameKind.COMPLETED:
                completed = decode_completed(frame)
                if completed is not None and number > self.recent.batch:
                    self.recent.complete(completed.session, completed.packet_ids)
            elif frame.kind is not FrameKind.BATCH and (content := decode(frame)) is not None:
                self._take_up(number, boot, *content)

    def save(self, number: int) -> None:
        """Write the files, synced, if they changed. `number`: the last group commit.

        Raises:
            StorageFailed: the disk refuses.
        """
        if number > self._saved_number:
            self._firings.save(self._filesystem, self._directory / "firings", number)
            self.recent.save(self._filesystem, self._directory / "recent", number)
            self._saved_number = number

    def may_forget(self, number: int) -> bool:
        """Whether a log's newest segment may be removed: the files hold what they must know of it.

        A full disk must not keep released records for the sake of the keys in `recent`, which are only a convenience.
        What completed an MQTT delivery must be kept: by the delivery alone another message would be taken for it.
        """
        try:
            self.save(number)
        except StorageFailed:
            return not (self._firings.changed or self.recent.has_completed)
        return True

    def _take_up(self, number: int, boot: bytes, record: Record, moved: Moved | None) -> None:
        if moved is None and number > self._firings.batch:
            self._firings.take_up([record], self._rules, boot)
        if number <= self.recent.batch:
            return
        if moved is None:
            digest = digest_of(record)
            key = event_key(record.source, record.id) if record.delivery is None else b""
            self.recent.add(key, digest, delivery_of(record, digest))
        elif moved.origin == IMPORT:
            self.recent.add(*import_marks(moved), None)
