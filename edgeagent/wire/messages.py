"""The messages between agent, dispatcher and devices, as Structs (contract sections 3 to 6).

`parse_*` turn hostile bytes into Structs or raise `MessageError`; unknown members are ignored. All messages are JSON,
UTF-8.

Every number, text and list in a Struct is bounded (contract section 4), so whatever is parsed can be stored, encoded
again and put into a list. Names and numbers beyond their bound make a message invalid; texts for a person are cut.
"""

from __future__ import annotations

from datetime import UTC
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from edgeagent.common.foreign import shown
from edgeagent.common.times import instant
from edgeagent.errors import MessageError
from edgeagent.wire.outputs import bounded_outputs

MAX_MESSAGE_BYTES = 256 << 10  # of a response, a status, a query
# A trigger carries an event of up to `outbox.max_event_bytes` (256 KiB by default), perhaps as base64 or inside a JSON
# text, and its workflow. A workflow must fit into etcd with its status, so nothing larger is worth reading.
MAX_TRIGGER_BYTES = 1 << 20
MAX_TEXT_BYTES = 1 << 10  # of a text for a person: an error, a message, a detail
MAX_QUERY_IDS = 500  # of one status query
MAX_RETRY_AFTER_S = 30 * 86400.0
MAX_ATTEMPT = 1 << 31
_MIN_CODE, _MAX_CODE = 100, 599
_MAX_WORKFLOW_ID_CHARS = 253
_MAX_NAMESPACE_CHARS = 63
_MAX_AGENT_CHARS = 63
_MAX_CORRELATION_ID_CHARS = 128
_MAX_TOPIC_CHARS = 65_535
_MAX_TRIGGER_TOPIC_CHARS = 256  # far more than a base topic and an agent id
_MAX_PROGRESS_CHARS = 64
_MAX_TIME_CHARS = 64
_MAX_TRACEPARENT_CHARS = 128  # version 00 has 55

# An agent's replies to a status update that asks for one (contract section 5).
STATUS_RECEIVED = "Status update received successfully"
STATUS_INVALID = "Invalid status update format"

OURS = "edgeagent.io/"  # the prefix of our labels and annotations
LABEL_AGENT = "edgeagent.io/agent"
LABEL_RULE = "edgeagent.io/rule"
LABEL_CORRELATION_ID = "edgeagent.io/correlation-id"
LABEL_RESUBMIT_OF = "edgeagent.io/resubmit-of"  # the correlation id of the workflow that was run again
ANNOTATION_SOURCE = "edgeagent.io/source"
ANNOTATION_EVENT_ID = "edgeagent.io/event-id"
ANNOTATION_EVENT_TIME = "edgeagent.io/event-time"
ANNOTATION_TRACEPARENT = "edgeagent.io/traceparent"  # the span that the workflow belongs to (W3C Trace Context)
ANNOTATION_OUTPUTS = "edgeagent.io/outputs"  # the output parameters that are to come back (`wire.outputs`)

T = TypeVar("T")

# The bounds of members that several messages have. The first are the characters of a label: a text that becomes part of
# a label selector must have no others, or it would change it.
LabelText = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")]
CodeNumber = Annotated[int, msgspec.Meta(ge=_MIN_CODE, le=_MAX_CODE)]
WorkflowIdText = Annotated[str, msgspec.Meta(max_length=_MAX_WORKFLOW_ID_CHARS)]
NamespaceText = Annotated[str, msgspec.Meta(max_length=_MAX_NAMESPACE_CHARS)]
AgentIdText = Annotated[str, msgspec.Meta(max_length=_MAX_AGENT_CHARS)]
CorrelationIdText = Annotated[str, msgspec.Meta(max_length=_MAX_CORRELATION_ID_CHARS)]
TopicText = Annotated[str, msgspec.Meta(max_length=_MAX_TOPIC_CHARS)]
_Time = Annotated[str, msgspec.Meta(max_length=_MAX_TIME_CHARS)]


class State(StrEnum):
    """The state of a trigger."""

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
    UNKNOWN = "unknown"


