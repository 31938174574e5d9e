"""Does to a workflow what a request asks for, through the engine's own calls (contract section 15).

Every operation looks at the workflow first: whose it is, and whether it is already as the request wants it. So a
request that comes again, also at another dispatcher or after a restart, finds what the first one did:

* `stop`, `terminate`, `resume` of a workflow that has ended, and `delete` of one that is gone, are done already.
* `retry` of a workflow that runs is done already.
* `resubmit` starts a workflow whose name is made from the request's id, and the engine gives each name once.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from edgeagent.argo.wire import Workflow, WorkflowList
from edgeagent.dispatcher import verdict
from edgeagent.dispatcher.capacity import Capacity
from edgeagent.dispatcher.engine import Engine, Order
from edgeagent.dispatcher.manage_check import NOT_ALLOWED
from edgeagent.dispatcher.outcome import CROWDED_S, Created, Duplicate, Invalid, NameTaken, response_to
from edgeagent.dispatcher.policy import Policy
from edgeagent.dispatcher.progress import FINAL, status_of
from edgeagent.dispatcher.resubmission import resubmission, resubmitted_name
from edgeagent.dispatcher.workflow import workflow_problems
from edgeagent.errors import EngineRefused
from edgeagent.wire.manage import MAX_LISTED, ManageRequest, ManageResponse, resubmitted_id
from edgeagent.wire.messages import LABEL_AGENT, LABEL_CORRELATION_ID, LABEL_RESUBMIT_OF, Status
from edgeagent.workflows.names import TOO_DEEP, is_too_deep, quoted

# A whole object must fit into one message with the rest of the answer.
MAX_OBJECT_BYTES = 192 << 10
_MAX_DETAIL_CHARS = 500
_SUCCESS = 200
_NOT_FOUND = 404
_TOO_LARGE = 413
_TOO_MANY = 429
_DONE = {
    "stop": "Workflow is stopped",
    "terminate": "Workflow is terminated",
    "suspend": "Workflow is suspended",
    "resume": "Workflow is resumed",
    "retry": "Workflow is retried",
}
_ENDED = "Workflow had ended already"
_RUNS = "Workflow runs already"
_DELETED = "Workflow is deleted"
_RESUBMITTED = "Workflow is resubmitted"
_CONFLICT = "Workflow has ended"


class OperationsApi(Protocol):
    """The part of `edgeagent.argo.operations.ArgoOperations` that is used here."""

    async def get(self, namespace: str, name: str) -> Workflow | None:
        """A workflow, in the archive too; None if there is none."""

    async def labelled(self, namespace: str, labels: str) -> list[Workflow]:
        """The workflows with these labels, newest first."""

    async def page(self, namespace: str, labels: str, limit: int, continue_: str) -> WorkflowList:
        """A page of the workflows with these labels."""

    async def whole(self, namespace: str, name: str) -> dict[str, Any]:
        """The whole object of a workflow, in the archive too."""

    async def put(self, namespace: str, name: str, operation: str, message: str = "") -> Workflow:
        """Stop, terminate, suspend, resume or retry a workflow; returns it as it is then."""

    async def delete(self, namespace: str, name: str) -> None:
        """Delete a workflow."""


class Operations:
    """Performs requests that are checked and allowed. It owns nothing, and keeps nothing from one to the next."""

    def __init__(
        self,
        api: OperationsApi,
        engine: Engine,
        policy: Policy,
        *,
        capacity: Capacity | None = None,
    ) -> None:
        """An `engine` starts what is resubmitted. `capacity`: the limits that count it; None for no limit."""
        self._api = api
        self._engine = engine
        self._policy = policy
        self._capacity = capacity or Capacity(None, (), changed=lambda: None)

    async def perform(self, request: ManageRequest) -> ManageResponse:
        """Do what the request asks for, and answer.

        Raises:
            EngineUnavailable: it may have been done; the same request again finds out.
            EngineRefused: the engine refuses our credentials (401).
        """
        try:
            if request.operation == "list":
                return await self._list(request)
            return await self._with_workflow(request)
        except EngineRefused as exc:
            if exc.status in {verdict.UNAUTHORIZED, verdict.CONFLICT}:
                raise
            return _refused(request, exc)

    async def _with_workflow(self, request: ManageRequest) -> ManageResponse:
        if request.operation == "resubmit" and (started := await self._started_by(request)) is not None:
            return _done(request, _RESUBMITTED, started)
        workflow = await self._find(request)
        if workflow is None:
            if request.operation == "delete":
                return _done(request, "Workflow is gone already", None)
            named = (
                quoted(request.workflow_id) if request.workflow_id else f"of trigger {quoted(request.correlation_id)}"
            )
            where = f"there is no workflow {named} in namespace {quoted(request.namespace)}"
            return _failed(request, _NOT_FOUND, "Workflow not found", where)
        if not _may_touch(request, workflow):
            where = f"workflow {quoted(workflow.metadata.name)} is none of agent {quoted(request.agent)}"
            return _failed(request, verdict.FORBIDDEN, NOT_ALLOWED, where)
        special = {"get": self._get, "delete": self._delete, "resubmit": self._resubmit}
        return await special.get(request.operation, self._change)(request, workflow)

    async def _find(self, request: ManageRequest) -> Workflow | None:
        if request.workflow_id:
            return await self._api.get(request.namespace, request.workflow_id)
        labels = f"{LABEL_CORRELATION_ID}={request.correlation_id}"
        if request.agent:
            labels += f",{LABEL_AGENT}={request.agent}"
        found = await self._api.labelled(request.namespace, labels)
        return next((workflow for workflow in found if not workflow.metadata.is_copy), None)

    async def _started_by(self, request: ManageRequest) -> Workflow | None:
        """The workflow that this `resubmit` has started before; None if it has not.

        It is looked for first: what was done stays done, even if there is no room any more, the workflow before is
        gone, or another policy holds.
        """
        correlation_id = resubmitted_id(request)
        if request.workflow_id:
            name = resubmitted_name(request, request.workflow_id)
            known = await self._api.get(request.namespace, name)
            found = [] if known is None else [known]
        else:
            labels = f"{LABEL_CORRELATION_ID}={correlation_id},{LABEL_RESUBMIT_OF}={request.correlation_id}"
            found = await self._api.labelled(request.namespace, labels)
        return next((each for each in found if _has_id(each, correlation_id) and _may_touch(request, each)), None)

    async def _change(self, request: ManageRequest, workflow: Workflow) -> ManageResponse:
        operation, phase = request.operation, workflow.status.phase if workflow.status is not None else ""
        has_ended = phase in FINAL
        if operation == "retry" and not has_ended:
            return _done(request, _RUNS, workflow)
        if (operation == "retry" and phase == "Succeeded") or (operation == "suspend" and has_ended):
            detail = f"workflow {quoted(workflow.metadata.name)} is {phase}: there is nothing to {operation}"
            return _failed(request, verdict.CONFLICT, _CONFLICT, detail, workflow)
        if has_ended and operation != "retry":
            return _done(request, _ENDED, workflow)
        message = request.message if operation == "stop" else ""
        changed = await self._api.put(request.namespace, workflow.metadata.name, operation, message)
        return _done(request, _DONE[operation], changed)

    async def _get(self, request: ManageRequest, workflow: Workflow) -> ManageResponse:
        response = _done(request, "Workflow found", workflow)
        if not request.whole:
            return response
        whole = await self._api.whole(request.namespace, workflow.metadata.name)
        too_deep = is_too_deep(whole)
        size = 0 if too_deep else len(msgspec.json.encode(whole))
        if too_deep or size > MAX_OBJECT_BYTES:
            has = TOO_DEEP if too_deep else f"has {size} bytes, a message takes {MAX_OBJECT_BYTES}"
            detail = f"the object {has}: ask without whole"
            return _failed(request, _TOO_LARGE, "Workflow is too large", detail, workflow)
        return msgspec.structs.replace(response, object=whole)

    async def _delete(self, request: ManageRequest, workflow: Workflow) -> ManageResponse:
        try:
            await self._api.delete(request.namespace, workflow.metadata.name)
        except EngineRefused as exc:
            if exc.status != _NOT_FOUND:  # else somebody was faster, or only the archive has it
                raise
        return _done(request, _DELETED, workflow)

    async def _resubmit(self, request: ManageRequest, workflow: Workflow) -> ManageResponse:
        whole = await self._api.whole(request.namespace, workflow.metadata.name)
        order = resubmission(request, whole)
        problems = iter([TOO_DEEP]) if is_too_deep(whole) else workflow_problems(order.workflow, order.namespace)
        if (problem := next(problems, None)) is not None:
            detail = f"workflow {quoted(workflow.metadata.name)} cannot be run again: {problem}"
            return _failed(request, 400, "Invalid workflow", detail)
        decided = self._policy.decide(order)
        if not isinstance(decided, Order):
            outcome = response_to(decided, correlation_id="", namespace=request.namespace, dry_run=False)
            return _failed(request, outcome.code, outcome.error, outcome.detail)
        if (limit := self._capacity.reached(decided.namespace, decided.template)) is not None:
            refused = _failed(request, _TOO_MANY, "Too many workflows", str(limit))
            return msgspec.structs.replace(refused, retryable=True, retry_after_s=CROWDED_S)
        created = await self._create(decided)
        if not isinstance(created, (Created, Duplicate)):
            outcome = response_to(created, correlation_id="", namespace=request.namespace, dry_run=False)
            return _failed(request, outcome.code, outcome.error, outcome.detail)
        begun = Status(
            request.namespace, created.workflow_id, "Pending", correlation_id=order.correlation_id, agent=order.agent
        )
        status = created.status if isinstance(created, Duplicate) and created.status is not None else begun
        return ManageResponse(request.request_id, _SUCCESS, status=_RESUBMITTED, workflow=status)

    async def _create(self, order: Order) -> Created | Duplicate | NameTaken | Invalid:
        """Start it, and count it from now on, as what triggers start is counted."""
        pool, name = self._capacity.pool(order.namespace, order.template), None
        self._capacity.reserve(order.namespace, pool)
        try:
            created = await self._engine.create(order)
            name = created.workflow_id if isinstance(created, Created) else None
        finally:
            self._capacity.release(order.namespace, pool, name)
        return created

    async def _list(self, request: ManageRequest) -> ManageResponse:
        labels = f"{LABEL_AGENT}={request.agent}" if request.agent else LABEL_CORRELATION_ID
        page = await self._api.page(request.namespace, labels, request.limit, request.continue_)
        items = [item for item in page.items or () if not (request.agent and item.metadata.is_copy)]
        found = [status_of(request.namespace, item) for item in items]
        listed = tuple(_cut(status) for status in found if status is not None)[:MAX_LISTED]
        return ManageResponse(
            request.request_id,
            _SUCCESS,
            status="Workflows listed",
            workflows=listed,
            continue_=page.metadata.continue_,
        )


def _may_touch(request: ManageRequest, workflow: Workflow) -> bool:
    """Whether it is the agent's own. A copy (`argo resubmit`) has its labels, but it is none that it asked for."""
    if not request.agent:
        return True
    labels = workflow.metadata.labels or {}
    return labels.get(LABEL_AGENT) == request.agent and not workflow.metadata.is_copy


