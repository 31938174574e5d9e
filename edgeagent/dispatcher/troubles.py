"""Logs trouble with the broker: once when it begins, not with every message."""

from __future__ import annotations

import logging

from edgeagent.common.foreign import shown
from edgeagent.dispatcher.capacity import Limit
from edgeagent.errors import Denied, UplinkError
from edgeagent.ports.link import UNHEARD, PublishOutcome, PublishRefused
from edgeagent.wire.messages import Response

# How many topics in trouble are remembered, so that each is logged once and not with every message.
_MAX_TOPICS = 1000
# Senders choose the agents that they name: after so many different ones the log is informative enough.
_MAX_UNBOUND = 100

log = logging.getLogger(__name__)


class Troubles:
    """Owns the record of what was logged, so that each trouble is logged once until it is over."""

    def __init__(self) -> None:
        self._topics: set[str] = set()
        self._unbound: set[str] = set()
        self._redirected: set[str] = set()
        self._unreachable: dict[str, str] = {}  # why, as last logged, by address

    def connected(self, *, session_present: bool) -> None:
        """Log that the connection is up."""
        log.info("connected to the broker", extra={"event": "broker_connected", "session_present": session_present})
        self._unreachable.clear()

    def down(self, error: UplinkError, *, was_up: bool) -> None:
        """Log when a connection ends, and why no other can be made when that changes, for each address."""
        if was_up:
            log.info("disconnected: %s", error, extra={"event": "broker_disconnected"})
        elif self._unreachable.get(error.address) != error.reason:
            self._unreachable[error.address] = error.reason
            level = logging.ERROR if isinstance(error, Denied) else logging.WARNING
            log.log(level, "cannot reach the broker, retrying: %s", error, extra={"event": "broker_unreachable"})

    @staticmethod
    def answered(topic: str, response: Response) -> None:
        """Log an answer, for who looks for a fault."""
        extra = {
            "event": "trigger_answered",
            "correlation_id": response.correlation_id,
            "code": response.code,
            "workflow_id": response.workflow_id,
            "detail": response.detail,
        }
        log.debug("trigger on %s answered", topic, extra=extra)

    def unbound(self, topic: str, detail: str, correlation_id: str) -> None:
        """Log the first of several triggers that name an agent which their topic does not bind.

        No response goes to that agent's own topic: the message may not be that agent's.
        """
        logged = f"{shown(topic)}: {detail}"
        if logged in self._unbound or len(self._unbound) >= _MAX_UNBOUND:
            return
        self._unbound.add(logged)
        extra = {"event": "trigger_unbound", "topic": shown(topic), "correlation_id": correlation_id}
        log.warning("a trigger is refused, and others like it: %s", detail, extra=extra)

    def redirected(self, trigger_topic: str) -> None:
        """Log the first of an agent's triggers on the base topic: the agent is asked to publish on its own."""
        if trigger_topic in self._redirected or len(self._redirected) >= _MAX_UNBOUND:
            return
        self._redirected.add(trigger_topic)
        extra = {"event": "trigger_unbound", "topic": trigger_topic}
        log.info("a gateway is asked to publish on its own topic, %s (engine.bind_agent)", trigger_topic, extra=extra)

    def published(self, topic: str, outcome: PublishOutcome, *, is_response: bool) -> None:
        """Log the first of several publications on a topic that are refused or, for responses, heard by nobody."""
        refused = outcome if isinstance(outcome, PublishRefused) else None
        if refused is None and not (is_response and outcome is UNHEARD):
            self._topics.discard(topic)
            return
        if topic in self._topics:
            return
        if len(self._topics) >= _MAX_TOPICS:
            self._topics.clear()
        self._topics.add(topic)
        if refused is None:
            extra = {"event": "response_unheard", "topic": topic}
            log.warning("nobody subscribes to the topic of a response", extra=extra)
            return
        extra = {"event": "publish_refused", "topic": topic, "reason_code": f"0x{refused.code:02x}"}
        extra["reason"] = refused.reason
        if refused.permanent or is_response:
            log.error("the broker refused a message; may the dispatcher publish there?", extra=extra)
        else:
            log.warning("the broker refuses a message for now; it is published again later", extra=extra)

    def full(self, limit: Limit) -> None:
        """Say that triggers wait because of `engine.max_active`."""
        extra = {"event": "namespace_full", "namespace": limit.namespace, "limit": limit.key}
        if limit.namespace:
            text = "namespace %s has engine.max_active unfinished workflows: its triggers wait until some end"
            log.warning(text, limit.namespace, extra=extra)
        else:
            text = 'engine.max_active "%s" = %d is reached: triggers that it counts wait until such workflows end'
            log.warning(text, limit.key, limit.most, extra=extra)

    def relaxed(self, limit: Limit) -> None:
        """Say that nothing waits for this limit any more."""
        extra = {"event": "namespace_relaxed", "namespace": limit.namespace, "limit": limit.key}
        if limit.namespace:
            log.info("namespace %s has room for more workflows again", limit.namespace, extra=extra)
        else:
            log.info('engine.max_active "%s" has room for more workflows again', limit.key, extra=extra)
