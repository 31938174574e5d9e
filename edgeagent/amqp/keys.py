"""Topics as routing keys, the way RabbitMQ's MQTT plugin has them, so that both ends meet on one exchange. Pure."""

from __future__ import annotations

# The plugin's exchange. It is always there, and never declared.
EXCHANGE = "amq.topic"
SHARED = "$share/"


def has_key(topic: str) -> bool:
    """Whether a topic, or a topic filter, survives the way there and back: a dot would become a level of its own."""
    return "." not in topic


def routing_key(topic: str) -> str:
    """`argo/workflows/trigger` as `argo.workflows.trigger`."""
    return topic.replace("/", ".")


def topic_of(key: str) -> str:
    """The topic that a routing key stands for."""
    return key.replace(".", "/")


def binding_key(topic_filter: str) -> str:
    """A topic filter as a binding key of a topic exchange."""
    return routing_key(topic_filter).replace("+", "*")


def shared_by(topic_filter: str) -> tuple[str, str]:
    """The group of a shared subscription and the filter in it; ("", the filter) for any other."""
    if not topic_filter.startswith(SHARED):
        return "", topic_filter
    group, _, rest = topic_filter.removeprefix(SHARED).partition("/")
    return group, rest
