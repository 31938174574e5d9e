"""The data of artifacts and their records across failing disks and power cuts at every operation.

Never is an acknowledged event without its file, and never is a file left when nobody needs it and the agent has started
once more.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from random import Random

import msgspec
import pytest

from edgeagent.errors import OutboxError
from edgeagent.events.artifact import Artifact
from edgeagent.outbox.records import (
    DEAD,
    DEAD_WAY,
    DISCARDED,
    LEASED_LOGS,
    LOGS,
    NORMAL,
    PARKED,
    PARKED_WAY,
    SETTLED,
    Leased,
    OutboxLimits,
)
from edgeagent.outbox.spool import Spool
from edgeagent.outbox.spool_scan import finish, note_part
from edgeagent.outbox.store import Store
from tests.fakes.crash_filesystem import CrashFilesystem, Fate, PowerCut
from tests.fakes.stores import DIRECTORY, disk, group, open_store, record

SEGMENT_BYTES = 2048
LIMITS = OutboxLimits(max_bytes=1 << 20, segment_bytes=SEGMENT_BYTES, dedupe_events=50, spool=True)
SPOOL = DIRECTORY / "spool"
ATTEMPTS = 12
STEPS = 30


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class SpoolModel:
    """A store with a spool, and which events were acknowledged and are not final, each with its data."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311  chance for tests
        self.filesystem = disk(seed)
        self.store = self.opened()
        self.needed: dict[str, tuple[int, bytes]] = {}  # by event id: how many triggers are not final, and the data
        self.leased: list[Leased] = []
        self.next_id = 1

    def opened(self) -> Store:
        """Open the store, as often as it takes."""
        for _ in range(ATTEMPTS):
            try:
                return open_store(self.filesystem, LIMITS)
            except OutboxError:
                continue
            except PowerCut:
                self.filesystem = self.filesystem.crash()
        with self.filesystem.calm():
            return open_store(self.filesystem, LIMITS)

    @property
    def spool(self) -> Spool:
        """The spool of the open store."""
        assert self.store.spool is not None
        return self.store.spool

    def ingest(self) -> None:
        """Data comes in, in parts, sometimes the same as before; sometimes its client goes away, or it is refused."""
        data = bytes([self.random.randrange(4)]) * self.random.randint(1, 40)
        event_id, rules = f"e{self.next_id}", self.random.choice([("r",), ("r", "q")])
        self.next_id += 1
        try:
            incoming = self.spool.begin()
        except OutboxError:
            return
        try:
            incoming.write(data[:7])
            incoming.write(data[7:])
            if self.random.random() < 0.1:
                self.spool.drop(incoming)
                return
            artifact = self.spool.keep(incoming, "image/jpeg")
        except OutboxError:
            self.spool.drop(incoming)
            return
        assert artifact == Artifact(sha256(data), len(data), "image/jpeg")
        stored = msgspec.structs.replace(record(event_id, rules), artifact=artifact, data=artifact.claim())
        one = msgspec.structs.replace(group(NORMAL, stored), has_artifacts=True)
        if self.random.random() < 0.9:  # else it is a duplicate, or no rule wants it
            [outcome] = self.store.append([one])
            if isinstance(outcome, int):
                self.needed[event_id] = len(rules), data
        self.spool.let_go(artifact.sha256)

    def lease(self) -> None:
        """The sender takes what comes next."""
        try:
            for name in LEASED_LOGS:
                self.leased += self.store.read(name)
        except OutboxError:
            return

    def end(self) -> None:
        """Some of what is leased is settled, given up or parked."""
        self.random.shuffle(self.leased)
        for _ in range(min(len(self.leased), 3)):
            one = self.leased.pop()
            way = self.random.choice([SETTLED, SETTLED, DEAD, PARKED])
            if way == SETTLED or (way == PARKED and one.log == PARKED):
                self.store.release(one.log, one.seq, SETTLED)
                self.final(one)
                continue
            move = DEAD_WAY if way == DEAD else PARKED_WAY
            try:
                self.store.move(one, way, move, reason="no", code=400, attempts=1)
            except OutboxError:
                self.leased.append(one)

    def discard(self) -> None:
        """An operator lets go of a dead letter."""
        try:
            letters = [leased for part in self.store.peek(DEAD) for leased in part]
        except OutboxError:
            return
        if letters:
            self.store.release(DEAD, letters[0].seq, DISCARDED)
            self.final(letters[0])

    def checkpoint(self) -> None:
        """Releases are kept."""
        try:
            self.store.checkpoint()
        except OutboxError:
            return

    def scan(self) -> None:
        """The references are read after a start, as far as the disk lets."""
        try:
            for name in LOGS:
                seq: int | None = 0
                while seq is not None:
                    seq = note_part(self.store, name, seq)
        except OutboxError:
            return
        finish(self.store)

    def reopen(self) -> None:
        """The agent stops in order, and starts."""
        with contextlib.suppress(OutboxError):
            self.store.close()
        self.start()

    def crash(self, fate: Fate = Fate.TORN) -> None:
        """The power is cut."""
        self.filesystem = self.filesystem.crash(fate)
        self.start()

    def start(self) -> None:
        """The agent starts; the references may be read at once, or later."""
        self.store = self.opened()
        self.leased.clear()
        if self.random.random() < 0.7:
            self.scan()

    def final(self, one: Leased) -> None:
        """One trigger of an event is final."""
        left, data = self.needed.pop(one.record.id, (0, b""))
        if left > 1:
            self.needed[one.record.id] = left - 1, data

    def check(self) -> None:
        """Every event that was acknowledged and is not final has its file, with its data."""
        files = self.filesystem.files()
        for event_id, (_, data) in self.needed.items():
            assert files.get(SPOOL / sha256(data)) == data, f"the data of {event_id} is gone"
        assert not self.store.losses.last

    def settle_all(self) -> None:
        """Everything is settled, and the agent starts again on a disk that works."""
        with self.filesystem.calm():
            self.scan()
            for name in LOGS:
                for one in [leased for part in self.store.peek(name) for leased in part]:
                    self.store.release(name, one.seq, SETTLED)
            self.store.checkpoint()
        self.filesystem.fails = self.filesystem.cuts = lambda _number, _name: False
        self.needed.clear()
        self.store.close()
        self.store = self.opened()
        self.scan()
        assert [path.name for path in self.filesystem.files() if path.parent == SPOOL] == []
        assert self.spool.used_bytes == 0
        assert self.store.account().damaged == 0, "a trigger was sent again, and its data was gone"
        assert not list(self.store.account().problems())


