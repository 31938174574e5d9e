"""Brings spans to a collector, in the background: the driver of `backlog`. Nothing ever waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

import msgspec

from edgeagent.common.foreign import shown
from edgeagent.errors import CollectorFailed
from edgeagent.tracing.backlog import Backlog, SpanCounts
from edgeagent.tracing.collector import CollectorAnswer
from edgeagent.tracing.spans import Attributes, TraceSpan, rejected, request_body

# What a stop gives the last spans.
LAST_S: Final = 2.0
_SUCCESS: Final = 2
# Of OTLP/HTTP; after any other answer the same request would be refused again.
_AGAIN: Final = frozenset({408, 429, 502, 503, 504})

_log = logging.getLogger(__name__)


class PostsSpans(Protocol):
    """Makes the requests (`Collector`)."""

    shown: str

    async def post(self, body: bytes) -> CollectorAnswer:
        """Make a request.

        Raises:
            CollectorFailed: there was no answer.
        """

    async def aclose(self) -> None:
        """Close what is open."""


class Exporter:
    """Owns the spans that no collector has taken; `run` must be running.

    Promises never to delay who tells a span, and to count those that are lost. They are in memory only: what a process
    has not told when it is killed, nobody tells.
    """

    def __init__(
        self, collector: PostsSpans, service: Attributes, *, chance: Callable[[], float] = random.random
    ) -> None:
        """`service`: the attributes of who tells the spans. `chance`: a random number from 0 to 1."""
        self._collector = collector
        self._service = service
        self._chance = chance
        self._backlog = Backlog()
        self._now = asyncio.get_running_loop().time
        self._work = asyncio.Event()
        self._last_error = ""

    @property
    def counts(self) -> SpanCounts:
        """What became of spans since the start."""
        return self._backlog.counts

    def stats(self) -> dict[str, Any]:
        """Figures for `/v1/stats`, ready for JSON."""
        return {
            "collector": self._collector.shown,
            **msgspec.to_builtins(self.counts),
            "waiting": len(self._backlog),
            "last_error": self._last_error,
        }

    def tell(self, spans: Iterable[TraceSpan]) -> None:
        """Take spans, to be told soon."""
        backlog = self._backlog
        dropped, due_s = backlog.counts.dropped, backlog.due_s
        backlog.add(spans, self._now())
        if backlog.due_s != due_s:
            self._work.set()
        self._note_lost(backlog.counts.dropped - dropped, "as many wait as may")

    async def run(self) -> None:
        """Tell spans until cancelled; then those that are left are tried once more."""
        try:
            while True:
                await self._until_due()
                await self._tell_batch()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_S):
                    while len(self._backlog) and not self._backlog.failures:
                        await self._tell_batch()
            await self._collector.aclose()

    async def _until_due(self) -> None:
        while (due_s := self._backlog.due_s) is None or due_s > self._now():
            self._work.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due_s):
                    await self._work.wait()

    async def _tell_batch(self) -> None:
        batch = self._backlog.batch()
        try:
            answer = await self._collector.post(request_body(self._service, batch))
        except CollectorFailed as exc:
            self._failed(exc.reason, 0.0)
            return
        if answer.status in _AGAIN:
            self._failed(f"it answered {answer.status}: {answer.text}", answer.retry_after_s)
        elif answer.status // 100 != _SUCCESS:
            self._backlog.refused(self._now())
            self._last_error = f"it answered {answer.status}: {answer.text}"
            self._note_lost(len(batch), self._last_error)
        else:
            self._taken(answer)

    def _taken(self, answer: CollectorAnswer) -> None:
        if self._backlog.failures:
            _log.info("%s takes spans again", self._collector.shown, extra={"event": "spans_taken_again"})
        count, why = rejected(answer.body)
        self._backlog.taken(self._now(), count)
        self._last_error = shown(why)
        self._note_lost(count, f"it rejects them: {self._last_error}")

    def _failed(self, reason: str, wait_s: float) -> None:
        if not self._backlog.failures:
            _log.warning(
                "%s takes no spans, and is tried again; nothing else waits for it: %s",
                self._collector.shown,
                reason,
                extra={"event": "spans_wait"},
            )
        self._last_error = reason
        self._backlog.failed(self._now(), self._chance(), wait_s)

    def _note_lost(self, count: int, why: str) -> None:
        if count:
            _log.warning(
                "%s: %d spans are lost: %s",
                self._collector.shown,
                count,
                why,
                extra={"event": "spans_lost", "foreign": True, "count": count},
            )
