"""`host.memory`: the allocator is asked for free memory only if the process has grown."""

from __future__ import annotations

import pytest

from edgeagent.host import memory
from edgeagent.host.memory import FreeMemory


class Process:
    """A process whose resident memory the test says, and which counts how often it was trimmed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.resident_kib = 30 << 10
        self.trims = 0
        monkeypatch.setattr(memory, "_resident_kib", lambda: self.resident_kib)
        monkeypatch.setattr(memory, "_trim", self._trim)

    def _trim(self) -> None:
        self.trims += 1


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    return Process(monkeypatch)


@pytest.mark.parametrize(
    ("resident_mib", "trims"),
    [((32,), 0), ((600, 31, 600, 31), 2), ((24, 29), 1)],
    ids=["it has hardly grown", "after each flood", "measured against the least that it had"],
)
def test_the_memory_goes_back_when_the_process_has_grown(
    process: Process, resident_mib: tuple[int, ...], trims: int
) -> None:
    free = FreeMemory()
    for mib in resident_mib:
        process.resident_kib = mib << 10
        free.give_back()
    assert process.trims == trims


def test_where_the_system_does_not_tell_it_is_always_asked(process: Process) -> None:
    process.resident_kib = 0
    FreeMemory().give_back()
    assert process.trims == 1


def test_this_process_can_be_measured_and_trimmed() -> None:
    assert memory._resident_kib() > 1 << 10
    memory._trim()
