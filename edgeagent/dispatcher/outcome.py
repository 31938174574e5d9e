"""How a trigger can end, as data, and the response to each outcome (the table of contract section 7)."""

from __future__ import annotations

import msgspec

from edgeagent.wire.messages import Response, Status

# A detail quotes foreign text; the response must stay far below every broker's packet limit.
_MAX_DETAIL_CHARS = 500
# How long a sender waits if somebody must first change something (a template, a right, a quota). With no such hint it
# would try again within seconds, and each time the engine would look everything up.
SLOW_S = 300.0
CROWDED_S = 30.0


class Created(msgspec.Struct, frozen=True):
    """The engine has started the workflow under this name."""

    workflow_id: str


class Duplicate(msgspec.Struct, frozen=True):
    """The workflow existed already, with this trigger's agent and correlation id; `status`: its present status."""

    workflow_id: str
    status: Status | None = None


class CanaryHeard(msgspec.Struct, frozen=True):
    """It was a canary: nothing is started."""


class NameTaken(msgspec.Struct, frozen=True):
    """Another trigger's workflow has this name."""

    workflow_id: str


class Invalid(msgspec.Struct, frozen=True):
    """The message or its workflow can never be started; `detail` names the member at fault."""

    detail: str


class Forbidden(msgspec.Struct, frozen=True):
    """The dispatcher's own policy does not allow it; `detail` names the member at fault."""

    detail: str


class Unbound(msgspec.Struct, frozen=True):
    """The message names an agent that its topic does not bind it to; `detail` says where that agent must publish.

    `trigger_topic`: the message came on the base topic, and the agent is asked to publish there instead. A stranger
    can cause such an answer, so an agent must neither settle nor reject its trigger for it. Empty: a refusal, which
    harms no agent.
    """

    detail: str
    trigger_topic: str = ""


class Missing(msgspec.Struct, frozen=True):
    """Something that the workflow refers to does not exist yet: its template or its namespace."""

    detail: str


class EngineForbade(msgspec.Struct, frozen=True):
    """The engine forbids it by rights, a quota or an admission rule, which somebody may change.

    `by_quota`: a used-up quota does not recover a moment later, as rights do after an API server has started.
    """

    detail: str
    by_quota: bool = False
    retry_after_s: float = SLOW_S


class TooLarge(msgspec.Struct, frozen=True):
    """The workflow is too large for the engine, and always will be."""

    detail: str


class Crowded(msgspec.Struct, frozen=True):
    """So many of this sender's triggers wait here that others would not get through; try again later."""

    detail: str


class Overloaded(msgspec.Struct, frozen=True):
    """The engine cannot be reached or cannot answer now; try again in `retry_after_s`."""

    detail: str
    retry_after_s: float


Refusal = NameTaken | Invalid | Forbidden | Unbound | Missing | EngineForbade | TooLarge | Crowded | Overloaded
Outcome = Created | Duplicate | CanaryHeard | Refusal


def response_to(outcome: Outcome, *, correlation_id: str, namespace: str, dry_run: bool) -> Response:
    """The response to a trigger. Each one says whether it is a `dry_run`, so that none is taken for the real thing."""
    match outcome:
        case Created(workflow_id) | Duplicate(workflow_id):
            return Response(
                correlation_id=correlation_id,
                code=200,
                status="Workflow triggered successfully",
                workflow_id=workflow_id,
                namespace=namespace,
                duplicate=isinstance(outcome, Duplicate),
                dry_run=dry_run,
            )
        case CanaryHeard():
            return Response(
                correlation_id=correlation_id, code=200, status="Canary heard", dry_run=dry_run, canary=True
            )
        case _:
            return _refused(outcome, correlation_id, namespace, dry_run=dry_run)


def _refused(outcome: Refusal, correlation_id: str, namespace: str, *, dry_run: bool) -> Response:
    retry_after_s: float = 0
    trigger_topic = outcome.trigger_topic if isinstance(outcome, Unbound) else ""
    match outcome:
        case NameTaken(workflow_id):
            code, error, detail = 409, "Workflow name is taken", f"metadata.name {workflow_id!r} is another workflow's"
        case Invalid(detail):
            code, error = 400, "Invalid workflow definition"
        case Forbidden(detail) | Unbound(detail):
            code, error = 403, "Not allowed"
        case Missing(detail):
            code, error, retry_after_s = 404, "Not found by the engine", SLOW_S
        case EngineForbade(detail, _, retry_after_s):
            code, error = 403, "Forbidden by the engine"
        case TooLarge(detail):
            code, error = 413, "Workflow is too large"
        case Crowded(detail):
            code, error, retry_after_s = 429, "Too many triggers wait", CROWDED_S
        case Overloaded(detail, retry_after_s):
            code, error = 503, "Engine is not available"
    return Response(
        correlation_id=correlation_id,
        code=code,
        namespace=namespace,
        error=error,
        detail=detail[:_MAX_DETAIL_CHARS],
        retryable=retry_after_s > 0 or bool(trigger_topic),
        retry_after_s=retry_after_s,
        dry_run=dry_run,
        trigger_topic=trigger_topic,
    )
