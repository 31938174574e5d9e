"""What a link to Pub/Sub does. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edgeagent.ports.link import Subscription
from edgeagent.wire import topics

_SHARED = "$share/"


class PubSubTerms(NamedTuple):
    """What a link does.

    `address`: the configured URL. `publish_to`: the path of the topic. `subscription`: the path of the subscription to
    pull from; "" for none. `default_topic`: the topic of a message without that attribute. `subscriptions`: the topics
    that are wanted of those that come.
    """

    address: str
    publish_to: str
    subscription: str
    default_topic: str
    subscriptions: Sequence[Subscription]

    def wants(self, topic: str) -> int | None:
        """The QoS at which this topic is subscribed to; None if it is not."""
        return next(
            (entry.qos for entry in self.subscriptions if topics.matches(_plain(entry.topic_filter), topic)), None
        )


def _plain(topic_filter: str) -> str:
    """A subscription's filter without its group: members of a group pull from one subscription."""
    return topic_filter.split("/", 2)[2] if topic_filter.startswith(_SHARED) else topic_filter
