"""Statuses on their way to the broker: the newest of each workflow, with a limit on those in flight.

A waiting status is replaced by a newer one, so that a slow broker costs memory for each workflow, not for each change.
A final status is never replaced: a later one (after a retry) waits behind it.

A status put during one term as the leader is not sent in another, nor on a later connection: by then another dispatcher
may have published a newer one, and a workflow that has ended must not be reported as running.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from edgeagent.dispatcher.progress import FINAL
from edgeagent.ports.link import PublishOutcome, PublishRefused
from edgeagent.wire import topics
from edgeagent.wire.messages import Status

WINDOW = 200  # publications that the broker has not answered; enough for a distant broker, little to send again

_encoder = msgspec.json.Encoder()


class Send(Protocol):
    """Publishes at QoS 1, again on each connection until a broker has answered; then calls `on_taken(outcome)`.

    `wanted` is called before each publication: if it returns False, nothing is published and nothing called.
    """

    def __call__(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        on_taken: Callable[[PublishOutcome], None] | None = None,
        wanted: Callable[[], bool] | None = None,
    ) -> None:
        """Queue a publication."""


class _Job(msgspec.Struct):
    """A status in flight: how many of its publications are unanswered, and the term as the leader in which it began."""

    status: Status
    unanswered: int
    term: int


class Publisher:
    """Owns statuses until the broker has answered for each of their topics, and then reports them as done.

    Attributes:
        published: publications that the broker accepted; a status counts for each of its topics.
        refused: publications that the broker refused, as the dispatcher logs. They count as done: the broker would
            refuse them again.
    """

    def __init__(self, send: Send, taken: Callable[[Status], None], window: int = WINDOW) -> None:
        """Begin with nothing waiting.

        Args:
            send: queues one publication.
            taken: called when a status is done on all its topics.
            window: how many publications of one term may be unanswered at once; at least 2.
        """
        self.published = 0
        self.refused = 0
        self._send = send
        self._taken = taken
        self._window = window
        self._waiting: dict[tuple[str, str], list[Status]] = {}
        self._jobs = 0
        self._unanswered = 0
        self._term = 0

    @property
    def pending(self) -> int:
        """How many statuses are not done: those that wait and those in flight."""
        return self._jobs + sum(map(len, self._waiting.values()))

    def put(self, status: Status) -> None:
        """Publish a status when there is room, unless a newer one of the same workflow comes first."""
        waiting = self._waiting.setdefault((status.namespace, status.workflow_id), [])
        if waiting and waiting[-1].status not in FINAL:
            waiting.pop()
        waiting.append(status)
        self._fill()

    def repeat(self, status: Status) -> None:
        """Publish a requested status. If one of the same workflow waits, it is newer and serves as well."""
        if (status.namespace, status.workflow_id) not in self._waiting:
            self.put(status)

    def clear(self) -> None:
        """Forget what waits, and what is queued but not yet written: another term begins, or none."""
        self._waiting.clear()
        self._term += 1
        self._jobs = 0
        self._unanswered = 0

    def _fill(self) -> None:
        while self._waiting:
            key = next(iter(self._waiting))
            waiting = self._waiting[key]
            status_topics = topics.status_topics(waiting[0].agent)
            if self._unanswered + len(status_topics) > self._window:
                return
            status = waiting.pop(0)
            if not waiting:
                del self._waiting[key]
            self._unanswered += len(status_topics)
            self._jobs += 1
            job = _Job(status, len(status_topics), self._term)
            payload = _encoder.encode(status)
            for topic in status_topics:
                self._send(topic, payload, on_taken=self._answer(job), wanted=self._wanted(job))

    def _wanted(self, job: _Job) -> Callable[[], bool]:
        return lambda: job.term == self._term

    def _answer(self, job: _Job) -> Callable[[PublishOutcome], None]:
        def answered(outcome: PublishOutcome) -> None:
            is_refused = isinstance(outcome, PublishRefused)
            self.published += not is_refused
            self.refused += is_refused
            if job.term != self._term:
                return
            self._unanswered -= 1
            job.unanswered -= 1
            if not job.unanswered:
                self._jobs -= 1
                self._taken(job.status)
            self._fill()

        return answered
