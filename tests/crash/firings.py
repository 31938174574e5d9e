"""What a store has promised about the last firings of rules, beside the model of its triggers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from edgeagent.errors import OutboxError, StorageFailed
from edgeagent.events.event import Record
from edgeagent.outbox.records import EVENT_LOGS, Armed, Group
from edgeagent.outbox.store import Store
from tests.fakes.stores import BOOT

REMEMBERED = frozenset({"r0", "r1"})
Key = tuple[str, str]  # rule and source
Known = tuple[str, bool]  # the event's id, and whether it is armed since


class FiringsModel:
    """`known`: the last firings; `doubtful`: what was refused, and may be there after a crash all the same.

    `unread`: what was known when the file could not be read. Until a rule fires again it may be read at a later start.
    """

    def __init__(self) -> None:
        self.known: dict[Key, Known] = {}
        self.doubtful: list[Record | Armed] = []
        self.unread: dict[Key, set[Known]] = {}

    @contextmanager
    def appending(self, groups: Sequence[Group]) -> Iterator[list[int | OutboxError]]:
        """Groups are stored or refused, those of one log after those of the other; takes what became of each."""
        before = list(self.doubtful)
        self.doubtful += (entry for group in groups for entry in group.records)
        outcomes: list[int | OutboxError] = []
        yield outcomes
        self.doubtful = before
        for log in EVENT_LOGS:
            for group, outcome in zip(groups, outcomes, strict=True):
                if group.log == log and isinstance(outcome, int):
                    self._take_up(group.records)
                elif group.log == log and isinstance(outcome, StorageFailed):
                    self.doubtful += group.records

    def check(self, store: Store) -> None:
        """The store knows the same."""
        assert found_in(store) == self.known

    def opened(self, store: Store, *, unreadable: bool) -> None:
        """The store was opened again: it knows the same, but for what is doubtful, and for a file it could not read."""
        found = found_in(store)
        doubtful = {key: entry for entry in self.doubtful for key in keys_of(entry)}
        for key in found.keys() | self.known.keys():
            before = {known for known in (self.known.get(key), *self.unread.get(key, ())) if known is not None}
            if unreadable or key in doubtful:
                allowed = {entry.id for entry in self.doubtful if isinstance(entry, Record) and key in keys_of(entry)}
                assert unreadable or key in found or key not in self.known, f"the firing of {key} is forgotten"
                assert unreadable or key not in found or found[key][0] in allowed | {known[0] for known in before}
            else:
                assert found.get(key) in (before or {None}), f"the last firing of {key} is another one"
        if unreadable:
            for key, known in self.known.items():
                self.unread.setdefault(key, set()).add(known)
        else:
            self.unread.clear()
        self.known = found

    def _take_up(self, entries: Iterable[Record | Armed]) -> None:
        for entry in entries:
            for key in keys_of(entry):
                if isinstance(entry, Record):
                    self.known[key] = entry.id, False
                    self.unread.pop(key, None)
                    continue
                if key in self.known:
                    self.known[key] = self.known[key][0], True
                if key in self.unread:
                    self.unread[key] = {(event_id, True) for event_id, _ in self.unread[key]}


def keys_of(entry: Record | Armed) -> list[Key]:
    """The rules and the source that it is about."""
    return [(rule, entry.source) for rule in entry.rules if rule in REMEMBERED]


def found_in(store: Store) -> dict[Key, Known]:
    """What a store knows."""
    assert all(firing.boot == BOOT and firing.uptime_ms == 5 for firing in store.firings)
    return {(firing.rule, firing.source): (firing.event_id, firing.armed) for firing in store.firings}
