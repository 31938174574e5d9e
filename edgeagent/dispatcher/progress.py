"""The state of a namespace's workflows, and which statuses are due. Pure: takes workflows and a time, returns statuses.

* A change of phase, and a new run, is due at once. A change of only progress or message is due `MIN_GAP_S` after the
  last status of that workflow; the newest one is always published.
* A final status is due once for each run. A deleted workflow that had not finished ends as `Error`.
* After a final phase, `Running` with a later `startedAt` (argo retry) is a new run. A workflow that was read before it
  finished, and arrives late, is recognised by its older version or by its `startedAt`.

Only the leader reports (`lead`, `follow`). A follower keeps track, and so knows the unfinished workflows when it takes
over. The memory holds the unfinished workflows, and what `Finished` needs of the others.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from edgeagent.argo.wire import Workflow, WorkflowStatus
from edgeagent.common.names import is_agent_id
from edgeagent.common.trace_context import valid_traceparent
from edgeagent.dispatcher.cursor import Finished, unix_s
from edgeagent.wire.messages import LABEL_AGENT, LABEL_CORRELATION_ID, Status
from edgeagent.wire.outputs import bounded_outputs, names_asked

MIN_GAP_S = 5.0
DELETED_MESSAGE = "workflow deleted"
_MAX_MESSAGE_CHARS = 2000
_MAX_DIGITS = 12

_Phase = Literal["Pending", "Running", "Succeeded", "Failed", "Error"]
_PHASES: Final[dict[str, _Phase]] = {
    "": "Pending",  # the controller has not seen it yet
    "Pending": "Pending",
    "Running": "Running",
    "Succeeded": "Succeeded",
    "Failed": "Failed",
    "Error": "Error",
}
FINAL: Final = frozenset({"Succeeded", "Failed", "Error"})


def status_of(namespace: str, workflow: Workflow) -> Status | None:
    """The status of a workflow; None if it has no name, or an unknown phase.

    A copy of a gateway's workflow (`argo resubmit`) is a run that no trigger asked for: its status names no agent.
    """
    metadata, state = workflow.metadata, workflow.status or WorkflowStatus()
    phase = _PHASES.get(state.phase)
    if phase is None or not metadata.name:
        return None
    labels = {} if metadata.is_copy else metadata.labels or {}
    agent = labels.get(LABEL_AGENT, "")
    return Status(
        namespace=namespace,
        workflow_id=metadata.name,
        status=phase,
        progress=percent(state.progress),
        message=state.message[:_MAX_MESSAGE_CHARS],
        correlation_id=labels.get(LABEL_CORRELATION_ID, ""),
        agent=agent if is_agent_id(agent) else "",  # it becomes a level of a topic
        started_at=state.started_at or None,
        finished_at=state.finished_at or None,
        outputs=bounded_outputs(_outputs(workflow)) if phase in FINAL else {},
        traceparent=_trace(workflow),
    )


def _trace(workflow: Workflow) -> str:
    """The workflow's trace; "" without one. A copy's annotations are those of the original, and so is the trace."""
    annotations = workflow.metadata.annotations
    return valid_traceparent(annotations.traceparent) or "" if annotations is not None else ""


def outputs_left_out(workflow: Workflow, status: Status) -> list[str]:
    """Which outputs were asked for and are there, but are too large or too many to come back with a final status."""
    return [name for name, _ in _outputs(workflow) if name not in status.outputs]


def _outputs(workflow: Workflow) -> list[tuple[str, str]]:
    """The output parameters that the workflow's rule asked for and that have a value."""
    asked, outputs = workflow.metadata.annotations, (workflow.status or WorkflowStatus()).outputs
    if asked is None or not asked.outputs or outputs is None or workflow.metadata.is_copy:
        return []
    texts = {each.name: text for each in outputs.parameters or () if (text := each.text) is not None}
    return [(name, texts[name]) for name in names_asked(asked.outputs) if name in texts]


def percent(progress: str) -> str:
    """`50%` for Argo's `1/2`, rounded down; `0%` for `0/0`; empty for any other text."""
    done, slash, total = progress.partition("/")
    if not slash or not _is_count(done) or not _is_count(total):
        return ""
    if not int(total):
        return "0%"
    return f"{100 * int(done) // int(total)}%" if int(done) <= int(total) else ""


def _is_count(text: str) -> bool:
    return len(text) <= _MAX_DIGITS and text.isascii() and text.isdecimal()


class _Open(msgspec.Struct, gc=False):
    """An unfinished workflow: its newest status, and the last one reported. `deleted_s`: when it was found deleted."""

    uid: str
    version: str
    latest: Status
    reported: Status | None = None
    reported_s: float = 0.0
    deleted_s: float | None = None

    def is_newer_than(self, version: str) -> bool:
        """Whether a resource version is older than the known one. Kubernetes counts up; other texts do not compare."""
        if not (version.isdecimal() and self.version.isdecimal()):
            return False
        return int(version) < int(self.version) or (self.deleted_s is not None and int(version) == int(self.version))


