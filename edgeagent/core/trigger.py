"""The trigger: its identity, and the message that carries it (contract section 3).

One event and one rule are one trigger, for ever: the correlation id is a hash of agent, source, event id and rule,
and the workflow's name is made of it, so that the engine itself refuses to start the same one twice.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec

from edgeagent.core import messages
from edgeagent.core.event import Record, envelope
from edgeagent.core.messages import Trigger
from edgeagent.core.rules import Rule
from edgeagent.errors import MessageError

_NAME_PREFIX_CHARS = 30
_SPAN_ID_CHARS = 16
_encoder = msgspec.json.Encoder()


def correlation_id(agent: str, source: str, event_id: str, rule: str) -> str:
    """32 hex digits that name the trigger; also a W3C trace id."""
    return blake2b(f"{agent}\0{source}\0{event_id}\0{rule}".encode(), digest_size=16).hexdigest()


def workflow_name(prefix: str, correlation: str) -> str:
    """The workflow's name: at most 63 characters, DNS-1123."""
    return f"{prefix[:_NAME_PREFIX_CHARS].rstrip('-.')}-{correlation}"


def traceparent(event: Record, correlation: str) -> str:
    """The event's own W3C trace context, else one whose trace id is the correlation id."""
    return event.traceparent or f"00-{correlation}-{correlation[:_SPAN_ID_CHARS]}-01"


def render(rule: Rule, event: Record, correlation: str, attempt: int, reply_to: str) -> bytes:
    """The trigger message for an event, from the rule's present text.

    Raises:
        MessageError: a parameter has no value in this event; names the parameter.
    """
    seen: dict[str, Any] = {}
    if rule.parameters.needs_envelope:
        seen = envelope(event)
        seen["correlation_id"] = correlation
        seen["agent"] = event.agent
        seen["rule"] = rule.name
    metadata = {
        "name": workflow_name(rule.name_prefix, correlation),
        "namespace": rule.namespace,
        "labels": {
            **rule.labels,
            messages.LABEL_AGENT: event.agent,
            messages.LABEL_RULE: rule.name,
            messages.LABEL_CORRELATION_ID: correlation,
        },
        "annotations": {
            **rule.annotations,
            messages.ANNOTATION_SOURCE: event.source,
            messages.ANNOTATION_EVENT_ID: event.id,
            messages.ANNOTATION_EVENT_TIME: event.time,
        },
    }
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": metadata,
        "spec": rule.spec_with(rule.parameters.values(seen)),
    }
    trigger = Trigger(rule.namespace, workflow, correlation, event.agent, attempt, reply_to)
    try:
        return _encoder.encode(trigger)
    except RecursionError as exc:
        raise MessageError("trigger", "workflow", "the data is nested too deep for a parameter") from exc
