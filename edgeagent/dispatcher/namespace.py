"""What is known and published of one namespace: the link between its watcher and the publisher."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection
from enum import Enum
from functools import partial
from typing import NamedTuple, Protocol

from edgeagent.argo.wire import Workflow
from edgeagent.common.foreign import shown
from edgeagent.dispatcher.configmaps import ConfigMaps
from edgeagent.dispatcher.cursor import cursor_payload
from edgeagent.dispatcher.progress import FINAL, WorkflowProgress, outputs_left_out
from edgeagent.dispatcher.publisher import Send
from edgeagent.ports.link import PublishOutcome, PublishRefused
from edgeagent.wire.messages import Status
from edgeagent.wire.outputs import MAX_OUTPUT_BYTES, MAX_OUTPUTS_BYTES

log = logging.getLogger(__name__)


class Active(Protocol):
    """Counts the unfinished workflows of each namespace."""

    def started(self, namespace: str, name: str, template: str) -> None:
        """Note that this workflow of a template is unfinished: newly seen, or running again."""

    def finished(self, namespace: str, name: str) -> None:
        """Note that this workflow has ended or is gone. May be called more than once."""

    def listed(self, namespace: str, names: Collection[str]) -> None:
        """Note that these are all unfinished workflows: the engine has just listed them."""


class StatusPoster(Protocol):
    """Posts statuses to those who want them (`webhooks`)."""

    @property
    def pending(self) -> int:
        """How many are not done."""

    def put(self, status: Status, done: Callable[[], None]) -> None:
        """Post a status; `done` is called once, when nobody needs it any more."""

    def clear(self) -> None:
        """Forget what is to be posted; no `done` of it is called any more."""


class WatchTimes(NamedTuple):
    """In seconds.

    `tick_s`: between two checks of what is due. `cursor_s`: between two cursors. `hold_s`: how long the cursor does not
    move after everything was listed. A new watch first sends every existing workflow, in no order: until it is done,
    the cursor must not make the next leader believe that a workflow not yet seen was published. `deleted_kept_s`: how
    long a follower remembers a deleted workflow; the leader has published it by then. `blind_s`: how long the engine
    may be silent before another dispatcher should lead.
    """

    tick_s: float = 1.0
    cursor_s: float = 5.0
    hold_s: float = 60.0
    deleted_kept_s: float = 120.0
    blind_s: float = 30.0


DEFAULT_PACE = WatchTimes()


class _Part(Enum):
    """What must be done about the end of a run before the cursor may pass it."""

    STATUS = "published"
    CONFIGMAP = "applied"
    WEBHOOKS = "posted"


_Run = tuple[str, str | None]  # the workflow's name and when the run began


class Namespace:
    """Owns one namespace's progress and cursor; the `Sink` of its watcher.

    While it leads, the cursor never passes a final status that the broker has neither taken nor refused for good.
    """

    def __init__(
        self,
        name: str,
        *,
        put: Callable[[Status], None],
        send: Send,
        cursor_topic: str,
        active: Active,
        pace: WatchTimes,
        now: Callable[[], float],
        wall: Callable[[], float],
        settled: Callable[[], None],
        configmaps: ConfigMaps | None = None,
        webhooks: StatusPoster | None = None,
    ) -> None:
        """Begin with no workflow known.

        Args:
            name: the namespace.
            put: takes each status that is due.
            send: publishes the cursor.
            cursor_topic: the cursor's topic.
            active: counts the unfinished workflows.
            pace: how often and how long.
            now: monotonic seconds.
            wall: Unix seconds.
            settled: called when the broker has answered a cursor, and when a ConfigMap is done.
            configmaps: applies the result of each workflow that ends while we lead; None if that is not configured.
            webhooks: takes each status that is due, too; None if there are none.
        """
        self.name = name
        self._progress = WorkflowProgress(name)
        self._put = put
        self._send = send
        self._cursor_topic = cursor_topic
        self._active = active
        self._pace = pace
        self._now = now
        self._wall = wall
        self._settled = settled
        self._configmaps = configmaps
        self._webhooks = webhooks
        self._parts: dict[_Run, set[_Part]] = {}  # what is left to do for runs that have more than their status
        self._whole_from_s = math.inf  # from then on the cursor may move
        self._moved_s = -math.inf
        self._kept_s: float | None = None  # the cursor as it was sent last
        self._cursors_out = 0

    @property
    def cursor_is_out(self) -> bool:
        """Whether the broker has not yet answered a cursor."""
        return self._cursors_out > 0

    # Called by the watcher; see `Sink`.

    def seen(self, workflow: Workflow) -> None:
        """See `Sink`."""
        name = workflow.metadata.name
        before = self._progress.is_unfinished(name)
        status = self._progress.seen(workflow, self._now())
        if self._progress.is_unfinished(name):
            if not before:
                self._active.started(self.name, name, workflow.template)
        else:
            self._active.finished(self.name, name)
        if status is not None:
            if status.status in FINAL:
                self._end(workflow, (name, status.started_at))
                _tell_left_out(workflow, status)
            self._report(status)

    def deleted(self, workflow: Workflow) -> None:
        """See `Sink`."""
        name = workflow.metadata.name
        status = self._progress.deleted(workflow, self._now())
        if not self._progress.is_unfinished(name):
            self._active.finished(self.name, name)
        if status is not None:
            self._report(status)

    def gone(self, name: str) -> None:
        """See `Sink`."""
        status = self._progress.gone(name, self._now())
        self._active.finished(self.name, name)
        if status is not None:
            self._report(status)

    def unfinished(self) -> dict[str, str]:
        """See `Sink`."""
        return self._progress.unfinished()

    def interrupted(self) -> None:
        """See `Sink`."""
        self._whole_from_s = math.inf

    def listed(self, *, everything: bool) -> None:
        """See `Sink`."""
        if everything:
            self._whole_from_s = self._now() + self._pace.hold_s
        self._active.listed(self.name, tuple(self._progress.unfinished()))

    # Called by the leader.

    def lead(self, cursor_s: float | None) -> None:
        """Put the status of every unfinished workflow; those finished since the cursor follow as they are seen."""
        self._forget_parts()
        self._whole_from_s = math.inf
        self._kept_s = cursor_s
        for status in self._progress.lead(cursor_s, self._now()):
            self._report(status)

    def follow(self) -> None:
        """Put no status any more."""
        self._forget_parts()
        self._progress.follow()

    def taken(self, status: Status) -> None:
        """Note that a status that was put is done: taken by the broker, refused for good, or lost."""
        if status.status in FINAL:
            self._part_done((status.workflow_id, status.started_at), _Part.STATUS)

    def tick(self) -> None:
        """As the leader, put the statuses that had to wait, and publish the cursor when it is due."""
        for status in self._progress.due(self._now()):
            self._report(status)
        if self._now() - self._moved_s >= self._pace.cursor_s:
            self.keep_cursor()

    def keep_cursor(self) -> None:
        """Publish the cursor if it has moved, and if no workflow that finished before it can be missing."""
        if self._now() < self._whole_from_s or self._cursors_out:
            return
        self._moved_s = self._now()
        cursor_s = self._progress.finished.move(self._wall())
        if cursor_s is not None and cursor_s != self._kept_s:
            self._kept_s = cursor_s
            self._cursors_out += 1
            self._send(self._cursor_topic, cursor_payload(cursor_s), retain=True, on_taken=self._cursor_taken)

    def forget_deleted(self) -> None:
        """As a follower, forget the deleted workflows that the leader has published."""
        self._progress.forget_deleted(self._now() - self._pace.deleted_kept_s)

    def _end(self, workflow: Workflow, run: _Run) -> None:
        """Note what must be done about the end of a run, and have its ConfigMap applied."""
        optional = {_Part.CONFIGMAP: self._configmaps, _Part.WEBHOOKS: self._webhooks}
        parts = {part for part, doer in optional.items() if doer is not None}
        if parts:
            self._parts[run] = parts | {_Part.STATUS}
        if self._configmaps is not None:
            self._configmaps.put(workflow, partial(self._done, run, _Part.CONFIGMAP))

    def _report(self, status: Status) -> None:
        if self._webhooks is not None:
            run = (status.workflow_id, status.started_at)
            is_final = status.status in FINAL
            self._webhooks.put(status, partial(self._done, run, _Part.WEBHOOKS) if is_final else self._settled)
        self._put(status)

    def _done(self, run: _Run, part: _Part) -> None:
        self._part_done(run, part)
        self._settled()

    def _part_done(self, run: _Run, part: _Part) -> None:
        """Note that one more thing is done about the end of a run; after the last one the cursor may pass it."""
        left = self._parts.get(run, set())
        left.discard(part)
        if not left:
            self._parts.pop(run, None)
            self._progress.finished.taken(*run)

    def _forget_parts(self) -> None:
        self._parts.clear()
        if self._configmaps is not None:
            self._configmaps.clear()

    def _cursor_taken(self, outcome: PublishOutcome) -> None:
        self._cursors_out -= 1
        if isinstance(outcome, PublishRefused) and not outcome.permanent:
            self._kept_s = None  # it is published again when the next one is due
        self._settled()


def _tell_left_out(workflow: Workflow, status: Status) -> None:
    if left_out := outputs_left_out(workflow, status):
        log.warning(
            "workflow %s in namespace %s has outputs that do not fit into its status and are left out: %s (at most %d "
            "bytes each, %d together)",
            shown(status.workflow_id),
            status.namespace,
            shown(", ".join(left_out)),
            MAX_OUTPUT_BYTES,
            MAX_OUTPUTS_BYTES,
            extra={
                "event": "status_outputs_left_out",
                "foreign": True,
                "correlation_id": status.correlation_id,
                "namespace": status.namespace,
                "workflow_id": status.workflow_id,
            },
        )
