"""What is sent for a delivery: headers and body. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from edgeagent import __version__
from edgeagent.ports.deliveries import WebhookDelivery
from edgeagent.ports.link import TRACEPARENT
from edgeagent.wire.webhook import (
    REPORT_NAMES,
    STATUS_NAMES,
    TYPE_PREFIX,
    EventAttributes,
    Header,
    event_headers,
    message_id,
    signature_headers,
    trace_headers,
)
from edgeagent.wire.webhook_body import BodyTemplate

_CONTENT: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])


class WebhookRequest(NamedTuple):
    """A request's headers, without those of the connection, and its body."""

    headers: Sequence[Header]
    body: bytes


class DeliveryKind(Protocol):
    """What deliveries are about: reports of an agent, or statuses of a dispatcher."""

    def attributes(self, delivery: WebhookDelivery, content: Mapping[str, str]) -> EventAttributes:
        """The event's attributes."""

    def values(self, delivery: WebhookDelivery, content: Mapping[str, str]) -> Mapping[str, str]:
        """What the names in a body stand for."""


class AgentReports:
    """A `DeliveryKind`: the reports about an agent's triggers."""

    names = REPORT_NAMES

    def __init__(self, agent: str) -> None:
        """`agent`: the agent's id."""
        self._agent = agent

    def attributes(self, delivery: WebhookDelivery, content: Mapping[str, str]) -> EventAttributes:
        """See `DeliveryKind`. The subject is the device."""
        kind = f"{TYPE_PREFIX}trigger.{delivery.state}"
        source = f"/edgeagent/agents/{self._agent}"
        return EventAttributes(message_id(delivery.payload), kind, source, content["source"], content["at"])

    def values(self, delivery: WebhookDelivery, content: Mapping[str, str]) -> Mapping[str, str]:  # noqa: ARG002  DeliveryKind
        """See `DeliveryKind`."""
        return {**content, "agent": self._agent}


class WorkflowStatuses:
    """A `DeliveryKind`: the statuses of a group of dispatchers."""

    names = STATUS_NAMES

    def __init__(self, group: str) -> None:
        """`group`: the group's name."""
        self._group = group

    def attributes(self, delivery: WebhookDelivery, content: Mapping[str, str]) -> EventAttributes:
        """See `DeliveryKind`. The subject is the workflow."""
        kind = f"{TYPE_PREFIX}workflow.{delivery.state}"
        source = f"/edgeagent/dispatchers/{self._group}"
        subject = f"{content['namespace']}/{content['workflowId']}"
        time = content.get("finishedAt") or content.get("startedAt") or ""
        return EventAttributes(message_id(delivery.payload), kind, source, subject, time)

    def values(self, delivery: WebhookDelivery, content: Mapping[str, str]) -> Mapping[str, str]:
        """See `DeliveryKind`."""
        return {**content, "state": delivery.state}


class WebhookForm:
    """Makes the requests for one receiver."""

    def __init__(self, kind: AgentReports | WorkflowStatuses, body: str) -> None:
        """`body`: the configured JSON with names; "" for the report or the status itself.

        Raises:
            ValueError: it cannot be used.
        """
        self._kind: DeliveryKind = kind
        self._template = BodyTemplate(body, kind.names) if body else None

    def request(self, delivery: WebhookDelivery, secrets: Sequence[bytes], time_s: int) -> WebhookRequest:
        """The request for a delivery at a time (Unix seconds). `secrets`: sign with these."""
        content = {name: _text(value) for name, value in _CONTENT.decode(delivery.payload).items()}
        event = self._kind.attributes(delivery, content)
        values = self._kind.values(delivery, content)
        body = delivery.payload if self._template is None else self._template.render(values)
        headers = [
            ("content-type", "application/json"),
            ("user-agent", f"edgeagent/{__version__}"),
            *event_headers(event),
            *trace_headers(content.get(TRACEPARENT, "")),
            *signature_headers(secrets, event.id, time_s, body),
        ]
        return WebhookRequest(headers, body)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):  # the outputs of a workflow
        return msgspec.json.encode(value).decode()
    return str(value).lower() if isinstance(value, bool) else str(value)
