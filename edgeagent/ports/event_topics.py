"""From a device's message to an event: which topics carry events, and how a message on one becomes an event. Pure.

It is used for messages from the local broker, and for those that devices publish to the agent itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from edgeagent.errors import MessageError
from edgeagent.events.artifact import OCTETS
from edgeagent.events.event import Draft, body
from edgeagent.events.formats import SPECVERSION, cloudevent
from edgeagent.events.payload import Form, read
from edgeagent.lang.gjson.path import MISSING, Path, compile_path, lookup, text_of
from edgeagent.wire.topics import is_reserved, matches, source_from_topic

# How many topics' routes are cached; a device that invents ever new topics costs time, but not memory.
_MAX_ROUTES = 4096
# What a large payload of a subscription is called, whose form nothing checks.
_CONTENT_TYPES: Final[dict[Form, str]] = {"json": "application/json", "text": "text/plain"}
_CLOUDEVENT_FORMS = frozenset({"auto", "json"})


class EventSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """`[[local.subscribe]]`: which messages are events, and how they become events (contract section 8).

    `source`: None for the whole topic, or a text with `{1}` for level 1 of the topic. `id`: the path of the event's id
    in its data, such as `body.seq`; empty for none.
    """

    topic: str
    source: str | None = None
    type: str = "event"
    id: str = ""
    data: Form = "auto"
    nan: Literal["refuse", "null"] = "refuse"


class EventRoute(msgspec.Struct, frozen=True):
    """How the messages on one topic become events.

    `id_path`: the path of the event's id in the data, None if it has none. `is_own`: the agent itself publishes on this
    topic or subscribes to it, so that no message on it is an event, and there is no source. `inline_bytes`: a larger
    payload is data as it is, which nothing here looks into; None: there is no such limit.
    """

    subscription: EventSubscription
    id_path: Path | None
    source: str = ""
    is_own: bool = False
    inline_bytes: int | None = None

    def draft(self, topic: str, payload: bytes) -> Draft:
        """The event in a message.

        Raises:
            MessageError: the message cannot be an event.
        """
        subscription = self.subscription
        if self.inline_bytes is not None and len(payload) > self.inline_bytes:
            return _large(self, topic, payload)
        draft = None
        if SPECVERSION in payload and subscription.data in _CLOUDEVENT_FORMS:
            draft = cloudevent(payload, self.source)
        if draft is None:
            found = read(payload, subscription.data, nan_is_null=subscription.nan == "null")
            # By position: names take twice as long (`benchmarks path`, CPU an event).
            draft = Draft(self.source, found.data, found.is_json, found.value, "", subscription.type)
        draft.topic = topic
        if self.id_path is not None:
            draft.id = _id(draft, self.id_path)
        return draft


class EventTopics:
    """Owns the routes of topics that carry events, by configured subscriptions; the first that matches counts."""

    def __init__(
        self,
        subscriptions: Sequence[EventSubscription],
        own_topics: Sequence[str] = (),
        inline_bytes: int | None = None,
    ) -> None:
        """`own_topics`: filters of the topics that the agent itself publishes on or subscribes to, as configured.

        `inline_bytes`: as in `EventRoute`.
        """
        self._inline_bytes = inline_bytes
        self._subscriptions = [
            (subscription, compile_path(subscription.id) if subscription.id else None) for subscription in subscriptions
        ]
        self._own_topics = own_topics
        self._routes: dict[str, EventRoute] = {}

    @property
    def filters(self) -> list[str]:
        """The filters of the topics that carry events."""
        return [subscription.topic for subscription, _ in self._subscriptions]

    def route(self, topic: str) -> EventRoute | None:
        """The route of a topic's messages; None if no subscription matches, or if the topic is reserved: no events.

        Raises:
            MessageError: no source can be derived from the topic.
        """
        return self._routes.get(topic) or self._find(topic)

    def _find(self, topic: str) -> EventRoute | None:
        found = next((found for found in self._subscriptions if matches(found[0].topic, topic)), None)
        if found is None or is_reserved(topic):
            return None
        template = found[0].source
        try:
            if any(matches(own, topic) for own in self._own_topics):
                route = EventRoute(*found, is_own=True)
            else:
                route = EventRoute(*found, source_from_topic(template, topic), inline_bytes=self._inline_bytes)
        except IndexError:
            raise MessageError("event", "source", f"the topic has no such level for {template!r}") from None
        if len(self._routes) >= _MAX_ROUTES:
            self._routes.clear()
        self._routes[topic] = route
        return route


def _large(route: EventRoute, topic: str, payload: bytes) -> Draft:
    """The event in a message whose payload goes to the spool: neither its id nor anything else is read from that."""
    subscription = route.subscription
    content_type = _CONTENT_TYPES.get(subscription.data, OCTETS)
    return Draft(
        route.source, payload, is_json=False, type=subscription.type, topic=topic, datacontenttype=content_type
    )


def _id(draft: Draft, path: Path) -> str:
    value = MISSING
    if draft.is_json:
        value = lookup(path, {"body": body(draft)})
    if value is MISSING or not isinstance(value, (str, int, float)):
        raise MessageError("event", "id", f"the data has no text or number at {path.text}")
    return text_of(value)
