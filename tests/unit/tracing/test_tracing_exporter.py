from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from edgeagent.errors import CollectorFailed
from edgeagent.tracing.backlog import BATCH_SPANS, MAX_SPANS
from edgeagent.tracing.collector import CollectorAnswer
from edgeagent.tracing.exporter import Exporter
from edgeagent.tracing.spans import SpanKind, TraceSpan, service_attributes

pytestmark = pytest.mark.virtual_time


def spans(count: int, first: int = 0) -> list[TraceSpan]:
    return [
        TraceSpan("a" * 32, f"{number:016x}", "", str(number), SpanKind.INTERNAL, 0, 1, {})
        for number in range(first, first + count)
    ]


class FakeCollector:
    """Answers as the test says, the last answer again and again."""

    shown = "http://collector:4318/v1/traces"

    def __init__(self, *answers: CollectorAnswer | CollectorFailed) -> None:
        self.answers = list(answers)
        self.bodies: list[bytes] = []
        self.gate: asyncio.Event | None = None
        self.closed = False

    async def post(self, body: bytes) -> CollectorAnswer:
        """Take it, or not."""
        self.bodies.append(body)
        if self.gate is not None:
            await self.gate.wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, CollectorFailed):
            raise answer
        return answer

    async def aclose(self) -> None:
        """Note it."""
        self.closed = True

    def names(self) -> Iterator[list[str]]:
        """What each request brought."""
        for body in self.bodies:
            (resource,) = json.loads(body)["resourceSpans"]
            yield [span["name"] for span in resource["scopeSpans"][0]["spans"]]


TAKEN = CollectorAnswer(200, 0.0, b"{}")
AWAY = CollectorFailed(FakeCollector.shown, "the connection failed (Connection refused)")


@asynccontextmanager
async def running(collector: FakeCollector) -> AsyncIterator[Exporter]:
    exporter = Exporter(collector, service_attributes("edgeagent", "gw-1"), chance=lambda: 0.5)
    task = asyncio.create_task(exporter.run())
    try:
        yield exporter
    finally:
        task.cancel()
        await asyncio.wait([task])


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [getattr(record, "event", "") for record in caplog.records]


async def test_spans_of_a_while_go_together() -> None:
    collector = FakeCollector(TAKEN)
    async with running(collector) as exporter:
        exporter.tell(spans(2))
        await asyncio.sleep(1)
        exporter.tell(spans(1, 2))
        await asyncio.sleep(10)
        assert [*collector.names()] == [["0", "1", "2"]]
        assert exporter.stats() == {
            "collector": collector.shown,
            "exported": 3,
            "dropped": 0,
            "waiting": 0,
            "last_error": "",
        }


async def test_a_collector_that_is_away_is_told_of_once_and_has_everything_in_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    collector = FakeCollector(AWAY, AWAY, CollectorAnswer(503, 0.0, b"not yet"), TAKEN)
    async with running(collector) as exporter:
        exporter.tell(spans(2))
        await asyncio.sleep(3)
        exporter.tell(spans(1, 2))
        await asyncio.sleep(100)
        assert [*collector.names()][-1] == ["0", "1", "2"]
        assert (exporter.counts.exported, exporter.counts.dropped) == (3, 0)
    assert events(caplog) == ["spans_wait", "spans_taken_again"]


async def test_who_tells_spans_never_waits_and_what_has_no_room_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    collector = FakeCollector(TAKEN)
    collector.gate = asyncio.Event()
    async with running(collector) as exporter:
        exporter.tell(spans(BATCH_SPANS))
        await asyncio.sleep(1)  # the request hangs
        exporter.tell(spans(MAX_SPANS, BATCH_SPANS))
        assert exporter.counts.dropped == BATCH_SPANS
        assert "spans_lost" in events(caplog)
        collector.gate.set()
        await asyncio.sleep(10)
        assert exporter.counts.exported == MAX_SPANS


async def test_what_a_collector_refuses_for_good_is_not_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    collector = FakeCollector(CollectorAnswer(400, 0.0, b"what is this?"), TAKEN)
    async with running(collector) as exporter:
        exporter.tell(spans(2))
        await asyncio.sleep(10)
        exporter.tell(spans(1, 2))
        await asyncio.sleep(10)
        assert [*collector.names()] == [["0", "1"], ["2"]]
        assert (exporter.counts.exported, exporter.counts.dropped) == (1, 2)
    assert "it answered 400: what is this?" in caplog.text


async def test_spans_that_a_collector_rejects_of_a_request_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    partly = b'{"partialSuccess": {"rejectedSpans": "1", "errorMessage": "too\\nold"}}'
    async with running(FakeCollector(CollectorAnswer(200, 0.0, partly))) as exporter:
        exporter.tell(spans(3))
        await asyncio.sleep(10)
        assert (exporter.counts.exported, exporter.counts.dropped) == (2, 1)
        assert "\n" not in exporter.stats()["last_error"]
    assert events(caplog) == ["spans_lost"]


async def test_a_stop_tells_what_is_left_and_a_collector_that_hangs_does_not_hold_it_up() -> None:
    collector = FakeCollector(TAKEN)
    async with running(collector) as exporter:
        exporter.tell(spans(1))
        await asyncio.sleep(1)  # it waits for others
    assert [*collector.names()] == [["0"]]
    assert collector.closed
    hanging = FakeCollector(TAKEN)
    hanging.gate = asyncio.Event()
    began = asyncio.get_running_loop().time()
    async with running(hanging) as exporter:
        exporter.tell(spans(1))
        await asyncio.sleep(1)
    assert asyncio.get_running_loop().time() - began < 5
    assert hanging.closed
