"""The operator's calls on an outbox, implemented once for a running agent and for a stopped one.

They block, and work on the store: a running agent calls them on the disk thread (`agent/operator_service.py`), and the
commands call them directly on a stopped agent's directory (`agent/stopped.py`).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from edgeagent.agent.notes import correlation_of
from edgeagent.common.times import rfc3339
from edgeagent.errors import NotFound
from edgeagent.outbox import transfer
from edgeagent.outbox.files import Filesystem
from edgeagent.outbox.keeping import must_keep
from edgeagent.outbox.recorded import recorded_page
from edgeagent.outbox.records import DEAD, DISCARDED, LOGS, NORMAL, REPLAYED, Leased
from edgeagent.outbox.steps import NextStep, Steps
from edgeagent.outbox.store import Store
from edgeagent.ports.call import A, Call, R
from edgeagent.ports.operator import (
    DATA,
    DEAD_LETTER,
    DEAD_LETTERS,
    DEAD_NAMES,
    DISCARD,
    FIND,
    OVERVIEW,
    RECORDED,
    RELEASE_EXPORTED,
    REPLAY,
    TAKE_DATA,
    TAKE_IN,
    VERIFY,
    WAITING,
    DataPart,
    DataPiece,
    DataPlace,
    DataTaken,
    DeadDiscarded,
    DeadLetter,
    DeadLetterList,
    DeadNames,
    DeadQuery,
    DeadReplayed,
    EventPlace,
    ExportedRanges,
    ExportReleased,
    FindQuery,
    FoundTriggers,
    Imported,
    ImportPart,
    LogPlace,
    NamedTrigger,
    NamedTriggers,
    NoArguments,
    RecordedPage,
    WaitingPage,
    WaitingQuery,
)
from edgeagent.ports.verification import Overview, VerifiedPart

# A search returns at most this many; a person who means one trigger must then give more of its id.
_MAX_FOUND = 10
# The limits of a page of dead letters; a single one may have more data.
_PAGE_BYTES = 1 << 20
_PAGE_LETTERS = 500

T = TypeVar("T")


class Operator:
    """The calls of `ports/operator.py`, each a method, on a store that the caller opens and closes.

    What a call changes is synced when it returns; a store that would not keep the change (`must_keep`) refuses it. A
    method that reads whole logs works in steps (`outbox/steps.py`), so that it never delays a running agent's commits
    for long. Nothing here may depend on whether an agent runs.
    """

    def __init__(self, store: Store, directory: Path, filesystem: Filesystem, now_ms: Callable[[], int]) -> None:
        """`directory`: the outbox's, on `filesystem`. `now_ms`: the wall clock, Unix milliseconds."""
        self._store = store
        self._directory = directory
        self._filesystem = filesystem
        self._now_ms = now_ms

    def perform(self, call: Call[A, R], arguments: A) -> Steps[R]:
        """The steps of a call.

        Raises:
            NotFound, MessageError, OutboxError: as the call does.
        """
        result = METHODS[call.name](self, arguments)
        if isinstance(result, Generator):
            result = yield from result
        done: R = result
        return done

    def dead_letters(self, asked: DeadQuery) -> Steps[DeadLetterList]:
        """A page of dead letters, oldest first."""
        found: list[DeadLetter] = []
        size_bytes = 0
        with closing(self._store.peek(DEAD, asked.seq)) as parts:
            while (part := next(parts, None)) is not None:
                for leased in part:
                    size_bytes += len(leased.record.data)
                    if found and (len(found) == _PAGE_LETTERS or size_bytes > _PAGE_BYTES):
                        return DeadLetterList(found, leased.seq)
                    found.append(_dead_letter(leased))
                yield NextStep.BESIDE
        return DeadLetterList(found)

    def dead_names(self, _: NoArguments) -> Steps[DeadNames]:
        """The correlation ids of every dead letter, oldest first."""
        return DeadNames((yield from self._collected(DEAD, correlation_of)))

    def dead_letter(self, asked: NamedTrigger) -> Steps[DeadLetter]:
        """One dead letter.

        Raises:
            NotFound: no dead letter has this correlation id.
        """
        found = yield from self._dead([asked.correlation_id], limit=1)
        if not found:
            raise NotFound(asked.correlation_id, "no dead letter with this correlation id is kept")
        return _dead_letter(found[0])

    def replay(self, asked: NamedTriggers) -> Steps[DeadReplayed]:
        """Put dead letters back among the triggers; each is synced there before it is released from the dead letters.

        Raises:
            OutboxFull, StorageFailed: some of them are still dead letters.
        """
        found = yield from self._dead(asked.correlation_ids)
        for leased in found:
            yield NextStep.BESIDE
            self._store.move(leased, NORMAL, REPLAYED, reason="", code=0, attempts=0)
        return DeadReplayed(list(map(correlation_of, found)))

    def discard(self, asked: NamedTriggers) -> Steps[DeadDiscarded]:
        """Discard dead letters for good; a checkpoint records that before this returns.

        Raises:
            StorageFailed: they may be back after a restart.
        """
        must_keep(self._store)
        found = yield from self._dead(asked.correlation_ids)
        yield NextStep.ALONE
        discarded = [leased for leased in found if self._store.release(DEAD, leased.seq, DISCARDED)]
        self._store.checkpoint()
        return DeadDiscarded(list(map(correlation_of, discarded)))

    def waiting(self, asked: WaitingQuery) -> WaitingPage:
        """Triggers that wait in a log, oldest first."""
        return transfer.waiting_page(self._store, asked.log, asked.seq, asked.limit)

    def find(self, asked: FindQuery) -> Steps[FoundTriggers]:
        """Triggers in any log that match what a person gave of an id, at most `_MAX_FOUND`."""
        found: list[Leased] = []
        for log in LOGS:
            left = _MAX_FOUND - len(found)
            found += yield from self._collected(log, lambda one: one if _is_meant(one, asked.id) else None, left)
        yield NextStep.ALONE  # what was handed out is known only when nothing else runs
        return FoundTriggers([transfer.waiting(each, self._store.leased_seq(each.log)) for each in found])

    def release_exported(self, asked: ExportedRanges) -> ExportReleased:
        """Release the triggers that an export file holds, except those handed out to be sent meanwhile."""
        return ExportReleased(transfer.release_exported(self._store, asked.ranges))

    def take_in(self, part: ImportPart) -> Imported:
        """Store triggers of an export file.

        Raises:
            MessageError, RecordTooLarge: one of them can never be stored.
            OutboxFull, StorageFailed: try again later; those that are stored by then are recognised.
        """
        return transfer.take_in(self._store, part.digest, part.number, part.triggers, self._now_ms())

    def overview(self, _: NoArguments) -> Overview:
        """What is known of the outbox on disk without reading its logs."""
        from edgeagent.outbox.verify import overview  # noqa: PLC0415  only for who asks

        return overview(self._store, self._filesystem, self._directory)

    def verify(self, asked: LogPlace) -> VerifiedPart:
        """Read and check a part of a log."""
        from edgeagent.outbox.verify import verify_part  # noqa: PLC0415  as above

        return verify_part(self._store, asked.log, asked.seq)

    def data(self, asked: DataPlace) -> DataPiece:
        """A piece of the data of an artifact."""
        return transfer.data_piece(self._store, asked)

    def take_data(self, part: DataPart) -> DataTaken:
        """Take a piece of the data of an artifact in."""
        return transfer.take_data(self._store, part)

    def recorded(self, asked: EventPlace) -> RecordedPage:
        """Events that are still in a log of events, oldest first, whatever happened to them."""
        return recorded_page(self._store, asked.log, asked.seq)

    def _dead(self, correlation_ids: Sequence[str], limit: int | None = None) -> Steps[list[Leased]]:
        wanted = frozenset(correlation_ids)
        return self._collected(DEAD, lambda one: one if correlation_of(one) in wanted else None, limit)

    def _collected(self, log: str, pick: Callable[[Leased], T | None], limit: int | None = None) -> Steps[list[T]]:
        """The first `limit` values that `pick` returns for a log's unreleased triggers."""
        found: list[T] = []
        with closing(self._store.peek(log)) as parts:
            while (limit is None or len(found) < limit) and (part := next(parts, None)) is not None:
                found += [picked for leased in part if (picked := pick(leased)) is not None]
                yield NextStep.BESIDE
        return found[:limit]


