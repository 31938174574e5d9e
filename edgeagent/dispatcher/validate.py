"""Checks a received trigger message: whom to answer, and what to start or why not (contract sections 3, 7).

Pure: takes a message, returns data. Whatever the bytes are, nothing is raised.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import msgspec

from edgeagent.common import names
from edgeagent.dispatcher.engine import Order
from edgeagent.dispatcher.outcome import CanaryHeard, Invalid, Unbound
from edgeagent.dispatcher.traces import PASSED_ON, WorkflowTraces
from edgeagent.dispatcher.workflow import API_VERSION, KIND, workflow_problems
from edgeagent.errors import MessageError
from edgeagent.ports.link import Message
from edgeagent.wire import messages, topics
from edgeagent.wire.messages import Trigger
from edgeagent.workflows.names import is_label_value, quoted


class Checked(msgspec.Struct, frozen=True):
    """A trigger message after the check.

    `reply_topic`: the topic of the answer; None if the message does not identify its sender and a correlation id, and
    then the result is `Invalid`.
    """

    reply_topic: str | None
    correlation_id: str
    namespace: str
    result: Order | Invalid | Unbound | CanaryHeard


class _Claim(msgspec.Struct, frozen=True):
    """The members that identify the sender and its correlation id, when the rest of a message cannot be read."""

    agent: str = ""
    correlation_id: str = ""


def check(message: Message, *, bind_agent: bool, traces: WorkflowTraces = PASSED_ON) -> Checked:
    """Check one message.

    Args:
        message: as received on one of the trigger topics.
        bind_agent: take the agent from the topic's last level, to which the broker's access rules bind it, and refuse a
            message that names another one. On the base topic nothing binds an agent, so none is accepted: the agent
            that is named is answered with its own topic, which is all that a stranger can make an agent hear. A message
            without an agent is another producer's.
        traces: what the workflow's annotation says.
    """
    sent_by = topics.agent_of_trigger(message.topic)
    try:
        trigger = messages.parse_trigger(message.payload)
    except MessageError as exc:
        claim = _claim(message.payload)
        correlation_id = _correlation_id(claim.correlation_id, message, "")
        answerable = bool(correlation_id or message.response_topic)
        topic = reply_topic(message, claim.agent or sent_by, sent_by, bind_agent=bind_agent) if answerable else None
        return Checked(topic, correlation_id, "", Invalid(str(exc)))
    agent = trigger.agent or sent_by or ""
    metadata = trigger.workflow.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    correlation_id = _correlation_id(trigger.correlation_id, message, name if isinstance(name, str) else "")
    topic = reply_topic(message, agent, sent_by, bind_agent=bind_agent)
    namespace = trigger.namespace if names.is_dns_label(trigger.namespace) else ""
    result: Order | Invalid | Unbound | CanaryHeard
    if bind_agent and sent_by is None and _can_be_redirected(trigger, correlation_id):
        own = topics.with_agent(topics.AGENTS_TRIGGER, trigger.agent)
        topic = topics.response_topic(trigger.agent)
        result = Unbound(f"publish on {own} (engine.bind_agent)", own)
    elif bind_agent and (refusal := _binding_problem(trigger.agent, sent_by)):
        result = Unbound(refusal)
    elif trigger.canary:
        result = CanaryHeard()
    elif problem := next(_problems(trigger, agent, correlation_id), None):
        result = Invalid(problem)
    else:
        trace = traces.annotation(message.traceparent, correlation_id)
        result = _order(trigger, agent, correlation_id, trace, redelivered=message.duplicate)
    return Checked(topic, correlation_id, namespace, result)


def sender(message: Message, *, bind_agent: bool) -> str:
    """The apparent sender, for fair scheduling; found without parsing everything. "" for no agent."""
    agent = topics.agent_of_trigger(message.topic) or ""
    if not bind_agent:
        agent = _claim(message.payload).agent or agent
    return agent if names.is_agent_id(agent) else ""


def _claim(payload: bytes) -> _Claim:
    if len(payload) > messages.MAX_TRIGGER_BYTES:
        return _Claim()
    try:
        return msgspec.json.decode(payload, type=_Claim)
    except (ValueError, RecursionError):
        return _Claim()


def _correlation_id(given: str, message: Message, name: str) -> str:
    """The message's own id, else its MQTT 5 correlation data, else the workflow's name; always valid as a label value.

    Correlation data may be any bytes: if a label cannot hold them, their hash stands for them. (The bytes themselves
    are returned with every answer.)
    """
    if is_label_value(given):
        return given
    if message.correlation_data:
        try:
            text = message.correlation_data.decode()
        except UnicodeDecodeError:
            text = ""
        if is_label_value(text):
            return text
        return blake2b(message.correlation_data, digest_size=16).hexdigest()
    return name if is_label_value(name) else ""


def reply_topic(
    message: Message, agent: str | None, sent_by: str | None, *, bind_agent: bool, reply_to: str = ""
) -> str:
    """The topic of the answer: an agent's own topic, whatever `reply_to` says, for others one below the base topic.

    Another sender never gets a topic that could be an agent's own: an agent trusts what it receives there.
    """
    if bind_agent:
        agent = sent_by
    if agent and names.is_agent_id(agent):
        return topics.response_topic(agent)
    wanted = reply_to or message.response_topic or ""
    below = wanted.startswith(topics.response_topic(None) + "/") and topics.topic_problem(wanted) is None
    if below and not names.is_agent_id(topics.level_below_responses(wanted) or ""):
        return wanted
    return topics.response_topic(None)


def _can_be_redirected(trigger: Trigger, correlation_id: str) -> bool:
    """Whether the agent that a message names can be told which of its triggers is meant."""
    is_known = bool(correlation_id) and trigger.correlation_id in {"", correlation_id}
    return is_known and names.is_agent_id(trigger.agent)


def _binding_problem(claimed: str, sent_by: str | None) -> str | None:
    if sent_by is None:
        if not claimed:
            return None
        remedy = f'set uplink.trigger_topic = "{topics.AGENTS_TRIGGER}" in its configuration'
        return f"agent {quoted(claimed)} may send triggers on its own topic only (engine.bind_agent): {remedy}"
    if not names.is_agent_id(sent_by):
        return f"the topic's last level {quoted(sent_by)} is not an agent id"
    if claimed and claimed != sent_by:
        return f"agent {quoted(claimed)} is not allowed on the topic of agent {quoted(sent_by)}"
    return None


def _problems(trigger: Trigger, agent: str, correlation_id: str) -> Iterator[str]:
    if agent and not names.is_agent_id(agent):
        yield f"agent must be lower-case letters, digits and '-' inside, at most 63, is {quoted(agent)}"
    if trigger.correlation_id and trigger.correlation_id != correlation_id:
        yield f"correlation_id must be fit for a label's value, is {quoted(trigger.correlation_id)}"
    if not names.is_dns_label(trigger.namespace):
        yield f"namespace must be a DNS label, is {quoted(trigger.namespace)}"
    yield from workflow_problems(trigger.workflow, trigger.namespace)
    labels = trigger.workflow["metadata"].get("labels") or {}
    for label, expected in ((messages.LABEL_AGENT, agent), (messages.LABEL_CORRELATION_ID, correlation_id)):
        if labels.get(label, expected) != expected:
            yield f"metadata.labels[{label!r}] is {quoted(labels[label])}, but the message says {expected!r}"


def _order(trigger: Trigger, agent: str, correlation_id: str, trace: str, *, redelivered: bool) -> Order:
    metadata: dict[str, Any] = trigger.workflow["metadata"]
    spec: dict[str, Any] = trigger.workflow["spec"]
    labels = dict(metadata.get("labels") or {})
    # These two labels find a workflow again and distinguish it from another of the same name.
    if agent:
        labels[messages.LABEL_AGENT] = agent
    labels[messages.LABEL_CORRELATION_ID] = correlation_id  # also if empty: workflows with the label are followed
    metadata = {**metadata, "namespace": trigger.namespace, "labels": labels}
    if trace:
        metadata["annotations"] = {**(metadata.get("annotations") or {}), messages.ANNOTATION_TRACEPARENT: trace}
    reference: dict[str, Any] = spec.get("workflowTemplateRef") or {}
    return Order(
        namespace=trigger.namespace,
        name=metadata.get("name") or "",
        generate_name=metadata.get("generateName") or "",
        agent=agent,
        correlation_id=correlation_id,
        # A message that was delivered before may have reached the engine then, from here or from a dispatcher that is
        # gone, whichever attempt of the agent's it is.
        attempt=0 if redelivered else max(0, trigger.attempt or 0),
        template=reference.get("name", ""),
        cluster_scope=reference.get("clusterScope", False),
        traceparent=trace,
        workflow={
            **trigger.workflow,
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": metadata,
        },
    )
