"""Spans that wait for a collector: bounded, and when the next request is due. Pure: takes times, returns data."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

from edgeagent.common.backoff import full_jitter
from edgeagent.tracing.spans import TraceSpan

# About 1 KiB each.
MAX_SPANS: Final = 2048
BATCH_SPANS: Final = 512
# How long a span waits for others to go with it.
GATHER_S: Final = 5.0
_LEAST_S: Final = 1.0
_RETRY_BASE_S: Final = 5.0
_RETRY_CAP_S: Final = 300.0


class SpanCounts(msgspec.Struct):
    """Spans since the start. `dropped`: lost for lack of room, or because the collector refused them for good."""

    exported: int = 0
    dropped: int = 0


class Backlog:
    """Owns the spans that no collector has taken. Of too many the oldest go: what happens now is of more use.

    Attributes:
        counts: what became of spans.
        failures: the requests that failed in a row.
    """

    def __init__(self, max_spans: int = MAX_SPANS) -> None:
        self.counts = SpanCounts()
        self.failures = 0
        self._spans: deque[TraceSpan] = deque()
        self._max_spans = max_spans
        self._batch: list[TraceSpan] = []
        self._due_s: float | None = None

    def __len__(self) -> int:
        """How many wait, or are under way."""
        return len(self._spans) + len(self._batch)

    @property
    def due_s(self) -> float | None:
        """When the next request is due; None: nothing waits."""
        return self._due_s

    def add(self, spans: Iterable[TraceSpan], now_s: float) -> None:
        """Take spans in."""
        self._spans.extend(spans)
        self._bound()
        if self._spans and self._due_s is None:
            self._due_s = now_s + GATHER_S
        if len(self._spans) >= BATCH_SPANS and not self.failures:
            self._due_s = now_s

    def batch(self) -> list[TraceSpan]:
        """What goes with the next request; then `taken`, `refused` or `failed` says what became of it."""
        self._batch = [self._spans.popleft() for _ in range(min(BATCH_SPANS, len(self._spans)))]
        self._due_s = None
        return self._batch

    def taken(self, now_s: float, rejected: int = 0) -> None:
        """The collector took the batch, but for so many spans of it."""
        rejected = min(rejected, len(self._batch))
        self.counts.exported += len(self._batch) - rejected
        self.counts.dropped += rejected
        self._done(now_s)

    def refused(self, now_s: float) -> None:
        """The collector will never take this batch."""
        self.counts.dropped += len(self._batch)
        self._done(now_s)

    def failed(self, now_s: float, fraction: float, at_least_s: float = 0.0) -> None:
        """There was no answer, or one that asks to be tried again. `fraction`: a random number from 0 to 1."""
        self._spans.extendleft(reversed(self._batch))
        self._batch = []
        self._bound()
        wait_s = full_jitter(self.failures, fraction, base_s=_RETRY_BASE_S, cap_s=_RETRY_CAP_S)
        self.failures += 1
        self._due_s = now_s + max(_LEAST_S + wait_s, at_least_s)

    def _bound(self) -> None:
        while self._spans and len(self) > self._max_spans:
            self._spans.popleft()
            self.counts.dropped += 1

    def _done(self, now_s: float) -> None:
        self._batch = []
        self.failures = 0
        if self._spans:
            self._due_s = now_s if len(self._spans) >= BATCH_SPANS else now_s + GATHER_S
