"""What both engines share: the driver of one connection's state, which also calls its owner."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence

from edgeagent.errors import Unavailable, UplinkError
from edgeagent.links.driver import LinkFutures
from edgeagent.mqtt import reasons
from edgeagent.mqtt.handshake import Handshake
from edgeagent.mqtt.link_state import ENDED, UP, LinkState, ProtocolFault
from edgeagent.mqtt.mark import mark_property
from edgeagent.mqtt.negotiation import Attempt
from edgeagent.mqtt.reason_codes import RECEIVE_MAXIMUM_EXCEEDED, SUCCESS
from edgeagent.ports.link import Abilities, Ack, LinkOwner, Message, Publication

_log = logging.getLogger(__name__)


class MqttLinkDriver(LinkFutures, ABC):
    """One MQTT connection: a `links.driver.LinkDriver`, whose futures it has. An engine adds the packets.

    It owns the connection's `LinkState`. After the connection has ended it must never write anything, nor take anything
    from the broker.

    Args:
        owner: the owner to call.
        handshake: what to ask of the broker.
        connection: this connection's number, unique in the process.
        loop: the running loop.
    """

    def __init__(
        self, owner: LinkOwner, handshake: Handshake, connection: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(loop)
        self._owner = owner
        self._handshake = handshake
        self._mark = mark_property(handshake.mark)
        self._loop = loop
        self._state = LinkState(handshake, connection)

    # Called by the owner.

    @property
    @abstractmethod
    def room(self) -> int:
        """See `Link.room`."""

    @property
    @abstractmethod
    def max_packet_bytes(self) -> int:
        """See `Link.max_packet_bytes`."""

    @property
    @abstractmethod
    def carried(self) -> frozenset[int]:
        """See `Link.carried`."""

    @property
    def abilities(self) -> Abilities:
        """See `Link.abilities`."""
        return self._state.abilities

    @property
    def blocked(self) -> str:
        """See `Link.blocked`: MQTT has no way to say it."""
        return ""

    @abstractmethod
    def publish(self, publications: Sequence[Publication]) -> None:
        """See `Link.publish`."""

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """See `Link.acknowledge`."""
        state = self._state
        if state.phase is ENDED:
            return
        packet_ids = state.unacknowledged.acknowledge(messages)
        if packet_ids:
            self._write_pubacks(packet_ids)
            self._read_or_not()
        if state.unacknowledged.only_untaken_are_left:
            text = "the broker sent more at once than it may; the rest comes on the next connection"
            self._disconnect(Unavailable(self._handshake.address, text), RECEIVE_MAXIMUM_EXCEEDED)
        self._unsubscribe_when_due()

    # Called by the session.

    @property
    def attempt(self) -> Attempt:
        """How the connection ended, from which the next attempt learns what to ask."""
        return self._state.attempt

    @property
    def was_up(self) -> bool:
        """Whether the owner was told of this connection."""
        return self._state.was_up

    @property
    def session_in_doubt(self) -> bool:
        """See `LinkState.session_in_doubt`; while this is the last connection, and after it."""
        return self._state.session_in_doubt

    @property
    def taken_over(self) -> bool:
        """Whether the connection ended because another client took the session."""
        return self._state.taken_over

    @property
    def is_emptied(self) -> bool:
        """Whether ending the session would lose nothing, after `unsubscribe`."""
        return self._state.unsubscribing.is_complete

    def unsubscribe(self) -> None:
        """Give up all subscriptions as soon as the link is up; `unsubscribed` and `emptied` report the progress."""
        self._state.unsubscribing.begin()
        self._unsubscribe_when_due()

    @abstractmethod
    def close(self) -> None:
        """End the connection gracefully: the broker discards the will, and in MQTT 5 the session if it `is_emptied`."""

    @abstractmethod
    def abort(self) -> None:
        """End the connection at once, without a DISCONNECT: the broker publishes the will."""

    # Called by an engine.

    def _accepted(self, *, session_present: bool, abilities: Abilities | None = None) -> None:
        """CONNACK accepted us: unsubscribe from what is unwanted."""
        if self._state.accepted(session_present=session_present, abilities=abilities):
            self._state.asked_for_unwanted(self._write_unsubscribe(self._handshake.unwanted))
        self._resolve_unsubscribed()

    def _take_granted(self, codes: Sequence[int], said: str | None = None) -> None:
        """SUBACK came: the connection is up, unless a required subscription was refused."""
        handshake = self._handshake
        if len(codes) != len(handshake.subscriptions):
            self._against_protocol(ProtocolFault("an answer that does not fit our SUBSCRIBE"))
            return
        refusals = reasons.subscription_refusals(handshake, codes, self.abilities.most_qos, said)
        if error := next((error for subscription, error in refusals if subscription.required), None):
            self._disconnect(error, SUCCESS)
            return
        for subscription, refused in refusals:
            extra = {"event": "mqtt_subscription_refused", "topic_filter": subscription.topic_filter}
            _log.warning("%s; the connection is used all the same", refused, extra=extra)
        self._go_up()

    def _go_up(self) -> None:
        """Report the link as up. Messages received meanwhile are handed over by the next `_call_owner`."""
        self._state.subscribed()
        if not self.up.done():
            self.up.set_result(None)
        self._begin_publishing()
        self._owner.on_up(self, session_present=self._state.session_present and not self._handshake.session_in_doubt)
        self._unsubscribe_when_due()

    def _call_owner(self) -> None:
        """Hand over what one read of the socket brought: acknowledgements first, then messages."""
        state = self._state
        if state.acks and (acks := state.acks_to_hand_over()):
            self._owner.on_acks(acks)
        if messages := state.messages_to_hand_over():
            self._owner.on_messages(messages)
        self._read_or_not()

    def _ack_later(self, acks: list[Ack]) -> None:
        """Hand over, in the next turn of the loop, the acks that no broker will give: now the owner is in `publish`."""
        if acks:
            self._loop.call_soon(self._hand_over_acks, acks)

    def _hand_over_acks(self, acks: list[Ack]) -> None:
        if self._state.phase is UP:  # otherwise `on_down` covers them
            self._owner.on_acks(acks)

    def _take_unsuback(self, packet_id: int, reason_codes: Sequence[int]) -> None:
        fault = self._state.take_unsuback(packet_id, reason_codes)
        if fault is not None:
            self._against_protocol(fault)
            return
        self._resolve_unsubscribed()
        self._unsubscribe_when_due()

    def _resolve_unsubscribed(self) -> None:
        state, unsubscribing = self._state, self._state.unsubscribing
        if state.unwanted_unsubscribed is not None and not self.unwanted_unsubscribed.done():
            self.unwanted_unsubscribed.set_result(state.unwanted_unsubscribed)
        if unsubscribing.granted is not None and not self.unsubscribed.done():
            self.unsubscribed.set_result(unsubscribing.granted)
        if unsubscribing.emptied and not self.emptied.done():
            self.emptied.set_result(None)

    def _unsubscribe_when_due(self) -> None:
        unsubscribing = self._state.unsubscribing
        if self._state.phase is UP and unsubscribing.is_due:
            filters = [subscription.topic_filter for subscription in self._handshake.subscriptions]
            unsubscribing.asked(self._write_unsubscribe(filters))

    def _finish(self, error: UplinkError) -> bool:
        """Mark the connection as ended; False if it was. Closing the socket is left to the engine."""
        if not self._state.end():
            return False
        for future in (self.up, self.ended):
            if not future.done():
                future.set_result(error)
        return True

    # Implemented by an engine.

    @abstractmethod
    def _begin_publishing(self) -> None:
        """Continue the session's earlier publications, before those of the owner."""

    @abstractmethod
    def _write_pubacks(self, packet_ids: list[int]) -> None:
        """Write a PUBACK for each packet id."""

    @abstractmethod
    def _write_unsubscribe(self, topic_filters: Sequence[str]) -> int:
        """Write an UNSUBSCRIBE; returns its packet id."""

    @abstractmethod
    def _read_or_not(self) -> None:
        """Read from the socket, or pause reading, as `LinkState.must_not_read` says."""

    @abstractmethod
    def _disconnect(self, error: UplinkError, reason_code: int) -> None:
        """End the connection after what is written, with a DISCONNECT that gives the reason if the protocol has one."""

    @abstractmethod
    def _against_protocol(self, fault: ProtocolFault) -> None:
        """End the connection because of what the broker sent."""
