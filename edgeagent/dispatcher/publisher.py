"""Statuses on their way to the broker: the newest of each workflow, with a limit on those in flight.

A waiting status is replaced by a newer one, so that a slow broker costs memory for each workflow, not for each change.
A final status is never replaced: a later one (after a retry) waits behind it.

A status that the broker refuses for now (it is busy, a quota is exceeded) rests, and is published again on the topics
where it was refused, ever more slowly. Later statuses of its workflow wait behind it, those of other workflows do not.
It is not done before the broker takes it or refuses it for good; after `GIVE_UP_S` it is lost.

A status put during one term as the leader is not sent in another, nor on a later connection: by then another dispatcher
may have published a newer one, and a workflow that has ended must not be reported as running.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from edgeagent.dispatcher.progress import FINAL
from edgeagent.ports.link import PublishOutcome, PublishRefused
from edgeagent.wire import topics
from edgeagent.wire.messages import Status

# How many publications may be unanswered by the broker: enough for a distant broker, little to send again.
MAX_UNANSWERED = 200
# The first rest of a status that was refused for now; the next ones are twice as long, up to the limit.
REST_S = 5.0
_MAX_REST_S = 60.0
_MAX_DOUBLINGS = 8
# A broker that refuses a status for so long, with a code that says "for now", will not take it.
GIVE_UP_S = 3600.0

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


_Key = tuple[str, str]  # namespace and name of a workflow


class _Job(msgspec.Struct):
    """A status in flight, and the term as the leader in which it began.

    `unanswered`: how many of its publications the broker has not answered; `refused`: the topics where it was refused
    for now.
    """

    status: Status
    term: int
    unanswered: int = 0
    refused: list[str] = []

    @property
    def key(self) -> _Key:
        """The workflow that it is about."""
        return self.status.namespace, self.status.workflow_id


class _Rest(msgspec.Struct):
    """A job that was refused for now, and the statuses of its workflow that wait behind it.

    `ahead`: how many of those were refused too. `since_s`: when this rest began; None until `retry` learns of it.
    """

    job: _Job
    later: list[Status]
    ahead: int = 0
    rests: int = 0
    since_s: float | None = None
    first_s: float | None = None


class Publisher:
    """Owns statuses until the broker has answered for each of their topics, and then reports them as done.

    Attributes:
        published: publications that the broker accepted; a status counts for each of its topics.
        refused: publications that the broker refused, as the dispatcher logs. Those refused for good count as done:
            the broker would refuse them again.
        lost: statuses that were refused for now until they were given up.
    """

    def __init__(self, send: Send, taken: Callable[[Status], None], max_unanswered: int = MAX_UNANSWERED) -> None:
        """Begin with nothing waiting.

        Args:
            send: queues one publication.
            taken: called when a status is done on all its topics.
            max_unanswered: how many publications of one term may be unanswered at once; at least 2.
        """
        self.published = 0
        self.refused = 0
        self.lost = 0
        self._send = send
        self._taken = taken
        self._max_unanswered = max_unanswered
        self._waiting: dict[_Key, list[Status]] = {}
        self._resting: dict[_Key, _Rest] = {}
        self._newest: dict[_Key, _Job] = {}  # of each workflow's jobs, the one that began last
        self._jobs = 0
        self._unanswered = 0
        self._term = 0

    @property
    def pending(self) -> int:
        """How many statuses are not done: those that wait, those in flight and those that rest."""
        behind = sum(len(rest.later) for rest in self._resting.values())
        return self._jobs + sum(map(len, self._waiting.values())) + behind

    def put(self, status: Status) -> None:
        """Publish a status when there is room, unless a newer one of the same workflow comes first."""
        key = status.namespace, status.workflow_id
        rest = self._resting.get(key)
        waiting = self._waiting.setdefault(key, []) if rest is None else rest.later
        if waiting and waiting[-1].status not in FINAL:
            waiting.pop()
            if rest is not None:
                rest.ahead = min(rest.ahead, len(waiting))
        waiting.append(status)
        self._fill()

    def repeat(self, status: Status) -> None:
        """Publish a requested status. If one of the same workflow waits, it is newer and serves as well."""
        key = status.namespace, status.workflow_id
        rest = self._resting.get(key)
        if key not in self._waiting and not (rest is not None and rest.later):
            self.put(status)

    def retry(self, now_s: float) -> list[Status]:
        """Publish what has rested long enough; to be called about once a second. Returns what is given up.

        Args:
            now_s: monotonic seconds.
        """
        lost: list[Status] = []
        for rest in tuple(self._resting.values()):
            job = rest.job
            if job.unanswered:
                continue
            if rest.since_s is None:
                rest.since_s = now_s
                rest.first_s = now_s if rest.first_s is None else rest.first_s
            if now_s - rest.since_s < min(REST_S * 2.0 ** min(rest.rests, _MAX_DOUBLINGS), _MAX_REST_S):
                continue
            if rest.later and job.status.status not in FINAL:
                self._end(job)
            elif rest.first_s is not None and now_s - rest.first_s >= GIVE_UP_S:
                self.lost += 1
                lost.append(job.status)
                self._end(job)
            elif self._unanswered + len(job.refused) <= self._max_unanswered:
                rest.since_s = None
                rest.rests += 1
                refused, job.refused = job.refused, []
                self._publish(job, refused)
        self._fill()
        return lost

    def clear(self) -> None:
        """Forget what waits or rests, and what is queued but not yet written: another term begins, or none."""
        self._waiting.clear()
        self._resting.clear()
        self._newest.clear()
        self._term += 1
        self._jobs = 0
        self._unanswered = 0

    def _fill(self) -> None:
        while self._waiting:
            key = next(iter(self._waiting))
            waiting = self._waiting[key]
            status_topics = topics.status_topics(waiting[0].agent)
            if self._unanswered + len(status_topics) > self._max_unanswered:
                return
            job = self._newest[key] = _Job(waiting.pop(0), self._term)
            if not waiting:
                del self._waiting[key]
            self._jobs += 1
            self._publish(job, status_topics)

    def _publish(self, job: _Job, status_topics: Sequence[str]) -> None:
        job.unanswered = len(status_topics)
        self._unanswered += len(status_topics)
        payload = _encoder.encode(job.status)
        for topic in status_topics:
            self._send(topic, payload, on_taken=self._answer(job, topic), wanted=self._wanted(job))

    def _wanted(self, job: _Job) -> Callable[[], bool]:
        return lambda: job.term == self._term

    def _answer(self, job: _Job, topic: str) -> Callable[[PublishOutcome], None]:
        def answered(outcome: PublishOutcome) -> None:
            is_refused = isinstance(outcome, PublishRefused)
            self.published += not is_refused
            self.refused += is_refused
            if job.term != self._term:
                return
            if isinstance(outcome, PublishRefused) and not outcome.permanent:
                job.refused.append(topic)
            self._unanswered -= 1
            job.unanswered -= 1
            if not job.unanswered and job.refused:
                self._rest(job)
            elif not job.unanswered:
                self._end(job)
            self._fill()

        return answered

    def _rest(self, job: _Job) -> None:
        """Keep a job that was refused for now, unless a newer status of its workflow was sent meanwhile."""
        rest = self._resting.get(job.key)
        if rest is not None and rest.job is job:
            return
        if job.status.status not in FINAL and self._newest.get(job.key) is not job:
            self._end(job)
        elif rest is None:
            self._resting[job.key] = _Rest(job, self._waiting.pop(job.key, []))
        else:
            rest.later.insert(rest.ahead, job.status)
            rest.ahead += 1
            self._jobs -= 1

    def _end(self, job: _Job) -> None:
        rest = self._resting.get(job.key)
        if rest is not None and rest.job is job:
            del self._resting[job.key]
            if rest.later:
                self._waiting[job.key] = rest.later
        if self._newest.get(job.key) is job:
            del self._newest[job.key]
        self._jobs -= 1
        self._taken(job.status)