ACTIONS: dict[Callable[[SpoolModel], None], int] = {
    SpoolModel.ingest: 25,
    SpoolModel.lease: 20,
    SpoolModel.end: 25,
    SpoolModel.discard: 5,
    SpoolModel.checkpoint: 20,
    SpoolModel.scan: 3,
    SpoolModel.reopen: 4,
}


def live(model: SpoolModel, steps: int) -> None:
    for action in model.random.choices(list(ACTIONS), list(ACTIONS.values()), k=steps):
        action(model)
        model.check()


def operations_of_a_life(seed: int, steps: int) -> int:
    model = SpoolModel(seed)
    live(model, steps)
    return model.filesystem.operations


@pytest.mark.parametrize("seed", range(3))
def test_a_life_leaves_no_file_and_no_event_without_one(seed: int) -> None:
    model = SpoolModel(seed)
    live(model, 150)
    model.settle_all()


@pytest.mark.parametrize("seed", [3, 14])
@pytest.mark.parametrize("fate", Fate)
def test_a_power_cut_in_any_operation_loses_no_data_and_leaves_none(seed: int, fate: Fate) -> None:
    for at in range(1, operations_of_a_life(seed, STEPS)):
        model = SpoolModel(seed)
        model.filesystem.cuts = lambda number, _name, at=at: number == at  # type: ignore[misc]
        try:
            live(model, STEPS)
        except PowerCut:
            model.crash(fate)
            model.check()
        live(model, 4)
        model.settle_all()


