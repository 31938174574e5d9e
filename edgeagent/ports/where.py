"""Where a trigger is: the answer to `GET /v1/where/{id}` (contract section 9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from edgeagent.ports.deliveries import LostReport
from edgeagent.ports.manage import ManagedRequest

# An answer names at most this many triggers, the newest.
MAX_COURSES: Final = 100
_MAX_ID_CHARS = 253

Kind = Literal["correlation_id", "event", "workflow", "source"]


class WhereQuery(msgspec.Struct, frozen=True):
    """What a person knows of a trigger: a correlation id or its beginning, an event's id, a workflow, a source."""

    id: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=_MAX_ID_CHARS,
            description="must be a correlation id or its beginning, an event's id, a workflow's name or a source",
        ),
    ]


class CourseStep(msgspec.Struct, frozen=True):
    """A step that a trigger has taken. `at`: when, RFC 3339; None if that is not known. `detail`: more about it."""

    step: str
    at: str | None
    detail: str | None = None


class Hang(msgspec.Struct, frozen=True):
    """What a trigger waits for.

    `step`: the step that is missing. `since`: since when, RFC 3339; None if that is not known. `text` says what keeps
    it, `advice` what to do about it; empty if there is nothing to do.
    """

    step: str
    since: str | None
    text: str
    advice: str


class Course(msgspec.Struct, frozen=True, rename={"event_id": "id", "workflow_id": "workflowId"}):
    """A trigger's life up to now: its steps in order, and what it waits for, if it waits.

    `managed`: the requests about its workflow, oldest first; `lost_reports`: the reports that webhooks do not get, as
    far as the agent remembers them; `outputs`: the output parameters that came back with the workflow's end;
    `traceparent`: the trace. Each is left out if there is none.
    """

    correlation_id: str
    event_id: str
    source: str
    rule: str
    state: str
    workflow_id: str | None
    namespace: str | None
    steps: Sequence[CourseStep]
    hangs: Hang | None
    managed: Sequence[ManagedRequest] | UnsetType = UNSET
    lost_reports: Sequence[LostReport] | UnsetType = UNSET
    outputs: dict[str, str] | UnsetType = UNSET
    traceparent: str | UnsetType = UNSET


class KnownEvent(msgspec.Struct, frozen=True):
    """An event. `type` and `time` are None when only the ledger knows it; `accepted`: when, RFC 3339."""

    id: str
    source: str
    type: str | None
    time: str | None
    accepted: str


class Courses(msgspec.Struct, frozen=True):
    """What is known of an id: of what kind it is, and its triggers, newest event first, at most `MAX_COURSES`.

    `event`: the event, if the id names one, or one of its triggers.
    """

    id: str
    kind: Kind
    triggers: Sequence[Course]
    event: KnownEvent | None
