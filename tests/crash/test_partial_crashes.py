"""Data that comes in parts across failing disks, kills and power cuts at every operation.

What the agent says that it has is what was sent, byte by byte, and no less than what it had said before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from random import Random

import pytest

from edgeagent.errors import OutboxError
from edgeagent.outbox.incoming import IncomingFile, Partial
from edgeagent.outbox.spool import Spool
from tests.fakes.crash_filesystem import CrashFilesystem, Fate, PowerCut
from tests.fakes.stores import DIRECTORY, disk

SPOOL = DIRECTORY / "spool"
KEY = "0a" * 20
DATA = bytes(range(250))
STEPS = 14


class Device:
    """Sends its data in parts, begins where the spool says, and notes what was promised to it."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311  chance for tests
        self.filesystem: CrashFilesystem = disk(seed)
        self.promised = 0
        self.spool: Spool | None = None
        self.incoming: IncomingFile | None = None
        self.digest = ""

    def start(self) -> None:
        """The agent starts, as often as it takes, and the device goes on where that is."""
        while True:
            try:
                self.spool = Spool(self.filesystem, SPOOL)
                found = self.spool.adopt()
                break
            except OutboxError:
                continue
        assert len(found) <= 1
        self.incoming = found[0] if found else None
        self.check()

    def check(self) -> None:
        """What the spool has is what was sent, and all that was promised."""
        size = self.incoming.size if self.incoming is not None else 0
        assert size >= self.promised
        if self.incoming is not None and size:
            assert self.filesystem.files()[self.incoming.path][:size] == DATA[:size]

    def step(self) -> None:
        """A part comes, is perhaps synced, or the last one, whereupon it is kept."""
        assert self.spool is not None
        try:
            if self.incoming is None:
                self.incoming = self.spool.begin(KEY, len(DATA))
            size = self.incoming.size
            self.incoming.write(DATA[size : size + self.random.randint(1, 40)])
            if self.random.random() < 0.6:
                self.incoming.secure()
                self.promised = self.incoming.size
        except OutboxError:
            self.back()
        if self.incoming is not None and self.incoming.size == len(DATA):
            self.finish()

    def back(self) -> None:
        """The disk refused something: the agent goes on with what it has for sure."""
        assert self.spool is not None
        if self.incoming is None:
            return
        try:
            self.incoming.back()
        except OutboxError:
            self.start()
            return
        self.check()

    def finish(self) -> None:
        """All of it is there: it is kept, if the disk lets."""
        assert self.spool is not None
        assert self.incoming is not None
        try:
            while not self.incoming.catch_up(16):
                pass
            self.digest = self.spool.keep(self.incoming, "").sha256
        except OutboxError:
            self.promised = 0  # the device was told
        self.incoming = None

    def live(self, steps: int) -> None:
        """Parts come, and now and then the agent is killed, or stops in order."""
        for _ in range(steps):
            if self.digest:
                return
            chance = self.random.random()
            if chance < 0.15 and self.spool is not None and self.incoming is not None:
                if chance < 0.08:
                    self.spool.leave(self.incoming)
                self.start()
            self.step()

    def end(self) -> None:
        """On a disk that works all of it arrives, and nothing else is left."""
        self.filesystem.fails = self.filesystem.cuts = lambda _number, _name: False
        self.start()
        self.live(100)
        assert self.digest == hashlib.sha256(DATA).hexdigest()
        assert [path.name for path in self.filesystem.files() if path.parent == SPOOL] == [self.digest]
        assert self.spool is not None
        assert self.spool.incoming_bytes == 0


def operations(seed: int) -> int:
    device = Device(seed)
    device.start()
    device.live(STEPS)
    return device.filesystem.operations


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("fate", Fate)
def test_a_power_cut_in_any_operation_leaves_what_was_promised_and_nothing_else(seed: int, fate: Fate) -> None:
    for at in range(1, operations(seed)):
        device = Device(seed)
        device.filesystem.cuts = lambda number, _name, at=at: number == at  # type: ignore[misc]
        try:
            device.start()
            device.live(STEPS)
        except PowerCut:
            device.filesystem = device.filesystem.crash(fate)
        else:
            continue
        if any(path.name == hashlib.sha256(DATA).hexdigest() for path in device.filesystem.files()):
            continue  # it was kept, in this very operation
        device.end()


@pytest.mark.parametrize("seed", range(4))
def test_a_disk_that_fails_once_at_any_operation_costs_no_byte_that_was_promised(seed: int) -> None:
    for failing in range(1, operations(seed)):
        device = Device(seed)
        device.filesystem.fails = lambda number, _name, failing=failing: number == failing  # type: ignore[misc]
        device.start()
        device.live(STEPS)
        if not device.digest:
            device.end()


def test_a_part_that_has_less_than_its_name_says_is_none_and_begins_anew() -> None:
    filesystem = disk()
    Spool(filesystem, SPOOL)
    filesystem.replace(SPOOL / Partial(KEY, 100, 50).name, bytes(49))
    spool = Spool(filesystem, SPOOL)
    assert spool.incoming_bytes == 4096, "it counts from the start on"
    assert spool.adopt() == []
    assert [*filesystem.files()] == []
    assert spool.incoming_bytes == 0


def spool_with_kept(filesystem: CrashFilesystem) -> tuple[Spool, Callable[[], list[str]]]:
    spool = Spool(filesystem, SPOOL)
    return spool, lambda: [path.name for path in filesystem.files() if path.parent == SPOOL]


def test_data_whose_event_was_not_stored_before_the_agent_ended_is_there_after_the_next_start() -> None:
    filesystem = disk()
    spool, names = spool_with_kept(filesystem)
    incoming = spool.begin(KEY, len(DATA))
    incoming.write(DATA)
    artifact = spool.keep(incoming, "image/png")
    spool.put_back(artifact, KEY)
    assert names() == [Partial(KEY, len(DATA), len(DATA)).name]
    spool, names = spool_with_kept(filesystem)
    [again] = spool.adopt()
    while not again.catch_up(100):
        pass
    assert spool.keep(again, "image/png") == artifact


def test_data_that_another_event_has_too_is_not_taken_from_it() -> None:
    filesystem = disk()
    spool, names = spool_with_kept(filesystem)
    for key in (KEY, ""):
        incoming = spool.begin(key, len(DATA))
        incoming.write(DATA)
        artifact = spool.keep(incoming, "image/png")
    spool.put_back(artifact, KEY)
    assert names() == [artifact.sha256]
