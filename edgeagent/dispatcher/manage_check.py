"""Checks a request about a workflow: whom to answer, and what to do or why not (contract section 15).

Pure: takes a message, returns data. Whatever the bytes are, nothing is raised.
"""

from __future__ import annotations

import msgspec

from edgeagent.common import names
from edgeagent.dispatcher.policy import Policy
from edgeagent.dispatcher.validate import reply_topic
from edgeagent.errors import MessageError
from edgeagent.ports.link import Message
from edgeagent.wire import topics
from edgeagent.wire.manage import ManageRequest, ManageResponse, RequestId, parse_manage_request
from edgeagent.wire.messages import MAX_MESSAGE_BYTES
from edgeagent.workflows.names import quoted

NOT_ALLOWED = "Not allowed"
_INVALID = "Invalid request"


class CheckedRequest(msgspec.Struct, frozen=True):
    """A request after the check: what is to be done, or the answer without doing anything.

    `reply_topic`: None if the message does not identify itself by a `request_id`; then it cannot be answered, and
    `result` says why. The agent in a request that is to be done is the one whose workflows it may touch. `operation`:
    what it asks for, also if that is not done; "unknown" if it cannot be read.
    """

    reply_topic: str | None
    result: ManageRequest | ManageResponse
    operation: str = "unknown"


class _Claim(msgspec.Struct, frozen=True):
    """The members that identify the sender and its request, when the rest of a message cannot be read."""

    request_id: RequestId
    agent: str = ""
    reply_to: str = ""


def check_request(message: Message, policy: Policy, *, bind_agent: bool) -> CheckedRequest:
    """Check one message that came on a topic of requests about workflows. `bind_agent`: as for triggers."""
    sent_by = topics.agent_of_manage(message.topic)
    try:
        request = parse_manage_request(message.payload)
    except MessageError as exc:
        claim = _claim(message.payload)
        if claim is None:
            return CheckedRequest(None, _refusal("unknown", 400, _INVALID, str(exc)))
        topic = _topic(message, claim.agent, sent_by, claim.reply_to, bind_agent=bind_agent)
        return CheckedRequest(topic, _refusal(claim.request_id, 400, _INVALID, str(exc)))
    topic = _topic(message, request.agent, sent_by, request.reply_to, bind_agent=bind_agent)
    refused = _refused(request, sent_by, bind_agent=bind_agent)
    if refused is None:
        request = msgspec.structs.replace(request, agent=request.agent or sent_by or "")
        refused = _forbidden(request, policy)
    if refused is None:
        return CheckedRequest(topic, request, request.operation)
    code, error, detail = refused
    return CheckedRequest(topic, _refusal(request.request_id, code, error, detail), request.operation)


def _refused(request: ManageRequest, sent_by: str | None, *, bind_agent: bool) -> tuple[int, str, str] | None:
    agent = request.agent
    if agent and not names.is_agent_id(agent):
        return 400, _INVALID, f"agent {quoted(agent)} is not an agent id"
    if sent_by is not None and not names.is_agent_id(sent_by):
        return 403, NOT_ALLOWED, f"the topic's last level {quoted(sent_by)} is not an agent id"
    if bind_agent and agent and agent != sent_by:
        own = topics.manage_topic(agent)
        return 403, NOT_ALLOWED, f"agent {quoted(agent)} is heard on {own} only (engine.bind_agent)"
    if not names.is_dns_label(request.namespace):
        return 400, _INVALID, f"namespace must be a DNS label, is {quoted(request.namespace)}"
    if request.workflow_id and not names.is_dns_subdomain(request.workflow_id):
        return 400, _INVALID, f"workflowId must be a workflow's name, is {quoted(request.workflow_id)}"
    return None


def _forbidden(request: ManageRequest, policy: Policy) -> tuple[int, str, str] | None:
    if policy.allows(request.agent, request.namespace, request.operation):
        return None
    who = f"agent {quoted(request.agent)}" if request.agent else "a message without an agent"
    where = f"for {who} in namespace {quoted(request.namespace)}"
    return 403, NOT_ALLOWED, f"operation {request.operation!r} is not allowed {where}: [[allow]] operations"


def _topic(message: Message, agent: str, sent_by: str | None, reply_to: str, *, bind_agent: bool) -> str:
    """The topic of the answer, as a trigger's.

    An agent that names itself on the base topic hears on its own topic that it is refused there: a request id that is
    not its own it ignores.
    """
    if bind_agent and sent_by is None and names.is_agent_id(agent):
        return topics.response_topic(agent)
    return reply_topic(message, agent or sent_by, sent_by, bind_agent=bind_agent, reply_to=reply_to)


def _claim(payload: bytes) -> _Claim | None:
    if len(payload) > MAX_MESSAGE_BYTES:
        return None
    try:
        return msgspec.json.decode(payload, type=_Claim)
    except (ValueError, RecursionError):
        return None


def _refusal(request_id: str, code: int, error: str, detail: str) -> ManageResponse:
    return ManageResponse(request_id, code, error=error, detail=detail, retryable=False)