@pytest.mark.parametrize("seed", [3, 14])
def test_a_disk_that_fails_once_at_any_operation_loses_no_data_and_leaves_none(seed: int) -> None:
    for failing in range(1, operations_of_a_life(seed, STEPS)):
        model = SpoolModel(seed)
        model.filesystem.fails = lambda number, _name, failing=failing: number == failing  # type: ignore[misc]
        live(model, STEPS)
        model.settle_all()


def opened_with(filesystem: CrashFilesystem, artifact: Artifact) -> Store:
    """A store with one event whose data is `x` three times."""
    store = open_store(filesystem, LIMITS)
    assert store.spool is not None
    incoming = store.spool.begin()
    incoming.write(b"xxx")
    assert store.spool.keep(incoming, "text/plain") == artifact
    stored = msgspec.structs.replace(record("e1", ("r", "q")), artifact=artifact, data=artifact.claim())
    assert store.append([msgspec.structs.replace(group(NORMAL, stored), has_artifacts=True)]) == [1]
    store.spool.let_go(artifact.sha256)
    return store


@pytest.mark.parametrize("content", [None, b"xx"])
def test_an_event_whose_data_is_missing_or_too_short_is_a_loss_that_is_told_with_its_range(
    content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    filesystem, artifact = disk(), Artifact(sha256(b"xxx"), 3, "text/plain")
    opened_with(filesystem, artifact).close()
    filesystem.remove(SPOOL / artifact.sha256)
    if content is not None:
        filesystem.replace(SPOOL / artifact.sha256, content)
    store = open_store(filesystem, LIMITS)
    assert store.read(NORMAL) == []
    [loss] = store.losses.last
    assert (loss.log, loss.first_seq, loss.last_seq, loss.count) == (NORMAL, 1, 2, 2)
    assert artifact.sha256 in loss.reason
    assert store.account().damaged == 2
    assert not list(store.account().problems())
    assert "lost 2 triggers of log normal, seq 1 to 2" in caplog.text


def test_the_same_data_twice_is_there_once_until_nobody_needs_it() -> None:
    filesystem, artifact = disk(), Artifact(sha256(b"xxx"), 3, "text/plain")
    store = opened_with(filesystem, artifact)
    used = store.used_bytes
    assert store.spool is not None
    again = store.spool.begin()
    again.write(b"xxx")
    store.spool.keep(again, "text/html")
    assert [path.name for path in filesystem.files() if path.parent == SPOOL] == [artifact.sha256]
    assert store.used_bytes == used
    store.release(NORMAL, 1, SETTLED, 2)
    store.checkpoint()
    assert SPOOL / artifact.sha256 in filesystem.files()  # somebody still holds it
    store.spool.let_go(artifact.sha256)
    assert SPOOL / artifact.sha256 not in filesystem.files()


@pytest.mark.parametrize("left", [b"xyx", b"xx", b""])
def test_data_that_comes_again_is_whole_whatever_a_crash_had_left_under_its_name(left: bytes) -> None:
    filesystem, artifact = disk(), Artifact(sha256(b"xxx"), 3, "text/plain")
    filesystem.make_directory(SPOOL)
    filesystem.replace(SPOOL / artifact.sha256, left)
    store = opened_with(filesystem, artifact)
    assert filesystem.files()[SPOOL / artifact.sha256] == b"xxx"
    assert store.spool is not None
    assert store.spool.piece(artifact.sha256, 0, 100) == (b"xxx", 3)
    assert [path.name for path in filesystem.files() if path.parent == SPOOL] == [artifact.sha256]


def test_a_file_of_the_last_process_is_removed_only_when_every_log_was_read() -> None:
    filesystem, artifact = disk(), Artifact(sha256(b"xxx"), 3, "text/plain")
    opened_with(filesystem, artifact).close()
    filesystem.replace(SPOOL / sha256(b"orphan"), b"orphan")
    store = open_store(filesystem, LIMITS)
    assert store.spool is not None
    for name in LOGS[1:]:
        assert note_part(store, name, 0) is None
    store.checkpoint()
    assert SPOOL / sha256(b"orphan") in filesystem.files()
    assert note_part(store, NORMAL, 0) is None
    finish(store)
    assert [path.name for path in filesystem.files() if path.parent == SPOOL] == [artifact.sha256]
    assert store.spool.figures() == (1, 4096)
