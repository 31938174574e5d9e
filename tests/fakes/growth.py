"""What programs take of memory and descriptors, early and late in a time in which they run on."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.fakes.programs import Program

_EVERY_S = 0.5
_PART = 4  # a quarter of the samples is early, and the last quarter late


class Sample(NamedTuple):
    """Of one program at one moment. `memory_bytes`: resident."""

    memory_bytes: float
    descriptors: float


class Growth:
    """Looks at programs again and again. `samples`: by the name of the program's directory."""

    def __init__(self, programs: Sequence[Program]) -> None:
        self.samples: dict[str, list[Sample]] = defaultdict(list)
        self._programs = programs

    async def watch(self, over: asyncio.Event) -> None:
        """Look until it is over."""
        while not over.is_set():
            for program in self._programs:
                self.samples[program.directory.name].append(_sample(program.pid))
            await asyncio.sleep(_EVERY_S)

    def early_and_late(self) -> dict[str, tuple[Sample, Sample]]:
        """The median of the first samples and that of the last ones, of each program."""
        return {
            name: (_middle(each[: _some(each)]), _middle(each[-_some(each) :])) for name, each in self.samples.items()
        }


def _some(samples: Sequence[Sample]) -> int:
    return max(1, len(samples) // _PART)


def _middle(samples: Sequence[Sample]) -> Sample:
    return Sample(*(median(figures) for figures in zip(*samples, strict=True)))


def _sample(pid: int) -> Sample:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    match = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert match is not None, f"process {pid} has ended"
    return Sample(int(match[1]) * 1024, len(list(Path(f"/proc/{pid}/fd").iterdir())))
