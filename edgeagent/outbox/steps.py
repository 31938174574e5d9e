"""Blocking work on a store, divided into steps, so that a running agent commits between two of them.

The work is written once, as a generator. The sole owner of a store runs it with `finished`; a running agent runs one
step after another on its disk thread.
"""

from __future__ import annotations

from collections.abc import Generator
from enum import Enum, auto
from typing import TypeAlias, TypeVar

T = TypeVar("T")


class NextStep(Enum):
    """What the next step needs of a running agent; the first step runs `ALONE`. See `Outbox`."""

    BESIDE = auto()
    ALONE = auto()


# Yields what its next step needs, and returns the result.
Steps: TypeAlias = Generator[NextStep, None, T]


def finished(steps: Steps[T]) -> T:
    """Run all steps in order; returns the result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
