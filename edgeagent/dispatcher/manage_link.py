"""The connection for requests about workflows, beside the dispatcher's for triggers.

On one connection a request would wait behind every trigger that came before it. While the engine is away, or a
namespace is full, the triggers that wait here fill the receive maximum, and the broker sends nothing more: not even the
`stop` that would make room.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from edgeagent.dispatcher.link_sharer import LinkSharer
from edgeagent.dispatcher.outgoing import QueuedMessage, SendQueue
from edgeagent.dispatcher.troubles import Troubles
from edgeagent.errors import Denied, UplinkError
from edgeagent.ports.link import Ack, Link, Message, PublishOutcome

log = logging.getLogger(__name__)


class ManageLink:
    """The `LinkOwner` of that connection: it brings the requests to one part, and the answers of that part away.

    Owns the answers that the broker has not taken. Like `Dispatcher`, it publishes them again on the next connection as
    long as they are wanted.
    """

    def __init__(self) -> None:
        self._sharer: LinkSharer
        self._outgoing = SendQueue(0)
        self._link: Link | None = None
        self._troubles = Troubles()
        self._reported_down = False

    def share_with(self, sharer: LinkSharer) -> None:
        """Bring the requests here. Must be called before the connection is made."""
        self._sharer = sharer

    def on_up(self, link: Link, *, session_present: bool) -> None:
        """See `LinkOwner`."""
        extra = {"event": "manage_connected", "session_present": session_present}
        log.info("takes requests about workflows, on a connection of their own", extra=extra)
        self._link, self._reported_down = link, False
        self._sharer.on_up()
        self._publish()

    def on_down(self, error: UplinkError) -> None:
        """See `LinkOwner`."""
        self._link = None
        if not self._reported_down:
            self._reported_down = True
            level = logging.ERROR if isinstance(error, Denied) else logging.WARNING
            text = "takes no requests about workflows, retrying: %s"
            log.log(level, text, error, extra={"event": "manage_disconnected"})
        self._outgoing.connection_ended()
        self._sharer.on_down()

    def on_messages(self, messages: Sequence[Message]) -> None:
        """See `LinkOwner`. What is no request is not subscribed to; it is acknowledged so that it is not in the way."""
        self.acknowledge(self._sharer.on_messages(messages))

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """See `LinkOwner`."""
        for ack in acks:
            item = self._outgoing.taken_by_broker(ack.token)
            self._troubles.published(item.publication.topic, ack.outcome, is_response=True)
            if isinstance(item, QueuedMessage) and item.on_taken is not None:
                item.on_taken(ack.outcome)
        self._publish()

    def on_room(self) -> None:
        """See `LinkOwner`."""
        self._publish()

    def send(
        self,
        topic: str,
        payload: bytes,
        *,
        on_taken: Callable[[PublishOutcome], None] | None = None,
        wanted: Callable[[], bool] | None = None,
        correlation_data: bytes | None = None,
    ) -> None:
        """See `Dispatcher.send`."""
        self._outgoing.add_message(topic, payload, False, on_taken, wanted, correlation_data)
        self._publish()

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """See `Dispatcher.acknowledge`."""
        if self._link is not None and messages:
            self._link.acknowledge(messages)

    def _publish(self) -> None:
        if self._link is not None and (publications := self._outgoing.take(self._link.room)):
            self._link.publish(publications)