class WorkflowProgress:
    """Owns the state of one namespace's workflows. A follower's reports nothing; a leader's, each due status once.

    Times are monotonic seconds, except those of the cursor (Unix seconds).
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._open: dict[str, _Open] = {}
        self._waiting: dict[str, None] = {}  # names of those whose newest status is reported later, in order
        self._finished = Finished(None)
        self._leading = False

    @property
    def finished(self) -> Finished:
        """The ended runs reported since this dispatcher leads."""
        return self._finished

    def unfinished(self) -> dict[str, str]:
        """The uid of each unfinished workflow, by name."""
        return {name: known.uid for name, known in self._open.items() if known.deleted_s is None}

    def is_unfinished(self, name: str) -> bool:
        """Whether this workflow is known and has not finished or gone."""
        known = self._open.get(name)
        return known is not None and known.deleted_s is None

    def lead(self, cursor_s: float | None, now_s: float) -> list[Status]:
        """Report from now on; returns the status of each unfinished workflow, and of those deleted unreported.

        Args:
            cursor_s: a run that ended before it, less a margin, was reported already; None: none was.
            now_s: the time.
        """
        self._leading = True
        self._finished = Finished(cursor_s)
        self._waiting.clear()
        statuses = [known.latest for known in self._open.values()]
        for name, known in tuple(self._open.items()):
            known.reported, known.reported_s = known.latest, now_s
            if known.deleted_s is not None:
                self._finished.report_deleted(name, known.uid, known.latest.started_at)
                del self._open[name]
        return statuses

    def follow(self) -> None:
        """Report nothing from now on: another dispatcher does, or none."""
        self._leading = False
        self._finished = Finished(None)
        self._waiting.clear()

    def seen(self, workflow: Workflow, now_s: float) -> Status | None:
        """Note that a workflow was listed or has changed; returns the status to publish now, or None."""
        status = status_of(self._namespace, workflow)
        if status is None:
            return None
        name, uid, version = status.workflow_id, workflow.metadata.uid, workflow.metadata.resource_version
        known = self._open.get(name)
        if known is not None and known.is_newer_than(version):
            return None
        if status.status in FINAL:
            return self._end(status, uid, _ended_s(workflow), known=known is not None)
        ended = self._finished.run(name)
        if ended is not None and not ended.is_later(uid, status.started_at):
            return None  # it was read before the workflow finished
        if known is None or known.uid != uid:
            known = self._open[name] = _Open(uid, version, status)
        known.version, known.latest, known.deleted_s = version or known.version, status, None
        return self._report(name, known, now_s) if self._leading else None

    def deleted(self, workflow: Workflow, now_s: float) -> Status | None:
        """Note that a workflow was deleted, with this as its last state; returns the status to publish now."""
        status = status_of(self._namespace, workflow)
        if status is None or status.status in FINAL:
            return self.seen(workflow, now_s)
        name, uid = status.workflow_id, workflow.metadata.uid
        known, ended = self._open.get(name), self._finished.run(name)
        if known is not None and known.uid != uid:
            return None  # another workflow has its name now
        if ended is not None and not ended.is_later(uid, status.started_at):
            return None  # its end was reported
        self._open[name] = _Open(uid, workflow.metadata.resource_version, status)
        return self.gone(name, now_s)

    def gone(self, name: str, now_s: float) -> Status | None:
        """Note that an unfinished workflow is not found any more; returns the status to publish now."""
        known = self._open[name]
        status = msgspec.structs.replace(known.latest, status="Error", message=DELETED_MESSAGE)
        self._waiting.pop(name, None)
        if not self._leading:
            known.latest, known.deleted_s = status, now_s
            return None
        del self._open[name]
        self._finished.report_deleted(name, known.uid, status.started_at)
        return status

    def forget_deleted(self, before_s: float) -> None:
        """Forget the workflows deleted before this time: the leader has reported them."""
        for name, known in tuple(self._open.items()):
            if known.deleted_s is not None and known.deleted_s < before_s:
                del self._open[name]

    def due(self, now_s: float) -> list[Status]:
        """The statuses that had to wait and are due now."""
        ready = [name for name in self._waiting if now_s - self._open[name].reported_s >= MIN_GAP_S]
        return [status for name in ready if (status := self._report(name, self._open[name], now_s))]

    def _end(self, status: Status, uid: str, ended_s: float, *, known: bool) -> Status | None:
        name = status.workflow_id
        self._open.pop(name, None)
        self._waiting.pop(name, None)
        if not self._leading:
            return None
        ended = self._finished.run(name)
        if ended is not None and not ended.is_later(uid, status.started_at):
            return None
        if not known and self._finished.is_reported(ended_s):
            return None
        self._finished.report(name, uid, status.started_at, ended_s)
        return status

    def _report(self, name: str, known: _Open, now_s: float) -> Status | None:
        reported, latest = known.reported, known.latest
        if latest == reported:
            self._waiting.pop(name, None)
            return None
        at_once = (
            reported is None
            or latest.status != reported.status
            or (latest.started_at or "") > (reported.started_at or "")
        )
        if not at_once and now_s - known.reported_s < MIN_GAP_S:
            self._waiting[name] = None
            return None
        self._waiting.pop(name, None)
        known.reported, known.reported_s = latest, now_s
        return latest


def _ended_s(workflow: Workflow) -> float:
    """When a workflow ended. A final phase always comes with `finishedAt`; otherwise the nearest time stands for it."""
    state = workflow.status or WorkflowStatus()
    times = (unix_s(text) for text in (state.finished_at, state.started_at, workflow.metadata.creation_timestamp))
    return next((time_s for time_s in times if time_s is not None), 0.0)
