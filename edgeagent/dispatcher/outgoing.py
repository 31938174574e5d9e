"""Messages that are to be published or are in flight. Pure: no clock, no connection.

A response belongs to the connection that brought its trigger: it is forgotten when that ends, because the broker
delivers the trigger again. Every other message is independent of connections: it is kept, in order, until a broker has
answered it, or until the part that queued it no longer wants it.
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
    """A response to be published, and the trigger to be acknowledged once the broker has accepted it."""

    publication: Publication
    trigger: Message
    response: Response


class QueuedMessage(msgspec.Struct, frozen=True):
    """Any other message; `on_taken` is called with the broker's answer.

    `wanted` is called before each publication. Once it returns False the message is forgotten without `on_taken`.
    """

    publication: Publication
    on_taken: Callable[[PublishOutcome], None] | None
    wanted: Callable[[], bool] | None


class QueuedStatus(msgspec.Struct, frozen=True, gc=False):
    """A status reported by the engine itself, to be published on one topic."""

    publication: Publication


class SendQueue:
    """Owns the queues of responses, messages and statuses, and those in flight, by token."""

    def __init__(self, max_statuses: int) -> None:
        """Create empty queues.

        Args:
            max_statuses: how many statuses may wait or be in flight; beyond it the oldest waiting one is dropped. The
                callers of `add_message` must bound their messages, which are never dropped.
        """
        self._max_statuses = max_statuses
        self._responses: deque[QueuedResponse] = deque()
        self._messages: deque[QueuedMessage] = deque()
        self._statuses: deque[QueuedStatus] = deque()
        self._resting: list[QueuedStatus] = []
        self._in_flight: dict[int, QueuedResponse | QueuedMessage | QueuedStatus] = {}
        self._responses_in_flight = 0
        self._statuses_in_flight = 0
        self._next_token = 0

    @property
    def responses(self) -> int:
        """How many responses the broker has not accepted yet."""
        return len(self._responses) + self._responses_in_flight

    @property
    def statuses(self) -> int:
        """How many statuses the broker has not accepted yet."""
        return len(self._statuses) + self._statuses_in_flight + len(self._resting)

    @property
    def is_empty(self) -> bool:
        """Whether the broker has answered everything."""
        return not (self._responses or self._messages or self._statuses or self._in_flight or self._resting)

    def add_response(self, topic: str, response: Response, trigger: Message) -> None:
        """Queue the response to a trigger, with the trigger's MQTT 5 correlation data."""
        publication = self._publication(topic, _encoder.encode(response), correlation_data=trigger.correlation_data)
        self._responses.append(QueuedResponse(publication, trigger, response))

    def add_message(
        self,
        topic: str,
        payload: bytes,
        retain: bool,
        on_taken: Callable[[PublishOutcome], None] | None,
        wanted: Callable[[], bool] | None,
        correlation_data: bytes | None = None,
    ) -> None:
        """Queue any other message; an empty payload clears the topic's retained message."""
        publication = self._publication(topic, payload, retain=retain, correlation_data=correlation_data)
        self._messages.append(QueuedMessage(publication, on_taken, wanted))

    def add_status(self, topic: str, payload: bytes) -> bool:
        """Queue a status, encoded once for all its topics; False if the oldest one had to be dropped for it."""
        kept = self.statuses < self._max_statuses or not self._statuses
        if not kept:
            self._statuses.popleft()
        self._statuses.append(QueuedStatus(self._publication(topic, payload)))
        return kept

    def take(self, room: int) -> list[Publication]:
        """At most `room` publications, now in flight; responses come first, because their senders wait for them."""
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
            elif self._statuses and not self._resting:
                item = self._statuses.popleft()
                self._statuses_in_flight += 1
            else:
                break
            self._in_flight[item.publication.token] = item
            taken.append(item.publication)
        return taken

    def taken_by_broker(self, token: int) -> QueuedResponse | QueuedMessage | QueuedStatus:
        """Remove a publication that the broker has answered, whatever the answer, and return its item."""
        item = self._in_flight.pop(token)
        self._responses_in_flight -= isinstance(item, QueuedResponse)
        self._statuses_in_flight -= isinstance(item, QueuedStatus)
        return item

    def rest(self, status: QueuedStatus) -> bool:
        """Keep a status that the broker refused for now; none goes until `end_rest`. Says whether it is the first."""
        self._resting.append(status)
        return len(self._resting) == 1

    def end_rest(self) -> None:
        """Return what rests to the front of the statuses, in order."""
        self._statuses.extendleft(reversed(self._resting))
        self._resting.clear()

    def connection_ended(self) -> None:
        """Forget the responses; return everything else in flight to the front of its queue, in order."""
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