class Trigger(msgspec.Struct, frozen=True, omit_defaults=True):
    """The message that starts one workflow. `workflow` is a Workflow object; the dispatcher checks it.

    `canary`: it starts nothing, and is answered to show that the whole way works. Without a namespace and with an empty
    workflow it is a refused trigger to a dispatcher that does not know the member.
    """

    namespace: NamespaceText
    workflow: dict[str, Any]
    correlation_id: CorrelationIdText = ""
    agent: AgentIdText = ""
    attempt: Annotated[int, msgspec.Meta(ge=0, le=MAX_ATTEMPT)] | None = None
    reply_to: TopicText = ""
    canary: bool = False


class Response(msgspec.Struct, frozen=True, omit_defaults=True, rename={"workflow_id": "workflowId"}):
    """The engine's answer to a trigger.

    `trigger_topic`: nothing was started, and the trigger must be published there instead; an agent accepts only its own
    topic. `canary`: it answers a canary, and nothing was started.
    """

    correlation_id: CorrelationIdText = ""
    code: CodeNumber = 0
    status: str = ""
    workflow_id: WorkflowIdText = ""
    namespace: NamespaceText = ""
    duplicate: bool | None = None
    error: str = ""
    detail: str = ""
    retryable: bool | None = None
    retry_after_s: Annotated[float, msgspec.Meta(ge=0, le=MAX_RETRY_AFTER_S)] = 0
    dry_run: bool = False
    trigger_topic: Annotated[str, msgspec.Meta(max_length=_MAX_TRIGGER_TOPIC_CHARS)] = ""
    canary: bool = False


class Status(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={"workflow_id": "workflowId", "started_at": "startedAt", "finished_at": "finishedAt"},
):
    """Progress of a started workflow. `parse_status` makes its times texts that compare: UTC, whole seconds.

    `outputs`: with a final one, the workflow's output parameters that its rule asked for. `traceparent`: the workflow's
    trace, which an agent does not need.
    """

    namespace: NamespaceText
    workflow_id: Annotated[str, msgspec.Meta(min_length=1, max_length=_MAX_WORKFLOW_ID_CHARS)]
    status: Literal["Pending", "Running", "Succeeded", "Failed", "Error"]
    progress: Annotated[str, msgspec.Meta(max_length=_MAX_PROGRESS_CHARS)] = ""
    message: str = ""
    correlation_id: CorrelationIdText = ""
    agent: AgentIdText = ""
    started_at: _Time | None = None
    finished_at: _Time | None = None
    dry_run: bool = False
    outputs: dict[str, str] = {}
    traceparent: Annotated[str, msgspec.Meta(max_length=_MAX_TRACEPARENT_CHARS)] = ""


class StatusQuery(msgspec.Struct, frozen=True, omit_defaults=True):
    """A gateway's query for the present statuses of its own workflows, by correlation id."""

    agent: LabelText
    correlation_ids: Annotated[tuple[LabelText, ...], msgspec.Meta(min_length=1, max_length=MAX_QUERY_IDS)]
    reply_to: TopicText = ""


class StatusReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """An agent's reply to a status update that asks for one."""

    code: int
    status: str = ""
    error: str = ""


