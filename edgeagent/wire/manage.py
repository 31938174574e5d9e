"""The messages that manage workflows: a request about one, and its answer (contract section 15).

As in `messages`, whatever is parsed is bounded, and `parse_*` raise `MessageError`.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Annotated, Any, Literal

import msgspec

from edgeagent.errors import MessageError
from edgeagent.wire.messages import (
    MAX_MESSAGE_BYTES,
    MAX_RETRY_AFTER_S,
    AgentIdText,
    CodeNumber,
    LabelText,
    NamespaceText,
    Status,
    TopicText,
    WorkflowIdText,
    cut,
    decoded,
    is_retryable,
)
from edgeagent.wire.operations import Operation

MAX_LISTED = 100  # workflows of one answer to `list`
_MAX_CONTINUE_CHARS = 4096  # Kubernetes' are a few hundred
_MAX_RESPONSE_BYTES = 1 << 20

RequestId = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][-A-Za-z0-9_.:]{0,127}\Z")]
_Continue = Annotated[str, msgspec.Meta(max_length=_MAX_CONTINUE_CHARS)]


class ManageRequest(
    msgspec.Struct, frozen=True, omit_defaults=True, rename={"workflow_id": "workflowId", "continue_": "continue"}
):
    """A request about one workflow, named by `workflowId` or by `correlation_id`; for `list` about those of `agent`.

    `message`: with `stop`, what the workflow's status then says. `whole`: with `get`, the whole object too. `limit` and
    `continue`: with `list`, how many workflows an answer may have, and the `continue` of the answer before.
    """

    operation: Operation
    request_id: RequestId
    namespace: NamespaceText
    workflow_id: WorkflowIdText = ""
    correlation_id: LabelText | Literal[""] = ""
    agent: AgentIdText = ""
    reply_to: TopicText = ""
    message: str = ""
    whole: bool = False
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LISTED)] = 50
    continue_: _Continue = ""


class ManageResponse(msgspec.Struct, frozen=True, omit_defaults=True, rename={"continue_": "continue"}):
    """The answer to a request about a workflow.

    `workflow`: its status after the operation, of `resubmit` the new one's; None if there is none. `workflows` and
    `continue`: of `list`; an empty `continue` ends it. `object`: the whole Workflow, if the request asked for it.
    """

    request_id: RequestId
    code: CodeNumber
    status: str = ""
    error: str = ""
    detail: str = ""
    retryable: bool | None = None
    retry_after_s: Annotated[float, msgspec.Meta(ge=0, le=MAX_RETRY_AFTER_S)] = 0
    workflow: Status | None = None
    workflows: Annotated[tuple[Status, ...], msgspec.Meta(max_length=MAX_LISTED)] | None = None
    continue_: _Continue = ""
    object: dict[str, Any] | None = None
    dry_run: bool = False


def parse_manage_request(payload: bytes) -> ManageRequest:
    """Read a request about a workflow.

    Raises:
        MessageError: it is none; `list` needs no workflow, every other operation names one.
    """
    request = decoded(ManageRequest, payload, "manage request", MAX_MESSAGE_BYTES)
    if request.operation != "list" and not (request.workflow_id or request.correlation_id):
        raise MessageError("manage request", "workflowId", "is missing, and correlation_id is too")
    return msgspec.structs.replace(request, message=cut(request.message))


def parse_manage_response(payload: bytes) -> ManageResponse:
    """Read the answer to a request about a workflow.

    Raises:
        MessageError: it is none.
    """
    response = decoded(ManageResponse, payload, "manage response", _MAX_RESPONSE_BYTES)
    retryable = response.retryable
    if retryable is None:
        retryable = is_retryable(response.code)
    texts = {name: cut(getattr(response, name)) for name in ("status", "error", "detail")}
    return msgspec.structs.replace(response, retryable=retryable, **texts)


def resubmitted_id(request: ManageRequest) -> str:
    """The correlation id of the workflow that this request starts: the same however often the request comes."""
    text = f"resubmit\0{request.agent}\0{request.namespace}\0{request.request_id}"
    return blake2b(text.encode(), digest_size=16).hexdigest()
