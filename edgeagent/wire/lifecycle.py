r"""A trigger's life: which state follows which (contract sections 5 and 6).

    buffered -> published -> triggered -> running -> succeeded | failed | error
                         \-> rejected, expired, dropped, merged: given up; a late response or status still counts
    published, triggered, running -> unknown: no status came although it was asked for; a late one still counts

A state never goes backwards within a run; a status with a later `startedAt` opens a new run. Each function returns the
new life, or None if nothing changed.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET

from edgeagent.wire.messages import Report, Response, State, Status
from edgeagent.wire.steps import left

GIVEN_UP: Final = frozenset({State.REJECTED, State.EXPIRED, State.DROPPED, State.MERGED, State.UNKNOWN})
FINAL: Final = GIVEN_UP | {State.SUCCEEDED, State.FAILED, State.ERROR}
# The engine has started a workflow for these triggers.
TAKEN_ON: Final = frozenset({State.TRIGGERED, State.RUNNING, State.SUCCEEDED, State.FAILED, State.ERROR})

_RANK: Final = {
    State.BUFFERED: 0,
    State.REJECTED: 1,
    State.EXPIRED: 1,
    State.DROPPED: 1,
    State.MERGED: 1,
    State.UNKNOWN: 1,
    State.PUBLISHED: 1,
    State.TRIGGERED: 2,
    State.RUNNING: 3,
    State.SUCCEEDED: 4,
    State.FAILED: 4,
    State.ERROR: 4,
}
_OF_STATUS: Final = {
    "Pending": State.TRIGGERED,
    "Running": State.RUNNING,
    "Succeeded": State.SUCCEEDED,
    "Failed": State.FAILED,
    "Error": State.ERROR,
}


class Life(msgspec.Struct, frozen=True, gc=False):
    """A trigger's report, and what is needed to handle the next response or status.

    `accepted_ms`: when its event was accepted (wall clock). `run`: `startedAt` of the run to which the state belongs.
    `ends_published`: with settle = "broker" a published trigger is final. `steps`: its earlier states (`wire.steps`).
    """

    report: Report
    accepted_ms: int
    run: str = ""
    ends_published: bool = False
    steps: str = ""

    @property
    def final(self) -> bool:
        """Whether nothing more is expected."""
        state = self.report.state
        return state in FINAL or (self.ends_published and state is State.PUBLISHED)


def published(life: Life, at: str) -> Life | None:
    """The broker took the trigger."""
    if life.report.state not in {State.BUFFERED, *GIVEN_UP}:
        return None
    return _with(life, state=State.PUBLISHED, at=at, error="", into=UNSET)


def given_up(life: Life, state: State, reason: str, at: str) -> Life | None:
    """The trigger was rejected, expired or dropped, with the reason."""
    if _RANK[life.report.state] > _RANK[State.PUBLISHED]:
        return None
    return _with(life, state=state, error=reason, at=at, into=UNSET)


def merged(life: Life, into: str, at: str) -> Life | None:
    """The trigger ended in another one, which has the correlation id `into`."""
    if _RANK[life.report.state] > _RANK[State.PUBLISHED] or life.report.into == into:
        return None
    return _with(life, state=State.MERGED, error="", at=at, into=into)


def unknown(life: Life, reason: str, at: str) -> Life | None:
    """No status has come for long, although the agent asked for one."""
    if life.final:
        return None
    return _with(life, state=State.UNKNOWN, error=reason, at=at)


def answered(life: Life, response: Response, at: str) -> Life | None:
    """The engine took the trigger (200)."""
    report = life.report
    workflow_id = response.workflow_id or report.workflow_id
    namespace = response.namespace or report.namespace
    if _RANK[report.state] < _RANK[State.TRIGGERED]:
        return _with(
            life, state=State.TRIGGERED, workflow_id=workflow_id, namespace=namespace, error="", at=at, into=UNSET
        )
    if (workflow_id, namespace) != (report.workflow_id, report.namespace):
        return _with(life, workflow_id=workflow_id, namespace=namespace)
    return None


def progressed(life: Life, status: Status, at: str) -> Life | None:
    """A status of the workflow came."""
    state = _OF_STATUS[status.status]
    started = status.started_at or ""
    new_run = bool(life.run) and started > life.run
    if not new_run and _goes_back(life, state, started):
        return None
    changed = msgspec.structs.replace(
        life.report,
        state=state,
        workflow_id=status.workflow_id,
        namespace=status.namespace,
        progress=status.progress or ("" if new_run else life.report.progress),
        message=status.message,
        error="",
        into=UNSET,
        outputs=status.outputs or (UNSET if new_run else life.report.outputs),
    )
    if changed == life.report and not new_run:
        return None
    return msgspec.structs.replace(
        life, report=msgspec.structs.replace(changed, at=at), run=started or life.run, steps=_steps(life)
    )


def _goes_back(life: Life, state: State, started: str) -> bool:
    """Whether a status is older than what is known. `started` compares as text: the engine writes one form of UTC."""
    known = life.report.state
    if started and started < life.run:
        return True
    return _RANK[state] < _RANK[known] or (known in FINAL - GIVEN_UP and state is not known)


def _with(life: Life, **changes: object) -> Life:
    steps = _steps(life) if "state" in changes else life.steps
    return msgspec.structs.replace(life, report=msgspec.structs.replace(life.report, **changes), steps=steps)


def _steps(life: Life) -> str:
    """The steps with the present state, which another one follows."""
    return left(life.steps, life.report.state, life.report.at, life.accepted_ms)
