"""The dry-run engine: it answers and reports a workflow's states without starting anything.

It serves to commission a gateway, and the demo. Its state is in this process's memory: after a restart, and for another
dispatcher, every name is free.
"""

from __future__ import annotations

import asyncio
import heapq
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Literal

import msgspec

from edgeagent.dispatcher.engine import Order
from edgeagent.dispatcher.outcome import Created, Duplicate, Invalid, NameTaken
from edgeagent.wire.messages import Status
from edgeagent.workflows.check import workflow_check

STEP_S = 0.3
MAX_NAMES = 100_000
_MAX_PROBLEMS = 3  # as many as a sender reads at once

# How Kubernetes completes generateName: the base is cut to 58 characters, and 5 of these are added.
GENERATED_BASE_CHARS = 58
GENERATED_SUFFIX_CHARS = 5
_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"

_Phase = Literal["Pending", "Running", "Succeeded"]
_STEPS: tuple[tuple[_Phase, str], ...] = (("Pending", "0%"), ("Running", "50%"), ("Succeeded", "100%"))


class _Walk(msgspec.Struct, gc=False):
    """A simulated workflow: its identity, and the step that comes next."""

    namespace: str
    workflow_id: str
    agent: str
    correlation_id: str
    traceparent: str = ""
    step: int = 0
    started_at: str | None = None
    finished_at: str | None = None


class Walks:
    """Owns all simulated workflows that have not ended. Pure: takes times, returns the status changes."""

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._heap: list[tuple[float, int, _Walk]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_due_s(self) -> float | None:
        """The monotonic time of the next change; None if there is none."""
        return self._heap[0][0] if self._heap else None

    def start(self, order: Order, workflow_id: str, now_s: float) -> _Walk:
        """Begin a simulated workflow: its first change is due in one step."""
        walk = _Walk(order.namespace, workflow_id, order.agent, order.correlation_id, order.traceparent)
        self._push(walk, now_s)
        return walk

    def due(self, now_s: float, wall_s: float) -> list[Status]:
        """The changes due at the monotonic time `now_s`; `wall_s` (Unix seconds) is written into them."""
        changes: list[Status] = []
        while self._heap and self._heap[0][0] <= now_s:
            due_s, _, walk = heapq.heappop(self._heap)
            changes.append(_advance(walk, wall_s))
            if walk.step < len(_STEPS):
                self._push(walk, due_s)
        return changes

    def _push(self, walk: _Walk, now_s: float) -> None:
        self._count += 1  # a tie-breaker: of two due at the same time the older goes first
        heapq.heappush(self._heap, (now_s + self._step_s, self._count, walk))


class DryRun:
    """An `Engine` that simulates workflows. It never starts anything."""

    dry_run = True

    def __init__(
        self, *, step_s: float = STEP_S, max_names: int = MAX_NAMES, wall: Callable[[], float] = time.time
    ) -> None:
        """An engine without any workflow.

        Args:
            step_s: seconds from one state to the next.
            max_names: how many workflow names are remembered; the oldest is forgotten, and is free again.
            wall: the wall clock, Unix seconds.
        """
        self._walks = Walks(step_s)
        self._max_names = max_names
        self._wall = wall
        self._known: dict[tuple[str, str], _Walk] = {}
        self._started = asyncio.Event()
        self._finished = asyncio.Event()
        self._finished.set()

    async def create(self, order: Order) -> Created | Duplicate | NameTaken | Invalid:
        """Remember the workflow and begin its simulation, unless a real engine would refuse it."""
        if problems := [f"{path or 'workflow'} {reason}" for path, reason in _first_problems(order)]:
            return Invalid("; ".join(problems))
        workflow_id = order.name or _generated(order.generate_name)
        known = self._known.get((order.namespace, workflow_id))
        if known is not None:
            if (known.agent, known.correlation_id) != (order.agent, order.correlation_id):
                return NameTaken(workflow_id)
            return Duplicate(workflow_id, _status(known) if known.step else None)
        if len(self._known) >= self._max_names:
            del self._known[next(iter(self._known))]
        now_s = asyncio.get_running_loop().time()
        self._known[order.namespace, workflow_id] = self._walks.start(order, workflow_id, now_s)
        self._started.set()
        self._finished.clear()
        return Created(workflow_id)

    async def run(self, report: Callable[[Sequence[Status]], None]) -> None:
        """Report every change when it is due, until cancelled. Sleeps while no workflow is simulated."""
        loop = asyncio.get_running_loop()
        while True:
            if changes := self._walks.due(loop.time(), self._wall()):
                report(changes)
            next_due_s = self._walks.next_due_s
            if next_due_s is not None:
                # Every workflow takes the same steps, so a new one is never due before those already begun.
                await asyncio.sleep(max(0.0, next_due_s - loop.time()))
                continue
            self._finished.set()
            self._started.clear()
            await self._started.wait()

    async def probe(self) -> None:
        """Return at once: this engine is always available."""

    async def drain(self) -> None:
        """Return when every simulated workflow has ended: no other process could report its end."""
        await self._finished.wait()


def _first_problems(order: Order) -> Iterator[tuple[str, str]]:
    return islice(workflow_check(order.workflow), _MAX_PROBLEMS)


def _advance(walk: _Walk, wall_s: float) -> Status:
    phase, _ = _STEPS[walk.step]
    walk.step += 1
    at = datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if phase == "Running":
        walk.started_at = at
    elif phase == "Succeeded":
        walk.finished_at = at
    return _status(walk)


def _status(walk: _Walk) -> Status:
    """The status after the walk's last step."""
    phase, progress = _STEPS[walk.step - 1]
    return Status(
        namespace=walk.namespace,
        workflow_id=walk.workflow_id,
        status=phase,
        progress=progress,
        message="dry run: nothing was started",
        correlation_id=walk.correlation_id,
        agent=walk.agent,
        started_at=walk.started_at,
        finished_at=walk.finished_at,
        dry_run=True,
        traceparent=walk.traceparent,
    )


def _generated(base: str) -> str:
    suffix = "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(GENERATED_SUFFIX_CHARS))
    return base[:GENERATED_BASE_CHARS] + suffix
