"""The parts around a dispatcher's statuses: a wire that a test answers, an engine of workflows, and what binds them.

async with running(engine) as bench:
bench.lead()
engine.put("w", "Running")
await bench.published(("w", "Running"))
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec

from edgeagent.argo.wire import Metadata, WatchEvent, Workflow, WorkflowList, WorkflowStatus
from edgeagent.dispatcher.namespace import StatusPoster, WatchTimes
from edgeagent.dispatcher.statuses import Statuses
from edgeagent.dispatcher.watcher import OWN, UNFINISHED, Timing
from edgeagent.mqtt.reason_codes import publish_outcome
from edgeagent.ports.link import Message, PublishOutcome
from edgeagent.wire import topics
from edgeagent.wire.messages import LABEL_AGENT, LABEL_CORRELATION_ID
from tests.ending import end
from tests.fakes.argo_rules import Selector
from tests.waiting import until

NOON_S = 1_774_008_000.0  # 2026-03-20T12:00:00Z
QUICK = WatchTimes(tick_s=0.005, cursor_s=0.0, hold_s=0.0)
TIMING = Timing(list_s=1000.0, refused_s=0.01, forbidden_s=0.01, base_s=0.01, cap_s=0.01)


def at(second: int) -> str:
    """A time, seconds after `NOON_S`."""
    return f"2026-03-20T12:{second // 60:02}:{second % 60:02}Z"


class Sent(NamedTuple):
    """One publication that is not answered."""

    topic: str
    payload: bytes
    retain: bool
    answer: Callable[[PublishOutcome], None]
    wanted: Callable[[], bool] | None


class Wire:
    """Takes what is sent, as `Send`. A test answers it, or sets `automatic` to a reason code.

    `answered_topics`: the codes of topics that are answered otherwise.
    """

    def __init__(self) -> None:
        self.waiting: list[Sent] = []
        self.taken: list[Sent] = []
        self.automatic: int | None = None
        self.answered_topics: dict[str, int] = {}

    def __call__(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        on_taken: Callable[[PublishOutcome], None] | None = None,
        wanted: Callable[[], bool] | None = None,
    ) -> None:
        """Keep it."""
        assert on_taken is not None
        self.waiting.append(Sent(topic, payload, retain, on_taken, wanted))
        if self.automatic is not None:
            asyncio.get_running_loop().call_soon(self.answer)

    def answer(self, reason_code: int | None = None) -> None:
        """The broker answers the oldest publication."""
        sent = self.waiting.pop(0)
        self.taken.append(sent)
        code = reason_code if reason_code is not None else self.answered_topics.get(sent.topic, self.automatic or 0)
        sent.answer(publish_outcome(code))

    def statuses(self, topic: str = topics.STATUS) -> list[tuple[str, str]]:
        """What was published on a topic, answered or not."""
        found = [msgspec.json.decode(sent.payload) for sent in [*self.taken, *self.waiting] if sent.topic == topic]
        return [(status["workflowId"], status["status"]) for status in found]


class Engine:
    """What the client shows of an engine: workflows by name, one watch. `fail` is raised by every list and get."""

    def __init__(self) -> None:
        self.workflows: dict[str, Workflow] = {}
        self.archive: dict[str, Workflow] = {}
        self.fail: Exception | None = None
        self.lists: list[str] = []
        self.watches = 0
        self._version = 0
        self._events: asyncio.Queue[WatchEvent | Exception | None] = asyncio.Queue()

    def put(
        self, name: str, phase: str = "", *, ended: str | None = None, agent: str = "gw-1", **more: Any
    ) -> Workflow:
        """Create or change a workflow; the watch tells."""
        kind = "MODIFIED" if name in self.workflows else "ADDED"
        workflow = self.workflows[name] = self.made(name, phase, ended=ended, agent=agent, **more)
        self._events.put_nowait(WatchEvent(kind, workflow))
        return workflow

    def made(self, name: str, phase: str, *, ended: str | None = None, agent: str = "gw-1", uid: str = "u") -> Workflow:
        """A workflow of the next version."""
        self._version += 1
        labels = {LABEL_AGENT: agent, LABEL_CORRELATION_ID: f"c-{name}"}
        metadata = Metadata(name, "plant", uid, str(self._version), "2026-03-20T11:00:00Z", labels)
        return Workflow(metadata, WorkflowStatus(phase, started_at="2026-03-20T11:00:00Z", finished_at=ended))

    def break_watch(self, error: Exception | None) -> None:
        """The watch ends: closed by the engine, or with an error."""
        self._events.put_nowait(error)

    async def get(self, namespace: str, name: str) -> Workflow | None:
        """See `Workflows`."""
        assert namespace == "plant"
        if self.fail is not None:
            raise self.fail
        return self.workflows.get(name) or self.archive.get(name)

    async def list(self, namespace: str, *, labels: str, limit: int = 500) -> tuple[list[Workflow], str]:
        """See `Workflows`."""
        assert (namespace, limit > 0) == ("plant", True)
        self.lists.append(labels)
        await asyncio.sleep(0)
        if self.fail is not None:
            raise self.fail
        found = [*self.workflows.values(), *self.archive.values()]
        if labels == UNFINISHED:
            found = [workflow for workflow in found if workflow.status and not workflow.status.finished_at]
        elif labels != OWN:
            selector = Selector(labels)
            found = [
                workflow for workflow in found if selector.selects({"metadata": {"labels": workflow.metadata.labels}})
            ]
        return found, ""

    async def page(self, namespace: str, *, labels: str, limit: int, continue_: str) -> WorkflowList:
        """See `Workflows`: everything is on the first page."""
        assert not continue_
        found, _ = await self.list(namespace, labels=labels, limit=limit)
        return WorkflowList(items=found or None)

    async def watch(
        self, namespace: str, *, labels: str, resource_version: str = ""
    ) -> AsyncGenerator[WatchEvent, None]:
        """See `Workflows`."""
        assert (namespace, labels, resource_version) == ("plant", OWN, "")
        self.watches += 1
        while not self._events.empty():
            self._events.get_nowait()
        for workflow in tuple(self.workflows.values()):
            yield WatchEvent("ADDED", workflow)
        while (event := await self._events.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event


class Counted:
    """Keeps what it is told of unfinished workflows."""

    def __init__(self) -> None:
        self.active: set[str] = set()
        self.templates: dict[str, str] = {}
        self.lists = 0

    def started(self, namespace: str, name: str, template: str) -> None:
        """See `Active`."""
        assert namespace == "plant"
        self.active.add(name)
        self.templates[name] = template

    def finished(self, namespace: str, name: str) -> None:
        """See `Active`."""
        assert namespace == "plant"
        self.active.discard(name)

    def listed(self, namespace: str, names: Collection[str]) -> None:
        """See `Active`."""
        assert namespace == "plant"
        self.active = set(names)
        self.lists += 1


class Bench:
    """One dispatcher's statuses between a scripted engine and a wire that ends in the test."""

    def __init__(
        self, engine: Engine, instance: str, pace: WatchTimes, timing: Timing, webhooks: StatusPoster | None
    ) -> None:
        self.engine = engine
        self.wire = Wire()
        self.wire.automatic = 0
        self.counted = Counted()
        self.skipped_s = 0.0  # the monotonic clock is ahead by so much
        self.statuses = Statuses(
            engine,
            ["plant"],
            "g",
            instance,
            self.wire,
            active=self.counted,
            webhooks=webhooks,
            pace=pace,
            timing=timing,
            now=lambda: time.monotonic() + self.skipped_s,
            wall=lambda: NOON_S + 86_400,
        )

    def hear(self, topic: str, payload: bytes) -> None:
        """The broker delivers a message."""
        assert self.statuses.on_messages([Message(topic, payload)]) == []

    def lead(self) -> None:
        """Connect, and bring the own presence back."""
        self.statuses.on_up()
        self.echo()

    def echo(self) -> None:
        """Bring the newest own presence back."""
        topic = topics.presence_topic("g", self.statuses._instance)
        sent = [item for item in [*self.wire.taken, *self.wire.waiting] if item.topic == topic]
        self.hear(topic, sent[-1].payload)

    def cursors(self) -> list[str]:
        """The cursors that were published."""
        sent = [*self.wire.taken, *self.wire.waiting]
        found = [item for item in sent if item.topic == topics.cursor_topic("g", "plant")]
        assert all(item.retain for item in found)
        return [msgspec.json.decode(item.payload)["finished"] for item in found]

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until it holds."""
        await until(condition, what, seen=self.wire.statuses)

    async def until_later(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until it holds; half a minute passes with each look."""

        def looked() -> Any:
            self.skipped_s += 30.0
            return condition()

        await self.until(looked, what)

    async def published(self, *expected: tuple[str, str]) -> None:
        """Wait until exactly these were published on the base topic, in any order."""
        await self.until(lambda: sorted(self.wire.statuses()) == sorted(expected), f"published {expected}")


@asynccontextmanager
async def running(
    engine: Engine,
    instance: str = "a",
    *,
    pace: WatchTimes = QUICK,
    timing: Timing = TIMING,
    webhooks: StatusPoster | None = None,
) -> AsyncIterator[Bench]:
    """Statuses at work; they must not have ended by themselves."""
    bench = Bench(engine, instance, pace, timing, webhooks)
    task = asyncio.create_task(bench.statuses.run())
    try:
        yield bench
    finally:
        assert not task.done()
        await end(task)
