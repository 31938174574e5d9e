"""What is to be published and what is on its way. Pure: no clock, no connection.

A response belongs to the connection that brought its trigger: when that ends it is forgotten, because the broker brings
the trigger again. A status belongs to no trigger's connection: it is kept, in order, until a broker has taken it.
"""

from __future__ import annotations

from collections import deque

import msgspec

from edgeagent.core.messages import Response
from edgeagent.mqtt.link import Message, Publication

_CONTENT_TYPE = "application/json"

_encoder = msgspec.json.Encoder()


class QueuedResponse(msgspec.Struct, frozen=True, gc=False):
    """A response to be published, and the trigger that may be acknowledged when the broker has taken it."""

    publication: Publication
    trigger: Message
    response: Response


class QueuedStatus(msgspec.Struct, frozen=True, gc=False):
    """A status to be published on one topic."""

    publication: Publication


class Outgoing:
    """The queues of responses and of statuses, and those in flight, by token."""

    def __init__(self, max_statuses: int) -> None:
        """Empty queues.

        Args:
            max_statuses: how many statuses may wait or be in flight; of more the oldest that waits is dropped.
        """
        self._max_statuses = max_statuses
        self._responses: deque[QueuedResponse] = deque()
        self._statuses: deque[QueuedStatus] = deque()
        self._in_flight: dict[int, QueuedResponse | QueuedStatus] = {}
        self._statuses_in_flight = 0
        self._next_token = 0

    @property
    def responses(self) -> int:
        """How many responses the broker has not taken yet."""
        return len(self._responses) + len(self._in_flight) - self._statuses_in_flight

    @property
    def statuses(self) -> int:
        """How many statuses the broker has not taken yet."""
        return len(self._statuses) + self._statuses_in_flight

    def add_response(self, topic: str, response: Response, trigger: Message) -> None:
        """Queue the response to a trigger, with the trigger's MQTT 5 correlation data."""
        publication = self._publication(topic, _encoder.encode(response), trigger.correlation_data)
        self._responses.append(QueuedResponse(publication, trigger, response))

    def add_status(self, topic: str, payload: bytes) -> bool:
        """Queue a status, encoded once for all its topics; False when the oldest one had to be dropped for it."""
        kept = self.statuses < self._max_statuses or not self._statuses
        if not kept:
            self._statuses.popleft()
        self._statuses.append(QueuedStatus(self._publication(topic, payload, None)))
        return kept

    def take(self, room: int) -> list[Publication]:
        """At most `room` publications, from now on in flight; responses first, because somebody waits for them."""
        taken: list[Publication] = []
        while len(taken) < room and (self._responses or self._statuses):
            item = self._responses.popleft() if self._responses else self._statuses.popleft()
            self._statuses_in_flight += isinstance(item, QueuedStatus)
            self._in_flight[item.publication.token] = item
            taken.append(item.publication)
        return taken

    def taken_by_broker(self, token: int) -> QueuedResponse | QueuedStatus:
        """The broker has answered this publication, whatever it said: it is no longer in flight."""
        item = self._in_flight.pop(token)
        self._statuses_in_flight -= isinstance(item, QueuedStatus)
        return item

    def connection_ended(self) -> None:
        """Forget the responses; put the statuses in flight back to the front, in their order."""
        self._responses.clear()
        self._statuses.extendleft(item for item in reversed(self._in_flight.values()) if isinstance(item, QueuedStatus))
        self._in_flight.clear()
        self._statuses_in_flight = 0

    def _publication(self, topic: str, payload: bytes, correlation_data: bytes | None) -> Publication:
        self._next_token += 1
        return Publication(
            self._next_token, topic, payload, content_type=_CONTENT_TYPE, correlation_data=correlation_data
        )
