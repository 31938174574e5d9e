"""Our own topics among those subscribed to for devices: on one broker, each trigger would become another event."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from edgeagent.config.addresses import split_broker_url
from edgeagent.config.tables import AgentConfig, Connection, Uplink
from edgeagent.errors import Problem
from edgeagent.ports.event_topics import EventSubscription
from edgeagent.wire import topics

_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "0.0.0.0", "::"})  # noqa: S104  nothing listens here
_ANY_AGENT = "+"
_LEVEL = re.compile(r"\{(\d+)\}")  # in a source


def own_topic_problems(config: AgentConfig) -> Iterator[Problem]:
    """Subscriptions for devices' events that would receive our own messages, because both brokers are the same."""
    if config.local is None or not is_one_broker(config.uplink, config.local):
        return
    for path, key, topic in _overlaps("local", config.uplink, config.local.subscribe):
        reason = f"{key} ({topic}) is among its topics, on the same broker: each trigger would become an event"
        yield Problem(path, reason)


def topic_warnings(config: AgentConfig) -> Iterator[Problem]:
    """Subscriptions for devices' events that are valid, but perhaps not what was intended."""
    if config.local is not None:
        if not is_one_broker(config.uplink, config.local):
            yield from _own_topic_warnings("local", config.uplink, config.local.subscribe)
        yield from _subscription_warnings("local", config.local.subscribe)
    if config.mqtt is not None:
        yield from _own_topic_warnings("mqtt", config.uplink, config.mqtt.subscribe)
        yield from _subscription_warnings("mqtt", config.mqtt.subscribe)


def _own_topic_warnings(table: str, uplink: Uplink, subscriptions: list[EventSubscription]) -> Iterator[Problem]:
    for path, key, topic in _overlaps(table, uplink, subscriptions):
        yield Problem(path, f"messages on {topic} are never events: it is {key}")


def _subscription_warnings(table: str, subscriptions: list[EventSubscription]) -> Iterator[Problem]:
    for index, subscription in enumerate(subscriptions):
        path = f"{table}.subscribe[{index}]"
        if topics.is_reserved(subscription.topic):
            yield Problem(f"{path}.topic", "brings no events: edgeagent/# and argo/workflows/# are reserved")
        elif missing := _level_that_is_missing(subscription):
            yield Problem(f"{path}.source", f"{missing}: its messages are acknowledged, and are no events")
        elif left_out := _levels_left_out(subscription):
            text = (
                f"leaves out level {left_out}: devices that differ only there share their ids, and one can use up the"
            )
            yield Problem(f"{path}.source", f"{text} other's")


def is_one_broker(one: Connection, other: Connection) -> bool:
    """Whether two connections share an address, however it is written. No name is resolved."""
    return not _endpoints(one).isdisjoint(_endpoints(other))


def listens_on(connection: Connection, host: str, port: int) -> bool:
    """Whether a connection leads to a listener on this host and port of this machine. No name is resolved."""
    return port != 0 and (_normalized(host), port) in _endpoints(connection)


def _endpoints(connection: Connection) -> set[tuple[str, int]]:
    endpoints = set()
    for address in connection.addresses:
        try:
            _, host, port = split_broker_url(address)
        except ValueError:  # reported by `checks`
            continue
        endpoints.add((_normalized(host), port))
    return endpoints


def _normalized(host: str) -> str:
    """A host in one spelling: this machine has several. Other 127.0.0.0/8 addresses may have brokers of their own."""
    host = host.lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost") or host.startswith("localhost."):
        return "localhost"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    mapped = getattr(address, "ipv4_mapped", None) or address
    return "localhost" if str(mapped) in _THIS_MACHINE else str(mapped)


def _overlaps(table: str, uplink: Uplink, subscriptions: list[EventSubscription]) -> Iterator[tuple[str, str, str]]:
    """The subscription's path, and the key and topic of ours, for each of our topics that is not reserved anyway."""
    own = [("uplink.trigger_topic", uplink.trigger_topic), ("uplink.response_topic", uplink.response_topic)]
    own += [(f"uplink.status_topics[{index}]", topic) for index, topic in enumerate(uplink.status_topics)]
    own.append(("uplink.reply_prefix", topics.below(uplink.reply_prefix)))
    for key, topic in own:
        if topics.is_reserved(topic):
            continue
        everybodys = "/".join(_ANY_AGENT if "{agent}" in level else level for level in topic.split("/"))
        for index, subscription in enumerate(subscriptions):
            if topics.overlap(everybodys, subscription.topic):
                yield f"{table}.subscribe[{index}].topic", key, topic


def _level_that_is_missing(subscription: EventSubscription) -> str:
    """Which level the source names that no topic of the subscription has, in words; "" if there is none."""
    levels = subscription.topic.split("/")
    if levels[-1] == "#":
        return ""  # there may be any number
    named = _LEVEL.findall(subscription.source or "")
    beyond = next((number for number in named if int(number) >= len(levels)), None)
    return "" if beyond is None else f"names level {beyond}, and the topic's last is {len(levels) - 1}"


def _levels_left_out(subscription: EventSubscription) -> str:
    """The levels with a `+` in the topic that the source does not include, in words; "" if there are none."""
    source = subscription.source
    if source is None:
        return ""
    levels = enumerate(subscription.topic.split("/"))
    left_out = [str(number) for number, level in levels if level == "+" and f"{{{number}}}" not in source]
    return " and ".join(left_out)
