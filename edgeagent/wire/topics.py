"""Every topic that edgeagent builds, parses or compares, in one place (contract sections 3, 5, 6, 7, 13)."""

from __future__ import annotations

from collections.abc import Sequence

TRIGGER = "argo/workflows/trigger"
AGENTS_TRIGGER = f"{TRIGGER}/{{agent}}"  # on which a broker's access list can bind an agent to its name
# What an agent's operator should know about the base topic.
ON_THE_BASE_TOPIC = (
    "a dispatcher with bind_agent = true (the default) has the agent publish on its own topic instead; with "
    f'trigger_topic = "{AGENTS_TRIGGER}" it does so from the start, and a broker\'s access list can bind each gateway '
    "to its name"
)
RESPONSE = "argo/workflows/response"
STATUS = "argo/workflows/status"
STATUS_QUERY = "argo/workflows/status/query"
MANAGE = "argo/workflows/manage"

# Where the agent's own listener takes events, unless it is configured; the source is the level that `+` stands for.
EVENTS = "events/+"

# What `engine.bind_agent = false` means, in the words of a warning.
UNBOUND_AGENTS = (
    "whoever may publish a trigger can name any gateway in it, start what that gateway may start, and have the answers "
    "and statuses sent to it, which believes them"
)

_DISPATCH = "edgeagent/dispatch"
_STATE = "edgeagent/state/"
STATES = f"{_STATE}+"  # the filter for the states of all gateways

# These are never events, whatever a subscription matches: our own reports would come back as events.
_RESERVED_PREFIXES = ("edgeagent/", "argo/workflows/")
_RESERVED_TOPICS = frozenset({"edgeagent", "argo/workflows"})  # `edgeagent/#` includes its parent

_MAX_TOPIC_BYTES = 65535
# The limits of a topic from a message: some brokers accept no more, and many drop a client over too many levels.
_MAX_FOREIGN_TOPIC_BYTES = 256


def with_agent(text: str, agent: str) -> str:
    """Replace `{agent}` in a configured topic or client id."""
    return text.replace("{agent}", agent)


def response_topic(agent: str | None) -> str:
    """The topic of an agent's responses: always below the base topic, whatever a message asks for."""
    return f"{RESPONSE}/{agent}" if agent else RESPONSE


def level_below_responses(topic: str) -> str | None:
    """The last level of a topic directly below the base topic of responses, None for every other topic."""
    level = topic.removeprefix(f"{RESPONSE}/")
    return level if level != topic and "/" not in level else None


def status_topics(agent: str | None) -> tuple[str, ...]:
    """The topics of a status update: the base topic for monitoring, and the gateway's own."""
    return (STATUS, f"{STATUS}/{agent}") if agent else (STATUS,)


def state_topic(agent: str) -> str:
    """The topic on which a gateway publishes its state, online or, perhaps by its last will, offline (retained)."""
    return f"{_STATE}{agent}"


def report_of_days_topic(agent: str) -> str:
    """The topic on which a gateway publishes once a day what happened the day before (retained)."""
    return f"edgeagent/report/{agent}"


def agent_of_state(topic: str) -> str | None:
    """The agent in the topic of a state, None for every other topic."""
    agent = topic.removeprefix(_STATE)
    return agent if agent and agent != topic and "/" not in agent else None


def trigger_filters(group: str) -> tuple[str, ...]:
    """The subscriptions of dispatchers: shared ones, so that each trigger reaches one of them."""
    return (f"$share/{group}/{TRIGGER}", f"$share/{group}/{TRIGGER}/+")


def agent_of_trigger(topic: str) -> str | None:
    """The agent in a trigger topic's last level, None for the base topic."""
    return topic[len(TRIGGER) + 1 :] if topic.startswith(f"{TRIGGER}/") else None


def manage_filters(group: str) -> tuple[str, ...]:
    """The subscriptions of dispatchers to requests about workflows, shared as those to triggers are."""
    return (f"$share/{group}/{MANAGE}", f"$share/{group}/{MANAGE}/+")


def manage_topic(agent: str) -> str:
    """The topic of an agent's requests about workflows, on which a broker's access list can bind it to its name."""
    return f"{MANAGE}/{agent}"


def is_manage(topic: str) -> bool:
    """Whether a message on this topic is a request about a workflow."""
    return topic == MANAGE or topic.startswith(f"{MANAGE}/")


def agent_of_manage(topic: str) -> str | None:
    """The agent in the last level of a topic of requests about workflows, None for the base topic."""
    return topic[len(MANAGE) + 1 :] if topic.startswith(f"{MANAGE}/") else None


def is_unbound(trigger_topic: str) -> bool:
    """Whether a configured trigger topic is below the dispatchers', but does not belong to its agent alone."""
    return trigger_topic != AGENTS_TRIGGER and trigger_topic.startswith(f"{TRIGGER}/")


def presence_topic(group: str, instance: str) -> str:
    """The topic on which a dispatcher publishes its presence (retained; cleared by its last will)."""
    return f"{_DISPATCH}/{group}/{instance}"


def presence_filter(group: str) -> str:
    """The filter for the presence of every dispatcher of a group."""
    return f"{_DISPATCH}/{group}/+"


