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


def test_a_process_that_has_not_grown_is_left_alone(process: Process) -> None:
    free = FreeMemory()
    process.resident_kib += 2 << 10
    free.give_back()
    assert process.trims == 0


def test_after_a_flood_the_memory_goes_back_each_time(process: Process) -> None:
    free = FreeMemory()
    for _ in range(2):
        process.resident_kib = 600 << 10
        free.give_back()
        process.resident_kib = 31 << 10
        free.give_back()
    assert process.trims == 2


def test_what_the_process_has_is_measured_against_its_least(process: Process) -> None:
    free = FreeMemory()
    process.resident_kib = 24 << 10
    free.give_back()
    process.resident_kib = 29 << 10
    free.give_back()
    assert process.trims == 1


def test_where_the_system_does_not_tell_it_is_always_asked(process: Process) -> None:
    process.resident_kib = 0
    FreeMemory().give_back()
    assert process.trims == 1


def test_this_process_can_be_measured_and_trimmed() -> None:
    assert memory._resident_kib() > 1 << 10
    memory._trim()
