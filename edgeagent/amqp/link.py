"""A link over AMQP: one connection, or two so that a blocked publisher does not hold acknowledgements."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from edgeagent.amqp.connection import MESSAGE_MAX_BYTES, AmqpPhase
from edgeagent.amqp.wire import Wire
from edgeagent.common.foreign import shown
from edgeagent.errors import Unavailable, UplinkError
from edgeagent.links.driver import LinkFutures
from edgeagent.links.request import LinkRequest
from edgeagent.ports.link import Abilities, Ack, LinkOwner, Message, Publication, PublishRefused

# AMQP has neither retained messages nor a last will.
ABILITIES = Abilities(retains=False, most_qos=1)

# A queue that was just recovered, or has lost its majority, may confirm nothing, and never make up for it: whoever
# waits for its first confirm would wait for ever. So a publication has at least this time, and at most twice as much.
CONFIRM_S = 15.0
_NO_ROOM = PublishRefused(0, "more messages in flight than it allows")

_log = logging.getLogger(__name__)


class AmqpLink(LinkFutures):
    """A `links.driver.LinkDriver`. Build a new one for each attempt, and give it its wires with `start`.

    It owns the wires: `consuming` brings messages, `publishing` takes them; they may be one. If one ends, so does the
    other. After that it must never call its owner.

    Args:
        owner: the owner to call.
        request: what the session asks.
        max_inflight: how many publications may be unconfirmed.
        loop: the running loop.
    """

    def __init__(
        self, owner: LinkOwner, request: LinkRequest, max_inflight: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(loop)
        self._owner = owner
        self._request = request
        self._max_inflight = max_inflight
        self._loop = loop
        self._consuming: Wire
        self._publishing: Wire
        self._wires: tuple[Wire, ...] = ()
        self._is_up = False
        self._blocked = ""
        self._unsubscribing = False
        self._confirm_timer: asyncio.TimerHandle | None = None
        self._oldest = 0  # the publication that waited longest when the timer was set

    def start(self, consuming: Wire, publishing: Wire) -> None:
        """Begin to use these wires, whose sockets are about to be made."""
        self._consuming, self._publishing = consuming, publishing
        self._wires = tuple({consuming: None, publishing: None})

    # Called by the owner.

    @property
    def room(self) -> int:
        """See `Link.room`."""
        if not self._is_up or self._publishing.is_paused or self._blocked:
            return 0
        return max(0, self._max_inflight - len(self._publishing.machine.confirms))

    @property
    def max_packet_bytes(self) -> int:
        """See `Link.max_packet_bytes`."""
        return MESSAGE_MAX_BYTES

    @property
    def abilities(self) -> Abilities:
        """See `Link.abilities`."""
        return ABILITIES

    @property
    def carried(self) -> frozenset[int]:
        """See `Link.carried`: nothing is continued."""
        return frozenset()

    @property
    def blocked(self) -> str:
        """See `Link.blocked`."""
        return self._blocked

    def publish(self, publications: Sequence[Publication]) -> None:
        """See `Link.publish`."""
        if not self._is_up:
            return
        room = self.room
        written, answers = self._publishing.machine.publish(publications[:room])
        answers += [Ack(publication.token, _NO_ROOM) for publication in publications[room:]]
        self._publishing.write(written)
        if answers:
            self._loop.call_soon(self._hand_over_acks, answers)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """See `Link.acknowledge`."""
        if self._is_up:
            self._consuming.write(self._consuming.machine.acknowledge(messages))
            self._resolve()

    # Called by the session.

    @property
    def taken_over(self) -> bool:
        """See `LinkDriver.taken_over`: over AMQP the later client is refused."""
        return False

    @property
    def awaited(self) -> str:
        """See `LinkDriver.awaited`."""
        return next((wire.machine.awaited for wire in self._wires if wire.machine.awaited), "")

    @property
    def is_emptied(self) -> bool:
        """See `LinkDriver.is_emptied`."""
        return self.emptied.done()

    def unsubscribe(self) -> None:
        """See `LinkDriver.unsubscribe`. What is not acknowledged goes back to its queue when the connection ends."""
        if not self._unsubscribing:
            self._unsubscribing = True
            if self._is_up:
                self._cancel()

    def close(self) -> None:
        """See `LinkDriver.close`."""
        self._end(Unavailable(self._request.address, "we closed the connection"))

    def abort(self) -> None:
        """See `LinkDriver.abort`."""
        error = Unavailable(self._request.address, "we aborted the connection")
        for wire in self._wires:
            wire.abort(error)
        self._end(error)
        self._check_lost()

    # Called by the wires.

    def on_read(self, wire: Wire) -> None:
        """See `WireOwner.on_read`."""
        machine = wire.machine
        if not self._is_up and not self.up.done() and self._all_in_use():
            self._go_up()
        if self._is_up:
            self._hand_over(wire)
        if machine.phase is AmqpPhase.ENDED and machine.error is not None:
            self._end(machine.error)

    def on_lost(self) -> None:
        """See `WireOwner.on_lost`."""
        self._check_lost()

    def on_writable(self) -> None:
        """See `WireOwner.on_writable`."""
        if self._is_up and self.room:
            self._owner.on_room()

    # Inside.

    def _all_in_use(self) -> bool:
        return all(wire.machine.phase is AmqpPhase.IN_USE for wire in self._wires)

    def _go_up(self) -> None:
        opened = self._consuming.machine.opened
        for subscription, refused in opened.refused if opened is not None else ():
            extra = {"event": "mqtt_subscription_refused", "topic_filter": subscription.topic_filter}
            _log.warning("%s; the connection is used all the same", refused, extra=extra)
        self._is_up = True
        self.up.set_result(None)
        self.unwanted_unsubscribed.set_result(True)
        self._owner.on_up(self, session_present=opened is not None and opened.kept)
        self._watch_confirms()
        if self._unsubscribing:
            self._cancel()
        for wire in self._wires:  # what came while the other one was not ready
            self._hand_over(wire)

    def _hand_over(self, wire: Wire) -> None:
        """Hand over what one read of a socket brought: acknowledgements first, then messages."""
        machine = wire.machine
        acks, machine.acks = machine.acks, []
        if acks:
            self._owner.on_acks(acks)
        messages, machine.messages = machine.messages, []
        if messages:
            self._owner.on_messages(messages)
        for topic in machine.too_large:
            extra = {"event": "amqp_message_too_large", "key": topic}
            _log.error(
                "a message with the key %s is larger than it may be, and was rejected", shown(topic), extra=extra
            )
        machine.too_large.clear()
        for topic in machine.unreadable:
            text = "the properties of a message with the key %s cannot be read: it counts as one without any"
            _log.warning(
                text, shown(topic), extra={"event": "amqp_properties_unreadable", "foreign": True, "key": topic}
            )
        machine.unreadable.clear()
        self._resolve()
        if wire is self._publishing:
            self._tell_blocked(machine.blocked)

    def _tell_blocked(self, blocked: str) -> None:
        was, self._blocked = self._blocked, blocked
        address = self._request.address
        if blocked and not was:
            text = "%s takes no publications for now (%s): nothing is sent until it does"
            _log.warning(text, address, blocked, extra={"event": "amqp_blocked", "reason": blocked})
        elif was and not blocked:
            _log.info("%s takes publications again", address, extra={"event": "amqp_unblocked"})
            if self.room:
                self._owner.on_room()

    def _hand_over_acks(self, acks: list[Ack]) -> None:
        if self._is_up:  # otherwise `on_down` covers them
            self._owner.on_acks(acks)

    def _cancel(self) -> None:
        written = self._consuming.machine.cancel()
        self._consuming.write(written)
        self._resolve()

    def _resolve(self) -> None:
        """Note how far the subscriptions are given up."""
        machine = self._consuming.machine
        if not self._unsubscribing or not self._is_up or not machine.is_cancelled:
            return
        if not self.unsubscribed.done():
            self.unsubscribed.set_result(True)
        if not len(machine.deliveries) and not self.emptied.done():
            self.emptied.set_result(None)

    def _watch_confirms(self) -> None:
        """End the connection if the broker confirms nothing, so that everything in flight goes again."""
        oldest = self._publishing.machine.confirms.oldest
        if oldest and oldest == self._oldest and not self._blocked:
            text = (
                f"the broker has not confirmed a publication for {CONFIRM_S:g} s; they are sent again; "
                "if this goes on, one of its queues has no leader (docs/brokers.md)"
            )
            self._end(Unavailable(self._request.address, text))
            return
        self._oldest = oldest if not self._blocked else 0
        self._confirm_timer = self._loop.call_later(CONFIRM_S, self._watch_confirms)

    def _end(self, error: UplinkError) -> None:
        self._is_up = False
        if self._confirm_timer is not None:
            self._confirm_timer.cancel()
        for wire in self._wires:
            if wire.machine.phase is not AmqpPhase.ENDED:
                wire.close(error)
        for future in (self.up, self.ended):
            if not future.done():
                future.set_result(error)

    def _check_lost(self) -> None:
        if all(wire.is_lost for wire in self._wires) and not self.lost.done():
            self.lost.set_result(None)
