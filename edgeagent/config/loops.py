"""Topics of our own among those of devices: where they meet on one broker, each trigger makes the next event."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from edgeagent.config.addresses import split_broker_url
from edgeagent.config.tables import AgentConfig, Connection, Uplink
from edgeagent.errors import Problem
from edgeagent.ports.event_topics import EventSubscription
from edgeagent.wire import topics

_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "0.0.0.0", "::"})  # noqa: S104  nothing listens here
_ANY_AGENT = "+"


def own_topic_problems(config: AgentConfig) -> Iterator[Problem]:
    """Subscriptions for devices' events that our own messages would come in by: both brokers are one."""
    if config.local is None or not is_one_broker(config.uplink, config.local):
        return
    for path, key, topic in _overlaps(config.uplink, config.local.subscribe):
        reason = f"{key} ({topic}) is among its topics, on the same broker: each trigger would become an event"
        yield Problem(path, reason)


def topic_warnings(config: AgentConfig) -> Iterator[Problem]:
    """What is right in the subscriptions for devices' events, and may still not be what was meant."""
    if config.local is None:
        return
    if not is_one_broker(config.uplink, config.local):
        for path, key, topic in _overlaps(config.uplink, config.local.subscribe):
            yield Problem(path, f"messages on {topic} are never events: it is {key}")
    for index, subscription in enumerate(config.local.subscribe):
        path = f"local.subscribe[{index}]"
        if topics.is_reserved(subscription.topic):
            yield Problem(f"{path}.topic", "brings no events: edgeagent/# and argo/workflows/# are reserved")
        elif left_out := _levels_left_out(subscription):
            text = (
                f"leaves out level {left_out}: devices that differ only there share their ids, and one can use up the"
            )
            yield Problem(f"{path}.source", f"{text} other's")


def is_one_broker(one: Connection, other: Connection) -> bool:
    """Whether two connections have an address in common, however it is spelled. No name is resolved."""
    return not _places(one).isdisjoint(_places(other))


def _places(connection: Connection) -> set[tuple[str, int]]:
    places = set()
    for address in connection.addresses:
        try:
            _, host, port = split_broker_url(address)
        except ValueError:  # told elsewhere
            continue
        places.add((_place(host), port))
    return places


def _place(host: str) -> str:
    """A host in one spelling: this machine has several. Not all of 127.0.0.0/8 is one: each may have its own broker."""
    host = host.lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost") or host.startswith("localhost."):
        return "localhost"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    mapped = getattr(address, "ipv4_mapped", None) or address
    return "localhost" if str(mapped) in _THIS_MACHINE else str(mapped)


def _overlaps(uplink: Uplink, subscriptions: list[EventSubscription]) -> Iterator[tuple[str, str, str]]:
    """Path of the subscription, key and topic of ours, for each topic of ours that is not reserved anyway."""
    own = [("uplink.trigger_topic", uplink.trigger_topic), ("uplink.response_topic", uplink.response_topic)]
    own += [(f"uplink.status_topics[{index}]", topic) for index, topic in enumerate(uplink.status_topics)]
    own.append(("uplink.reply_prefix", topics.below(uplink.reply_prefix)))
    for key, topic in own:
        if topics.is_reserved(topic):
            continue
        everybodys = "/".join(_ANY_AGENT if "{agent}" in level else level for level in topic.split("/"))
        for index, subscription in enumerate(subscriptions):
            if topics.overlap(everybodys, subscription.topic):
                yield f"local.subscribe[{index}].topic", key, topic


def _levels_left_out(subscription: EventSubscription) -> str:
    """Which `+` of the topic the source does not tell apart, in words; "" when none is."""
    source = subscription.source
    if source is None:
        return ""
    levels = enumerate(subscription.topic.split("/"))
    left_out = [str(number) for number, level in levels if level == "+" and f"{{{number}}}" not in source]
    return " and ".join(left_out)
