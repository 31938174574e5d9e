"""How the uplink is addressed: topics for triggers, subscriptions and replies, and when the first attempt is made."""

from __future__ import annotations

from functools import lru_cache

from edgeagent.agent.route import Route
from edgeagent.agent.traces import UNSAMPLED, Traces
from edgeagent.common.backoff import boot_spread
from edgeagent.config.addresses import is_loopback, split_broker_url
from edgeagent.config.tables import Uplink
from edgeagent.outbox.records import Leased
from edgeagent.ports.link import Publication, Subscription
from edgeagent.rules.ruleset import Rule
from edgeagent.rules.trigger import render
from edgeagent.wire.topics import RESPONSE, is_below, status_topics, with_agent

_JSON = "application/json"


class Addressing:
    """The topics on which this agent publishes triggers, expects responses, and may reply.

    Owns the agent's topics as they are configured; `route` owns the topic that triggers go to now. Must never publish.
    """

    def __init__(
        self,
        agent: str,
        trigger_topic: str,
        response_topic: str,
        reply_prefix: str = RESPONSE,
        traces: Traces = UNSAMPLED,
    ) -> None:
        """The topics are the configured ones; `{agent}` in them is replaced. `traces`: what goes beside triggers."""
        self.agent = agent
        self.route = Route(trigger_topic, agent)
        self.response_topic = with_agent(response_topic, agent)
        self.status_topic = status_topics(agent)[-1]  # only this agent's: on it even malformed updates get a reply

        self._trace = traces.sent
        self._reply_prefix = with_agent(reply_prefix, agent)

    def may_reply_on(self, topic: str) -> bool:
        """Whether a reply to a status may be published on this topic.

        False for the topics on which the engine answers this agent: there a reply would look like one of those answers.
        """
        return topic != self.response_topic and is_below(self._reply_prefix, topic)

    def publication(
        self,
        token: int,
        rule: Rule,
        leased: Leased,
        correlation: str,
        attempt: int,
        left_s: float,
        age_s: float,
        qos: int,
    ) -> Publication:
        """The publication of a trigger, rendered from the current text of its rule.

        `left_s`: for how long the broker may keep it; `age_s`: how long ago the event was accepted.

        Raises:
            MessageError: the trigger cannot be rendered from this event, and never will be.
        """
        record, response_topic = leased.record, self.response_topic
        return Publication(
            token=token,
            topic=self.route.topic,
            payload=render(rule, record, correlation, attempt, response_topic, age_s),
            qos=qos,
            retain=False,
            content_type=_JSON,
            correlation_data=correlation.encode(),
            response_topic=response_topic,
            expiry_s=int(left_s) or 1,
            user_properties=_properties(record.agent, rule.name, record.source),
            traceparent=self._trace(record, correlation),
            attempt=attempt,
            ordering_key=record.source if rule.strict else "",
        )


@lru_cache(maxsize=1024)  # a rule and source come again and again
def _properties(agent: str, rule: str, source: str) -> tuple[tuple[str, str], ...]:
    """The user properties of a trigger, without its trace context."""
    return ("agent", agent), ("rule", rule), ("source", source)


def uplink_subscriptions(uplink: Uplink, agent: str) -> list[Subscription]:
    """The subscriptions of the uplink. If `settle` waits for responses, nothing is published until they are granted.

    The subscription to statuses is optional: an agent without it only misses them.
    """
    statuses = [Subscription(with_agent(topic, agent), required=False) for topic in uplink.status_topics]
    if uplink.settle == "broker":
        return statuses
    return [Subscription(with_agent(uplink.response_topic, agent)), *statuses]


def first_wait_s(uplink: Uplink, agent: str, uptime_s: float) -> float:
    """How long to delay the uplink's first attempt to connect; 0 if the broker runs on this machine."""
    if all(is_loopback(split_broker_url(address)[1]) for address in uplink.addresses):
        return 0.0
    return boot_spread(agent, uptime_s)
