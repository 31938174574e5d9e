"""The uplink's messages: a trigger as a publication, and who is told what about the connection."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from edgeagent.agent.clock import Moment
from edgeagent.agent.route import Route
from edgeagent.common.elapsed import Instant, elapsed
from edgeagent.config.tables import Uplink
from edgeagent.errors import Denied, UplinkError
from edgeagent.outbox.records import Leased
from edgeagent.ports.link import Publication, Subscription
from edgeagent.rules.ruleset import Rule
from edgeagent.rules.trigger import render, traceparent
from edgeagent.wire.topics import RESPONSE, is_below, status_topics, with_agent

_JSON = "application/json"
_log = logging.getLogger(__name__)


class Addressing:
    """Where this agent's triggers go, where their answers come, and where it may answer itself."""

    def __init__(self, agent: str, trigger_topic: str, response_topic: str, reply_prefix: str = RESPONSE) -> None:
        """Take the configured topics, with `{agent}` in them."""
        self.agent = agent
        self.route = Route(trigger_topic, agent)
        self.response_topic = with_agent(response_topic, agent)
        self.status_topic = status_topics(agent)[-1]  # for this agent alone: it answers even malformed updates there

        self._reply_prefix = with_agent(reply_prefix, agent)

    def may_reply_on(self, topic: str) -> bool:
        """Whether an answer to a status may go there.

        Never to where the engine's answers to this agent come: there it would be one of them.
        """
        return topic != self.response_topic and is_below(self._reply_prefix, topic)

    def publication(
        self, token: int, rule: Rule, leased: Leased, correlation: str, attempt: int, left_s: float, qos: int
    ) -> Publication:
        """The trigger, rendered from the rule's present text.

        Raises:
            MessageError: it cannot be rendered from this event, now or later.
        """
        record, response_topic = leased.record, self.response_topic
        return Publication(
            token,
            self.route.topic,
            render(rule, record, correlation, attempt, response_topic),
            qos,
            False,  # not retained; all by place, because a call with names takes longer
            _JSON,
            correlation.encode(),
            response_topic,
            int(left_s) or 1,
            (
                ("agent", record.agent),
                ("rule", rule.name),
                ("source", record.source),
                ("traceparent", traceparent(record, correlation)),
            ),
        )


def age_s(leased: Leased, boot: bytes, moment: Moment) -> float:
    """How long ago the event was accepted, at least: the time switched off counts where both clocks were right."""
    record = leased.record
    if leased.boot == boot:  # nearly always, and then one clock says all that `elapsed` would
        age_ms = moment.uptime_ms - record.uptime_ms
        return age_ms / 1000 if age_ms > 0 else 0.0
    accepted = Instant(record.accepted_ms, record.uptime_ms, leased.boot)
    return elapsed(accepted, Instant(moment.now_ms, moment.uptime_ms, boot)).s


class ConnectionTold:
    """Tells the operator of a connection's ups and downs, once each, not at every attempt."""

    def __init__(self, name: str, addresses: Sequence[str], consequence: str) -> None:
        """`consequence`: what a lost connection means, in a few words."""
        self._connected = False
        self._error = ""
        self._name = name
        self._address = ", ".join(addresses)
        self._consequence = consequence

    def up(self) -> None:
        """It is there."""
        self._connected, self._error = True, ""
        _log.info("%s: connected to %s", self._name, self._address, extra={"event": "link_up", "link": self._name})

    def down(self, error: UplinkError) -> None:
        """It ended, or an attempt failed."""
        told = str(error) == self._error
        self._connected, self._error = False, str(error)
        if told:
            return
        _log.log(
            logging.ERROR if isinstance(error, Denied) else logging.WARNING,
            "%s: %s; %s",
            self._name,
            error,
            self._consequence,
            extra={"event": "link_down", "link": self._name},
        )

    def stats(self) -> dict[str, Any]:
        """Whether it is there, and what was wrong last, ready for JSON."""
        return {"address": self._address, "connected": self._connected, "error": self._error}


def uplink_subscriptions(uplink: Uplink, agent: str) -> list[Subscription]:
    """What the uplink brings. Without answers nothing is published that waits for them; statuses can be missed."""
    statuses = [Subscription(with_agent(topic, agent), required=False) for topic in uplink.status_topics]
    if uplink.settle == "broker":
        return statuses
    return [Subscription(with_agent(uplink.response_topic, agent)), *statuses]
