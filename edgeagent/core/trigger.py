"""The trigger: its identity, and the message that carries it (contract section 3).

One event and one rule are one trigger, for ever: the correlation id is a hash of agent, source, event id and rule,
and the workflow's name is made of it, so that the engine itself refuses to start the same one twice.
"""

from __future__ import annotations

import re
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
    template = rule.templates.get(reply_to)
    if template is None:
        template = rule.templates[reply_to] = Template(rule, reply_to)
    return template.render(event, correlation, attempt)


class Template:
    """A rule's trigger message, encoded once, with gaps for what differs from event to event.

    An event fills the gaps: rendering costs a few joins instead of building and encoding the whole document.
    """

    def __init__(self, rule: Rule, reply_to: str) -> None:
        """Encode the rule's present text. `reply_to`: where the answer is wanted."""
        self._rule = rule
        gaps = len(_TEXTS) + len(rule.parameters.names)
        suffix = 0
        while True:  # a mark must not be in the rule's own text
            marks = [f"\u27e8{suffix}:{number}\u27e9" for number in range(gaps)]
            message = _encoder.encode(_message(rule, reply_to, *marks))
            if all(message.count(mark.encode()) == _USES.get(number, 1) for number, mark in enumerate(marks)):
                break
            suffix += 1
        attempt = marks.pop(_ATTEMPT)
        message = message.replace(f'"{attempt}"'.encode(), attempt.encode())  # a number has no quotes
        marks.insert(_ATTEMPT, attempt)
        numbers = {mark.encode(): number for number, mark in enumerate(marks)}
        pieces = re.split(b"(" + b"|".join(map(re.escape, numbers)) + b")", message)
        self._pieces = pieces
        self._gaps = [(place, numbers[piece]) for place, piece in enumerate(pieces) if piece in numbers]

    def render(self, event: Record, correlation: str, attempt: int) -> bytes:
        """The message for an event; see the function `render`."""
        parameters = self._rule.parameters
        seen: dict[str, Any] = {}
        if parameters.needs_envelope:
            seen = envelope(event)
            seen["correlation_id"] = correlation
            seen["agent"] = event.agent
            seen["rule"] = self._rule.name
        try:
            texts = [event.agent, event.source, event.id, event.time, *parameters.values(seen)]
        except RecursionError as exc:
            raise MessageError("trigger", "workflow", "the data is nested too deep for a parameter") from exc
        values = [correlation.encode(), b"%d" % attempt, *[_encoder.encode(text)[1:-1] for text in texts]]
        pieces = self._pieces.copy()
        for place, number in self._gaps:
            pieces[place] = values[number]
        return b"".join(pieces)


# The gaps, in the order of `_message`'s arguments; behind them come the parameters. Some are used more than once.
_TEXTS = ("correlation", "attempt", "agent", "source", "event id", "event time")
_ATTEMPT = 1
_USES = {0: 3, 2: 2}


def _message(
    rule: Rule,
    reply_to: str,
    correlation: str,
    attempt: Any,
    agent: str,
    source: str,
    event_id: str,
    event_time: str,
    *values: str,
) -> Trigger:
    metadata = {
        "name": workflow_name(rule.name_prefix, correlation),
        "namespace": rule.namespace,
        "labels": {
            **rule.labels,
            messages.LABEL_AGENT: agent,
            messages.LABEL_RULE: rule.name,
            messages.LABEL_CORRELATION_ID: correlation,
        },
        "annotations": {
            **rule.annotations,
            messages.ANNOTATION_SOURCE: source,
            messages.ANNOTATION_EVENT_ID: event_id,
            messages.ANNOTATION_EVENT_TIME: event_time,
        },
    }
    parameters = [{"name": name, "value": value} for name, value in zip(rule.parameters.names, values, strict=True)]
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": metadata,
        "spec": rule.spec_with(parameters),
    }
    return Trigger(rule.namespace, workflow, correlation, agent, attempt, reply_to)
