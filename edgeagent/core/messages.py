"""The messages on the wire between agent, dispatcher and devices, as Structs (contract sections 3 to 6).

`parse_*` turn hostile bytes into Structs or raise `MessageError`; unknown members are ignored. All are JSON, UTF-8.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from edgeagent.errors import MessageError

MAX_MESSAGE_BYTES = 1 << 20  # a workflow must fit etcd with its status: nothing larger is worth reading

MAX_QUERY_IDS = 500  # of one status query

OURS = "edgeagent.io/"  # in front of our labels and annotations
LABEL_AGENT = "edgeagent.io/agent"
LABEL_RULE = "edgeagent.io/rule"
LABEL_CORRELATION_ID = "edgeagent.io/correlation-id"
ANNOTATION_SOURCE = "edgeagent.io/source"
ANNOTATION_EVENT_ID = "edgeagent.io/event-id"
ANNOTATION_EVENT_TIME = "edgeagent.io/event-time"

T = TypeVar("T")

# What a label can hold. Texts that become part of a label selector must be nothing else, or they would change it.
_LabelText = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")]


class State(StrEnum):
    """Where a trigger stands."""

    BUFFERED = "buffered"
    PUBLISHED = "published"
    TRIGGERED = "triggered"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ERROR = "error"
    REJECTED = "rejected"
    EXPIRED = "expired"
    DROPPED = "dropped"
    MERGED = "merged"


class Trigger(msgspec.Struct, frozen=True, omit_defaults=True):
    """The message that starts one workflow. `workflow` is a Workflow object, checked by who receives it."""

    namespace: str
    workflow: dict[str, Any]
    correlation_id: str = ""
    agent: str = ""
    attempt: int | None = None
    reply_to: str = ""


class Response(msgspec.Struct, frozen=True, omit_defaults=True, rename={"workflow_id": "workflowId"}):
    """The engine's answer to a trigger."""

    correlation_id: str = ""
    code: int = 0
    status: str = ""
    workflow_id: str = ""
    namespace: str = ""
    duplicate: bool | None = None
    error: str = ""
    detail: str = ""
    retryable: bool | None = None
    retry_after_s: float = 0
    dry_run: bool = False


class Status(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={"workflow_id": "workflowId", "started_at": "startedAt", "finished_at": "finishedAt"},
):
    """Progress of a started workflow."""

    namespace: str
    workflow_id: str
    status: Literal["Pending", "Running", "Succeeded", "Failed", "Error"]
    progress: str = ""
    message: str = ""
    correlation_id: str = ""
    agent: str = ""
    started_at: str | None = None
    finished_at: str | None = None
    dry_run: bool = False


class StatusQuery(msgspec.Struct, frozen=True, omit_defaults=True):
    """A gateway asks for the present statuses of its own workflows, by correlation id."""

    agent: _LabelText
    correlation_ids: Annotated[tuple[_LabelText, ...], msgspec.Meta(min_length=1, max_length=MAX_QUERY_IDS)]
    reply_to: str = ""


class StatusReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an agent answers to a status update that asks for a response."""

    code: int
    status: str = ""
    error: str = ""


class Report(
    msgspec.Struct,
    frozen=True,
    rename={"event_id": "id", "workflow_id": "workflowId"},
):
    """What a device is told about one of its triggers. `at` is when the state was reached, RFC 3339 UTC.

    `into`: with the state `merged`, the correlation id of the trigger in which it ended.
    """

    correlation_id: str
    event_id: str
    source: str
    rule: str
    state: State
    at: str
    workflow_id: str = ""
    namespace: str = ""
    progress: str = ""
    message: str = ""
    error: str = ""
    into: str | msgspec.UnsetType = msgspec.UNSET


def parse_response(payload: bytes, correlation_data: bytes | None) -> Response:
    """Read an answer; what it lacks is filled in as contract section 4 says.

    Raises:
        MessageError: it is no answer, or nothing tells which trigger it belongs to.
    """
    response = _decode(Response, payload, "response")
    correlation_id = response.correlation_id or _text(correlation_data)
    if not correlation_id:
        raise MessageError("response", "correlation_id", "is missing, and there is no MQTT 5 correlation data")
    code = response.code
    if not code and response.workflow_id:
        code = 200
    elif not code and response.error:
        code = 400
    elif not code:
        raise MessageError("response", "code", "is missing, and neither workflowId nor error is there")
    retryable = response.retryable
    if retryable is None:
        retryable = code in {408, 429} or code >= 500  # noqa: PLR2004  HTTP's classes, contract section 4
    return msgspec.structs.replace(response, correlation_id=correlation_id, code=code, retryable=retryable)


def parse_status(payload: bytes) -> Status:
    """Read a status update; the four members of the interface alone are enough.

    Raises:
        MessageError: it is no status update.
    """
    status = _decode(Status, payload, "status")
    if not status.workflow_id:
        raise MessageError("status", "workflowId", "must not be empty")
    return status


def parse_status_query(payload: bytes) -> StatusQuery:
    """Read a query for statuses: 1 to `MAX_QUERY_IDS` correlation ids, each a text that a label can hold.

    Raises:
        MessageError: it is no such query.
    """
    return _decode(StatusQuery, payload, "status query")


def parse_trigger(payload: bytes) -> Trigger:
    """Read a trigger message. The workflow inside is not looked at.

    Raises:
        MessageError: it is no trigger message.
    """
    return _decode(Trigger, payload, "trigger")


def _decode(cls: type[T], payload: bytes, what: str) -> T:
    if len(payload) > MAX_MESSAGE_BYTES:
        raise MessageError(what, "", f"has {len(payload)} bytes, at most {MAX_MESSAGE_BYTES} are read")
    try:
        return msgspec.json.decode(payload, type=cls)
    except msgspec.ValidationError as exc:
        reason, _, where = str(exc).partition(" - at `$")
        raise MessageError(what, where.strip("`."), reason[:1].lower() + reason[1:]) from exc
    except (ValueError, RecursionError) as exc:
        raise MessageError(what, "", f"is no JSON: {exc}") from exc


def _text(data: bytes | None) -> str:
    try:
        return (data or b"").decode()
    except UnicodeDecodeError:
        return ""
