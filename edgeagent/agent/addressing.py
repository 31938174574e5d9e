"""Where messages of the uplink go: a trigger as a publication, what is subscribed to, and where answers may go."""

from __future__ import annotations

from edgeagent.agent.route import Route
from edgeagent.config.tables import Uplink
from edgeagent.outbox.records import Leased
from edgeagent.ports.link import Publication, Subscription
from edgeagent.rules.ruleset import Rule
from edgeagent.rules.trigger import render, traceparent
from edgeagent.wire.topics import RESPONSE, is_below, status_topics, with_agent

_JSON = "application/json"


class Addressing:
    """Where this agent's triggers go, where their answers come, and where it may answer itself.

    Owns the agent's topics as they are configured; where triggers go now is `route`'s. Must never publish.
    """

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


def uplink_subscriptions(uplink: Uplink, agent: str) -> list[Subscription]:
    """What the uplink brings. Without answers nothing is published that waits for them; statuses can be missed."""
    statuses = [Subscription(with_agent(topic, agent), required=False) for topic in uplink.status_topics]
    if uplink.settle == "broker":
        return statuses
    return [Subscription(with_agent(uplink.response_topic, agent)), *statuses]
