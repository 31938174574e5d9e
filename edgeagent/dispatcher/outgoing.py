"""What is to be published and what is on its way. Pure: no clock, no connection.

A response belongs to the connection that brought its trigger: when that ends it is forgotten, because the broker brings
the trigger again. Everything else belongs to no connection: it is kept, in order, until a broker has answered it, or
until whoever queued it does not want it any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from edgeagent.ports.link import Message, Publication, PublishOutcome
from edgeagent.wire.messages import Response

_CONTENT_TYPE = "application/json"

_encoder = msgspec.json.Encoder()


class QueuedResponse(msgspec.Struct, frozen=True, gc=False):
    """A response to be published, and the trigger that may be acknowledged when the broker has taken it."""

    publication: Publication
    trigger: Message
    response: Response


class QueuedMessage(msgspec.Struct, frozen=True):
    """Any other message; `on_taken` is called with the broker's answer.

    `wanted` is asked each time before it goes out. Once it says False the message is forgotten, `on_taken` not called.
    """

    publication: Publication
    on_taken: Callable[[PublishOutcome], None] | None
    wanted: Callable[[], bool] | None


class QueuedStatus(msgspec.Struct, frozen=True, gc=False):
    """A status that the engine itself tells of, to be published on one topic."""

    publication: Publication


class SendQueue:
    """The queues of responses, of messages and of statuses, and those in flight, by token."""

    def __init__(self, max_statuses: int) -> None:
        """Empty queues.

        Args:
            max_statuses: how many statuses may wait or be in flight; of more the oldest that waits is dropped. Who adds
                messages bounds them: they are never dropped.
        """
        self._max_statuses = max_statuses
        self._responses: deque[QueuedResponse] = deque()
        self._messages: deque[QueuedMessage] = deque()
        self._statuses: deque[QueuedStatus] = deque()
        self._in_flight: dict[int, QueuedResponse | QueuedMessage | QueuedStatus] = {}
        self._responses_in_flight = 0
        self._statuses_in_flight = 0
        self._next_token = 0

    @property
    def responses(self) -> int:
        """How many responses the broker has not taken yet."""
        return len(self._responses) + self._responses_in_flight

    @property
    def statuses(self) -> int:
        """How many statuses the broker has not taken yet."""
        return len(self._statuses) + self._statuses_in_flight

    @property
    def is_empty(self) -> bool:
        """Whether the broker has answered everything."""
        return not (self._responses or self._messages or self._statuses or self._in_flight)

    def add_response(self, topic: str, response: Response, trigger: Message) -> None:
        """Queue the response to a trigger, with the trigger's MQTT 5 correlation data."""
        publication = self._publication(topic, _encoder.encode(response), correlation_data=trigger.correlation_data)
        self._responses.append(QueuedResponse(publication, trigger, response))

    def add_message(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool,
        on_taken: Callable[[PublishOutcome], None] | None,
        wanted: Callable[[], bool] | None,
    ) -> None:
        """Queue any other message; an empty payload clears what is retained."""
        self._messages.append(QueuedMessage(self._publication(topic, payload, retain=retain), on_taken, wanted))

    def add_status(self, topic: str, payload: bytes) -> bool:
        """Queue a status, encoded once for all its topics; False when the oldest one had to be dropped for it."""
        kept = self.statuses < self._max_statuses or not self._statuses
        if not kept:
            self._statuses.popleft()
        self._statuses.append(QueuedStatus(self._publication(topic, payload)))
        return kept

    def take(self, room: int) -> list[Publication]:
        """At most `room` publications, from now on in flight; responses first, because somebody waits for them."""
        taken: list[Publication] = []
        while len(taken) < room:
            item: QueuedResponse | QueuedMessage | QueuedStatus
            if self._responses:
                item = self._responses.popleft()
                self._responses_in_flight += 1
            elif self._messages:
                item = self._messages.popleft()
                if item.wanted is not None and not item.wanted():
                    continue
            elif self._statuses:
                item = self._statuses.popleft()
                self._statuses_in_flight += 1
            else:
                break
            self._in_flight[item.publication.token] = item
            taken.append(item.publication)
        return taken

    def taken_by_broker(self, token: int) -> QueuedResponse | QueuedMessage | QueuedStatus:
        """The broker has answered this publication, whatever it said: it is no longer in flight."""
        item = self._in_flight.pop(token)
        self._responses_in_flight -= isinstance(item, QueuedResponse)
        self._statuses_in_flight -= isinstance(item, QueuedStatus)
        return item

    def connection_ended(self) -> None:
        """Forget the responses; put everything else in flight back to the front of its queue, in order."""
        self._responses.clear()
        for item in reversed(self._in_flight.values()):
            if isinstance(item, QueuedMessage):
                self._messages.appendleft(item)
            elif isinstance(item, QueuedStatus):
                self._statuses.appendleft(item)
        self._in_flight.clear()
        self._responses_in_flight = self._statuses_in_flight = 0

    def _publication(
        self, topic: str, payload: bytes, *, retain: bool = False, correlation_data: bytes | None = None
    ) -> Publication:
        self._next_token += 1
        return Publication(
            self._next_token,
            topic,
            payload,
            retain=retain,
            content_type=_CONTENT_TYPE if payload else None,
            correlation_data=correlation_data,
        )