def instance_of_presence(group: str, topic: str) -> str | None:
    """The instance in a presence topic of this group, None for every other topic."""
    instance = topic.removeprefix(f"{_DISPATCH}/{group}/")
    return instance if instance and instance != topic and "/" not in instance else None


def cursor_topic(group: str, namespace: str) -> str:
    """The topic on which a group keeps up to where a namespace's final statuses are published (retained).

    It has one level more than a presence topic, so that it cannot be taken for that of an instance.
    """
    return f"{_DISPATCH}/{group}/cursor/{namespace}"


def cursor_filter(group: str) -> str:
    """The filter for the cursors of every namespace."""
    return f"{_DISPATCH}/{group}/cursor/+"


def namespace_of_cursor(group: str, topic: str) -> str | None:
    """The namespace in a cursor topic of this group, None for every other topic."""
    namespace = topic.removeprefix(f"{_DISPATCH}/{group}/cursor/")
    return namespace if namespace and namespace != topic and "/" not in namespace else None


def own_topics(agent: str, trigger: str, response: str, reply_prefix: str, statuses: Sequence[str]) -> tuple[str, ...]:
    """The topics that an agent publishes on and listens to, as configured, except reserved ones."""
    own = [with_agent(topic, agent) for topic in (trigger, response, below(reply_prefix), *statuses)]
    return tuple(topic for topic in own if not is_reserved(topic))


def below(base: str) -> str:
    """The filter for everything below a topic."""
    return f"{base}/#"


def is_reserved(topic: str) -> bool:
    """Whether a local message on this topic can never be an event."""
    return topic.startswith(_RESERVED_PREFIXES) or topic in _RESERVED_TOPICS


def report_topic(template: str, source: str) -> str:
    """The topic of reports about a source's triggers (`relay.topic`, with `{source}` replaced)."""
    return template.replace("{source}", source)


def topic_problem(topic: str) -> str | None:
    """Why this text is not a topic to publish on, None if it is one."""
    if not topic or len(topic.encode()) > _MAX_TOPIC_BYTES:
        return "must have 1 to 65535 bytes"
    if any(sign in topic for sign in "#+\0"):
        return "must not contain '#', '+' or NUL"
    return None


def is_below(base: str, topic: str) -> bool:
    """Whether a topic from a message is below `base`, and acceptable to every broker."""
    if not topic.startswith(f"{base}/") or len(topic.encode()) > _MAX_FOREIGN_TOPIC_BYTES:
        return False
    # Brokers drop a client that publishes with control characters or wildcards in the topic.
    return topic_problem(topic) is None and topic.isprintable() and all(topic[len(base) + 1 :].split("/"))


def filter_problem(topic_filter: str) -> str | None:
    """Why this text is not a topic filter, None if it is one (MQTT 5, section 4.7)."""
    if not topic_filter or len(topic_filter.encode()) > _MAX_TOPIC_BYTES or "\0" in topic_filter:
        return "must have 1 to 65535 bytes and no NUL"
    levels = topic_filter.split("/")
    if any("#" in level and level != "#" for level in levels) or "#" in levels[:-1]:
        return "'#' must be the whole last level"
    if any("+" in level and level != "+" for level in levels):
        return "'+' must be a whole level"
    return None


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a topic matches a filter; `#` and `+` at the start do not match topics that begin with `$`."""
    if topic.startswith("$") and topic_filter[:1] in {"#", "+"}:
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for position, level in enumerate(wanted):
        if level == "#":
            return True
        if position >= len(levels) or level not in {"+", levels[position]}:
            return False
    return len(wanted) == len(levels)


def overlap(one: str, other: str) -> bool:
    """Whether some topic matches both filters: such a message would be delivered twice."""
    if (one[:1] in {"#", "+"} and other.startswith("$")) or (other[:1] in {"#", "+"} and one.startswith("$")):
        return False  # as in `matches`
    first, second = one.split("/"), other.split("/")
    for position in range(max(len(first), len(second))):
        left = first[position] if position < len(first) else None
        right = second[position] if position < len(second) else None
        if "#" in (left, right):
            return True
        if left is None or right is None:
            return False
        if "+" not in {left, right} and left != right:
            return False
    return True


def covers(wide: str, narrow: str) -> bool:
    """Whether every topic that fits the filter `narrow` fits `wide` too. A topic is a filter for itself."""
    if narrow.startswith("$") and wide[:1] in {"#", "+"}:
        return False  # as in `matches`
    outer, inner = wide.split("/"), narrow.split("/")
    if inner in (["#"], ["", "#"]):  # no topic is empty, so that `+/#` and `/+/#` are as wide
        inner.insert(-1, "+")
    for position, level in enumerate(outer):
        if level == "#":
            return True
        if position >= len(inner) or inner[position] == "#" or level not in {"+", inner[position]}:
            return False
    return len(outer) == len(inner)


def source_from_topic(template: str | None, topic: str) -> str:
    """The source for a topic: the whole topic, or the template with `{1}` replaced by level 1 (from 0).

    Raises:
        IndexError: the template names a level that this topic does not have.
    """
    if template is None:
        return topic
    levels = topic.split("/")
    parts = template.split("{")
    result = parts[0]
    for part in parts[1:]:
        number, brace, rest = part.partition("}")
        result += levels[int(number)] + rest if brace and number.isdecimal() else "{" + part
    return result