def _has_id(workflow: Workflow, correlation_id: str) -> bool:
    labels = workflow.metadata.labels or {}
    return labels.get(LABEL_CORRELATION_ID) == correlation_id and not workflow.metadata.is_copy


def _cut(status: Status) -> Status:
    """A status in a list: a hundred of them must fit into one message."""
    return msgspec.structs.replace(status, message=status.message[:_MAX_DETAIL_CHARS])


def _done(request: ManageRequest, status: str, workflow: Workflow | None) -> ManageResponse:
    found = status_of(request.namespace, workflow) if workflow is not None else None
    return ManageResponse(request.request_id, _SUCCESS, status=status, workflow=found)


def _failed(
    request: ManageRequest, code: int, error: str, detail: str, workflow: Workflow | None = None
) -> ManageResponse:
    found = status_of(request.namespace, workflow) if workflow is not None else None
    return ManageResponse(
        request.request_id, code, error=error, detail=detail[:_MAX_DETAIL_CHARS], retryable=False, workflow=found
    )


def _refused(request: ManageRequest, error: EngineRefused) -> ManageResponse:
    """The engine's refusal in words; none of these passes by itself within the time that a request waits."""
    said = " ".join(error.message.split())
    match error.status:
        case verdict.FORBIDDEN:
            advice = f"the dispatcher's account may not {request.operation} workflows in {quoted(request.namespace)}"
            return _failed(request, verdict.FORBIDDEN, "Forbidden by the engine", f"{advice}. The engine said: {said}")
        case 404:  # something that the operation needs
            return _failed(request, _NOT_FOUND, "Not found by the engine", f"the engine said: {said}")
        case _:
            return _failed(request, 400, "Refused by the engine", f"the engine said {error.status}: {said}")
