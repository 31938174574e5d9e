"""The messages of the interface with examples, and the topics on which the engine's side receives and sends them."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from edgeagent.wire import topics
from edgeagent.wire.agent_state import AgentState
from edgeagent.wire.manage import ManageRequest, ManageResponse
from edgeagent.wire.messages import Report, Response, Status, StatusQuery, StatusReply, Trigger

VERSION: Final = "1.0.0"  # of the interface, not of edgeagent
_ID: Final = "9f2c61d05b7e4a3c8d1f0e9b7a6c5d4e"
_TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_NAME: Final = f"overheat-{_ID}"
_STATUS: Final = {
    "namespace": "plant",
    "workflowId": _NAME,
    "status": "Running",
    "progress": "50%",
    "correlation_id": _ID,
    "agent": "gw-042",
    "startedAt": "2026-11-29T09:00:01Z",
}


class Kind(NamedTuple):
    """A message of the interface. `name`: its file and its heading. `examples`: what is really sent."""

    name: str
    struct: type[msgspec.Struct]
    examples: tuple[dict[str, Any], ...]


KINDS: Final = (
    Kind(
        "trigger",
        Trigger,
        (
            {
                "namespace": "plant",
                "correlation_id": _ID,
                "agent": "gw-042",
                "attempt": 1,
                "reply_to": topics.response_topic("gw-042"),
                "workflow": {
                    "apiVersion": "argoproj.io/v1alpha1",
                    "kind": "Workflow",
                    "metadata": {
                        "name": _NAME,
                        "namespace": "plant",
                        "labels": {"edgeagent.io/agent": "gw-042", "edgeagent.io/correlation-id": _ID},
                    },
                    "spec": {
                        "workflowTemplateRef": {"name": "inspect"},
                        "arguments": {"parameters": [{"name": "temp", "value": "97.1"}]},
                    },
                },
            },
        ),
    ),
    Kind(
        "response",
        Response,
        (
            {
                "correlation_id": _ID,
                "code": 200,
                "status": "Workflow triggered successfully",
                "workflowId": _NAME,
                "namespace": "plant",
                "duplicate": False,
            },
            {
                "correlation_id": _ID,
                "code": 503,
                "error": "Engine is not available",
                "detail": "the workflow engine does not answer at the moment",
                "retryable": True,
                "retry_after_s": 30,
            },
        ),
    ),
    Kind(
        "status",
        Status,
        (
            _STATUS,
            {
                **_STATUS,
                "status": "Succeeded",
                "progress": "100%",
                "finishedAt": "2026-11-29T09:01:12Z",
                "outputs": {"result": "leak", "artifact-url": "https://store.example/reports/9f2c.pdf"},
                "traceparent": _TRACEPARENT,
            },
        ),
    ),
    Kind("status-query", StatusQuery, ({"agent": "gw-042", "correlation_ids": [_ID]},)),
    Kind("status-reply", StatusReply, ({"code": 200, "status": "Status update received successfully"},)),
    Kind(
        "manage-request",
        ManageRequest,
        (
            {
                "operation": "stop",
                "request_id": "01981f5e-7a3b-7c4d-8e5f-0a1b2c3d4e5f",
                "namespace": "plant",
                "workflowId": _NAME,
                "agent": "gw-042",
                "reply_to": topics.response_topic("gw-042"),
            },
            {"operation": "list", "request_id": "list-7", "namespace": "plant", "limit": 20},
        ),
    ),
    Kind(
        "manage-response",
        ManageResponse,
        (
            {
                "request_id": "01981f5e-7a3b-7c4d-8e5f-0a1b2c3d4e5f",
                "code": 200,
                "status": "Workflow is stopped",
                "workflow": _STATUS,
            },
            {
                "request_id": "list-7",
                "code": 403,
                "error": "Not allowed",
                "detail": "operation 'list' is not allowed for a message without an agent in namespace 'plant'",
                "retryable": False,
            },
        ),
    ),
    Kind(
        "agent-state",
        AgentState,
        (
            {
                "state": "online",
                "version": VERSION,
                "since": "2026-11-29T08:00:00.000Z",
                "pending": 3,
                "oldest": "2026-11-29T08:59:58.000Z",
                "headroom_s": None,
                "reason": "",
            },
        ),
    ),
    Kind(
        "report",
        Report,
        (
            {
                "correlation_id": _ID,
                "id": "reading-7",
                "source": "boiler-1",
                "rule": "overheat",
                "state": "running",
                "at": "2026-11-29T09:00:02.000Z",
                "workflowId": _NAME,
                "namespace": "plant",
                "progress": "50%",
                "message": "",
                "error": "",
            },
            {
                "correlation_id": _ID,
                "id": "reading-7",
                "source": "boiler-1",
                "rule": "overheat",
                "state": "succeeded",
                "at": "2026-11-29T09:01:13.000Z",
                "workflowId": _NAME,
                "namespace": "plant",
                "progress": "100%",
                "message": "",
                "error": "",
                "outputs": {"result": "leak", "artifact-url": "https://store.example/reports/9f2c.pdf"},
                "traceparent": _TRACEPARENT,
            },
        ),
    ),
)


class Channel(NamedTuple):
    """A topic of AsyncAPI's kind, and what the engine's side does there.

    `reply`: the channel on which a message that comes here is answered, and the messages there. `retain`: whether the
    broker keeps the last one.
    """

    name: str
    address: str
    messages: tuple[str, ...]
    does: str = ""
    reply: tuple[str, tuple[str, ...]] | None = None
    retain: bool = False
    summary: str = ""


_RESPONSES = "responseToAgent"
CHANNELS: Final = (
    Channel(
        "trigger",
        topics.TRIGGER,
        ("trigger",),
        "receive",
        ("response", ("response",)),
        summary="Starts one workflow. For producers that are no gateways, and for gateways that are not bound.",
    ),
    Channel(
        "triggerOfAgent",
        topics.AGENTS_TRIGGER,
        ("trigger",),
        "receive",
        (_RESPONSES, ("response",)),
        summary="Starts one workflow; the last level binds the gateway to its name.",
    ),
    Channel(
        "manage",
        topics.MANAGE,
        ("manage-request",),
        "receive",
        ("response", ("manage-response",)),
        summary="Manages a workflow, for producers that are no gateways.",
    ),
    Channel(
        "manageOfAgent",
        topics.manage_topic("{agent}"),
        ("manage-request",),
        "receive",
        (_RESPONSES, ("manage-response",)),
        summary="Manages a gateway's own workflow.",
    ),
    Channel("response", topics.RESPONSE, ("response", "manage-response"), summary="Answers to other producers."),
    Channel(
        _RESPONSES,
        topics.response_topic("{agent}"),
        ("response", "manage-response"),
        summary="Answers to one gateway, whatever reply_to says.",
    ),
    Channel("status", topics.STATUS, ("status",), "send", summary="Progress of every workflow, for monitoring."),
    Channel(
        "statusOfAgent", f"{topics.STATUS}/{{agent}}", ("status",), "send", summary="Progress of a gateway's workflows."
    ),
    Channel(
        "statusQuery",
        topics.STATUS_QUERY,
        ("status-query",),
        "receive",
        summary="Asks for the present statuses of a gateway's workflows, which then come as statuses.",
    ),
    Channel(
        "agentState",
        topics.state_topic("{agent}"),
        ("agent-state",),
        "receive",
        retain=True,
        summary="What a gateway says of itself; `offline` also by its last will.",
    ),
)
