"""What clients subscribe to: a trie of topic filters, in which a topic finds its receivers level by level.

A client gets a message once, however many of its subscriptions it matches: at the highest QoS of them, with the
identifiers of all (MQTT 5, 3.3.4). `#` and `+` at the start of a filter do not match topics that begin with `$`
(4.7.2).

What a filter costs is its levels, and a level more for each 64 bytes: so much a client may have, and all together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from edgeagent.listener.packets import TopicSubscription

# The cost of all filters of a client, and of all clients: some 15 MB of memory at the worst.
MAX_COST_OF_ONE: Final = 5_000
MAX_COST: Final = 30_000
_COST_BYTES = 64
# Topics whose receivers are remembered until somebody subscribes or unsubscribes.
_MAX_KNOWN_TOPICS = 1_024
_MAX_KNOWN_CHARS = 256
_MAX_KNOWN_RECEIVERS = 16


class Grant(msgspec.Struct, frozen=True):
    """A subscription as it was granted. `identifier`: the client's own number for it, 0 without one."""

    qos: int
    no_local: bool = False
    retain_as_published: bool = False
    identifier: int = 0


class Receiver(msgspec.Struct, frozen=True):
    """A client that gets a message, by one or several of its subscriptions.

    `grants`: all of them, if the client does not get its own messages by each.
    """

    client_id: str
    qos: int
    retain_as_published: bool
    identifiers: tuple[int, ...]
    grants: Sequence[Grant] = ()

    def of_own(self) -> Receiver | None:
        """How the client gets a message that it published itself; None: not at all."""
        if not self.grants:
            return self
        echoed = [grant for grant in self.grants if not grant.no_local]
        return _receiver(self.client_id, echoed) if echoed else None


class _Node:
    """A level of filters."""

    __slots__ = ("children", "grants")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.grants: dict[str, Grant] | None = None  # by client; None where no filter ends


class Subscriptions:
    """Owns the subscriptions of all clients, and what each client's filters cost.

    Promises that a client is found once for a topic, however many of its filters match, and that a filter which nobody
    has any more takes no memory. `add` refuses nothing: it must never be called for a filter for which `has_room` does
    not hold.

    Attributes:
        count: how many subscriptions there are.
    """

    def __init__(self, max_cost_of_one: int = MAX_COST_OF_ONE, max_cost: int = MAX_COST) -> None:
        """Nobody subscribes to anything."""
        self.count = 0
        self._root = _Node()
        self._of_client: dict[str, dict[str, Grant]] = {}
        self._cost_of_client: dict[str, int] = {}
        self._cost = 0
        self._max_cost_of_one = max_cost_of_one
        self._max_cost = max_cost
        self._known: dict[str, Sequence[Receiver]] = {}

    def has_room(self, client_id: str, topic_filter: str) -> bool:
        """Whether a client may have this filter too."""
        if topic_filter in self._of_client.get(client_id, ()):
            return True
        cost = _cost(topic_filter)
        return (
            self._cost_of_client.get(client_id, 0) + cost <= self._max_cost_of_one
            and self._cost + cost <= self._max_cost
        )

    def add(self, client_id: str, subscription: TopicSubscription, identifier: int = 0) -> bool:
        """Subscribe, in place of the same filter's subscription before. Returns whether it is a new one."""
        topic_filter = subscription.topic_filter
        grant = Grant(subscription.qos, subscription.no_local, subscription.retain_as_published, identifier)
        node = self._root
        for level in topic_filter.split("/"):
            node = node.children.setdefault(level, _Node())
        if node.grants is None:
            node.grants = {}
        is_new = client_id not in node.grants
        node.grants[client_id] = self._of_client.setdefault(client_id, {})[topic_filter] = grant
        if is_new:
            cost = _cost(topic_filter)
            self._cost += cost
            self._cost_of_client[client_id] = self._cost_of_client.get(client_id, 0) + cost
            self.count += 1
        self._known.clear()
        return is_new

    def remove(self, client_id: str, topic_filter: str) -> bool:
        """Unsubscribe. Returns whether there was something to end."""
        filters = self._of_client.get(client_id, {})
        if filters.pop(topic_filter, None) is None:
            return False
        levels = topic_filter.split("/")
        path = [self._root]
        for level in levels:
            path.append(path[-1].children[level])
        grants = path[-1].grants
        assert grants is not None  # noqa: S101  the two sides are changed together
        del grants[client_id]
        if not grants:
            path[-1].grants = None
        for parent, level, node in zip(path[-2::-1], levels[::-1], path[:0:-1], strict=True):
            if node.children or node.grants is not None:
                break
            del parent.children[level]
        cost = _cost(topic_filter)
        self._cost -= cost
        self._cost_of_client[client_id] -= cost
        if not filters:
            del self._of_client[client_id], self._cost_of_client[client_id]
        self.count -= 1
        self._known.clear()
        return True

    def remove_all(self, client_id: str) -> None:
        """End all subscriptions of a client."""
        for topic_filter in list(self._of_client.get(client_id, ())):
            self.remove(client_id, topic_filter)

    def of(self, client_id: str) -> Mapping[str, Grant]:
        """A client's subscriptions, by their filters."""
        return self._of_client.get(client_id, {})

    def receivers(self, topic: str) -> Sequence[Receiver]:
        """The clients that get a message on this topic, each once."""
        found = self._known.get(topic)
        if found is None:
            found = self._merged(topic)
            if len(topic) <= _MAX_KNOWN_CHARS and len(found) <= _MAX_KNOWN_RECEIVERS:
                if len(self._known) >= _MAX_KNOWN_TOPICS:
                    self._known.clear()
                self._known[topic] = found
        return found

    def _merged(self, topic: str) -> Sequence[Receiver]:
        by_client: dict[str, list[Grant]] = {}
        for grants in self._matching(topic):
            for client_id, grant in grants.items():
                by_client.setdefault(client_id, []).append(grant)
        return [_receiver(client_id, grants) for client_id, grants in by_client.items()]

    def _matching(self, topic: str) -> Iterator[dict[str, Grant]]:
        """The grants at each filter that matches. Without recursion: a topic may have 32,768 levels."""
        here, is_wild = [self._root], not topic.startswith("$")
        for level in topic.split("/"):
            below: list[_Node] = []
            for node in here:
                if is_wild:
                    yield from _rest(node)
                    if (found := node.children.get("+")) is not None:
                        below.append(found)
                if (found := node.children.get(level)) is not None:  # a topic has no wildcards, so it is another one
                    below.append(found)
            if not below:
                return
            here, is_wild = below, True
        for node in here:
            if node.grants is not None:
                yield node.grants
            yield from _rest(node)  # `a/#` has `a` in it


def _rest(node: _Node) -> Iterator[dict[str, Grant]]:
    """What ends with `#` below a node."""
    found = node.children.get("#")
    if found is not None and found.grants is not None:
        yield found.grants


def _receiver(client_id: str, grants: Sequence[Grant]) -> Receiver:
    return Receiver(
        client_id,
        max(grant.qos for grant in grants),
        any(grant.retain_as_published for grant in grants),
        tuple(sorted({grant.identifier for grant in grants if grant.identifier})),
        grants if any(grant.no_local for grant in grants) else (),
    )


def _cost(topic_filter: str) -> int:
    return topic_filter.count("/") + 1 + len(topic_filter.encode()) // _COST_BYTES