class Report(
    msgspec.Struct,
    frozen=True,
    rename={"event_id": "id", "workflow_id": "workflowId"},
):
    """The state of one trigger, as devices receive it. `at`: when the state was reached, RFC 3339 UTC.

    `into`: in the state `merged`, the correlation id of the trigger in which it ended. `outputs`: once the workflow has
    ended, the output parameters that the rule asked for, by their names. `traceparent`: the trace of the event, or the
    agent's (W3C Trace Context). Each is left out without any.
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
    outputs: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    traceparent: str | msgspec.UnsetType = msgspec.UNSET


def cut(text: str) -> str:
    """A text for a person, cut to `MAX_TEXT_BYTES` of UTF-8, between two characters."""
    if 4 * len(text) <= MAX_TEXT_BYTES:
        return text
    return text.encode()[:MAX_TEXT_BYTES].decode(errors="ignore")


def parse_response(payload: bytes, correlation_data: bytes | None) -> Response:
    """Read a response; missing members are filled in as contract section 4 says.

    An agent's reply to a status update looks like a response, but is refused: with correlation data that names a
    trigger it would end that trigger.

    Raises:
        MessageError: it is not a response, or it names no trigger.
    """
    response = decoded(Response, payload, "response", MAX_MESSAGE_BYTES)
    correlation_id = response.correlation_id or _text(correlation_data)
    if not correlation_id:
        raise MessageError("response", "correlation_id", "is missing, and there is no MQTT 5 correlation data")
    if len(correlation_id) > _MAX_CORRELATION_ID_CHARS:
        raise MessageError("response", "correlation_id", f"has more than {_MAX_CORRELATION_ID_CHARS} characters")
    if not response.workflow_id and (response.status == STATUS_RECEIVED or response.error == STATUS_INVALID):
        raise MessageError("response", "", "is an agent's answer to a status update, not the engine's to a trigger")
    code = response.code
    if not code and response.workflow_id:
        code = 200
    elif not code and response.error:
        code = 400
    elif not code:
        raise MessageError("response", "code", "is missing, and neither workflowId nor error is there")
    retryable = response.retryable
    if retryable is None:
        retryable = is_retryable(code)
    return msgspec.structs.replace(
        response,
        correlation_id=correlation_id,
        code=code,
        retryable=retryable,
        status=cut(response.status),
        error=cut(response.error),
        detail=cut(response.detail),
    )


def is_retryable(code: int) -> bool:
    """Whether an answer with this code, which does not say so itself, asks to be tried again (contract section 4)."""
    return code in {408, 429} or code >= 500  # noqa: PLR2004  HTTP's classes


def parse_status(payload: bytes) -> Status:
    """Read a status update. Only the four members of the original interface are required.

    Raises:
        MessageError: it is not a status update.
    """
    status = decoded(Status, payload, "status", MAX_MESSAGE_BYTES)
    return msgspec.structs.replace(
        status,
        message=cut(status.message),
        outputs=bounded_outputs(status.outputs.items()) if status.outputs else {},
        started_at=_whole_second(status.started_at, "startedAt"),
        finished_at=_whole_second(status.finished_at, "finishedAt"),
    )


def parse_status_query(payload: bytes) -> StatusQuery:
    """Read a status query: 1 to `MAX_QUERY_IDS` correlation ids, each a valid label value.

    Raises:
        MessageError: it is not a valid status query.
    """
    return decoded(StatusQuery, payload, "status query", MAX_MESSAGE_BYTES)


def parse_trigger(payload: bytes) -> Trigger:
    """Read a trigger message. The workflow in it is not checked.

    Raises:
        MessageError: it is not a trigger message.
    """
    return decoded(Trigger, payload, "trigger", MAX_TRIGGER_BYTES)


def decoded(cls: type[T], payload: bytes, what: str, max_bytes: int) -> T:
    """A message of this kind, whose Struct has the bounds. `what`: its name in errors.

    Raises:
        MessageError: it is no such message.
    """
    if len(payload) > max_bytes:
        raise MessageError(what, "", f"has {len(payload)} bytes, at most {max_bytes} are read")
    try:
        return msgspec.json.decode(payload, type=cls)
    except msgspec.ValidationError as exc:
        reason, _, where = str(exc).partition(" - at `$")
        raise MessageError(what, where.strip("`."), shown(reason[:1].lower() + reason[1:])) from exc
    except (ValueError, RecursionError) as exc:
        raise MessageError(what, "", f"is not JSON: {shown(str(exc))}") from exc


def _whole_second(text: str | None, member: str) -> str | None:
    """An instant in the one form that the engine writes; None if there is none.

    Raises:
        MessageError: it is not RFC 3339, or not UTC.
    """
    if not text:
        return None
    try:
        utc = instant(text).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise MessageError("status", member, f"must be an RFC 3339 time, is {shown(text)}") from exc
    return f"{utc.replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def _text(data: bytes | None) -> str:
    try:
        return (data or b"").decode()
    except UnicodeDecodeError:
        return ""