Method: TypeAlias = Callable[[Operator, A], R] | Callable[[Operator, A], Steps[R]]


def _method(call: Call[A, R], method: Method[A, R]) -> tuple[str, Callable[[Operator, Any], Any]]:
    """A call and the method for it, whose types the type checker compares here."""
    return call.name, method


METHODS = dict(
    (
        _method(DEAD_LETTERS, Operator.dead_letters),
        _method(DEAD_NAMES, Operator.dead_names),
        _method(DEAD_LETTER, Operator.dead_letter),
        _method(REPLAY, Operator.replay),
        _method(DISCARD, Operator.discard),
        _method(WAITING, Operator.waiting),
        _method(FIND, Operator.find),
        _method(RELEASE_EXPORTED, Operator.release_exported),
        _method(TAKE_IN, Operator.take_in),
        _method(OVERVIEW, Operator.overview),
        _method(VERIFY, Operator.verify),
        _method(RECORDED, Operator.recorded),
        _method(DATA, Operator.data),
        _method(TAKE_DATA, Operator.take_data),
    )
)


def _is_meant(leased: Leased, text: str) -> bool:
    return leased.record.id == text or correlation_of(leased).startswith(text)


def _dead_letter(leased: Leased) -> DeadLetter:
    record, moved = leased.record, leased.moved
    data = record.data if record.is_json else base64.b64encode(record.data)
    return DeadLetter(
        correlation_of(leased),
        record.id,
        record.source,
        record.type,
        leased.rule,
        moved.reason if moved is not None else "",
        moved.code if moved is not None else 0,
        moved.attempts if moved is not None else 0,
        rfc3339(moved.at_ms) if moved is not None else "",
        record.time,
        data.decode(),
    )
