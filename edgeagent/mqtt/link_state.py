"""The state of one connection, the same for both engines: pure. `link_driver` drives it."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec

from edgeagent.mqtt.handshake import RECEIVE_MAX, Handshake
from edgeagent.mqtt.negotiation import Attempt
from edgeagent.mqtt.reason_codes import FAILURE, PROTOCOL_ERROR, QOS_NOT_SUPPORTED, TOPIC_ALIAS_INVALID
from edgeagent.mqtt.unacknowledged import Unacknowledged, receipts_of
from edgeagent.mqtt.unsubscribing import Unsubscribing
from edgeagent.ports.link import Abilities, Ack, Message

# How many QoS 0 messages are kept until the subscriptions are confirmed; more are dropped, as QoS 0 allows.
EARLY_QOS0_MAX = 1024


class LinkPhase(enum.Enum):
    """The phases of a connection: CONNECT sent, SUBSCRIBE sent, in use, ended."""

    CONNECTING = enum.auto()
    SUBSCRIBING = enum.auto()
    UP = enum.auto()
    ENDED = enum.auto()


CONNECTING, SUBSCRIBING, UP, ENDED = LinkPhase


class ProtocolFault(msgspec.Struct, frozen=True):
    """Something that the broker was not allowed to send, and the reason code to disconnect with."""

    text: str
    reason_code: int = PROTOCOL_ERROR


_TOO_EARLY = ProtocolFault("a message before it answered CONNECT")
_ALIAS = ProtocolFault("a topic alias, which was not offered", TOPIC_ALIAS_INVALID)
_EXACTLY_ONCE = ProtocolFault("a message at QoS 2, which was not asked for", QOS_NOT_SUPPORTED)


class LinkState:
    """The state of one connection, from CONNECT to its end.

    It owns the phase, the messages that wait for their acknowledgement, what was received and not handed over yet, the
    UNSUBSCRIBEs, and how the connection ended. It decides when the owner gets what, and when to stop reading. The owner
    gets nothing before the connection is up, and each message once. A message at QoS 1 that the owner has got is never
    forgotten before it is acknowledged. It must never write anything.

    Args:
        handshake: what is asked of the broker.
        connection: this connection's number, unique in the process.

    Attributes:
        phase: the present phase. Only `accepted`, `subscribed` and `end` change it.
        session_present: whether the broker kept the session.
        abilities: what the broker takes, as far as it is known.
        was_up: whether the connection was ever up.
        gave_up: whether we ended it before CONNECT was answered.
        taken_over: whether the connection ended because another client took the session.
        refused_with, unanswered, over_retained: see `Attempt`.
        receipts: see `receipts_of`.
        unacknowledged: the messages that wait for their acknowledgement.
        unsubscribing: the progress of giving up the subscriptions.
        acks: acknowledgements of publications that were received and not handed over yet.
        unwanted_unsubscribed: whether the broker gave up what is unwanted (`Handshake.unwanted`); None: no answer yet.
    """

    def __init__(self, handshake: Handshake, connection: int) -> None:
        self.phase = CONNECTING
        self.session_present = self._is_accepted = False
        self.gave_up = False
        self.abilities = Abilities(retains=not handshake.plain, guessed=handshake.plain)
        self.taken_over = False
        self.refused_with = 0
        self.unanswered = self.over_retained = False
        self.receipts = receipts_of(connection)
        self.unacknowledged = Unacknowledged(RECEIVE_MAX)
        self.unsubscribing = Unsubscribing(handshake.subscriptions, self.unacknowledged)
        self.acks: list[Ack] = []
        self.unwanted_unsubscribed: bool | None = None
        self._answers_first = handshake.answers_first
        self._has_unwanted = bool(handshake.unwanted)
        self._unwanted_packet_id = 0
        self.was_up = False
        self._messages: list[Message] = []

    @property
    def attempt(self) -> Attempt:
        """How the connection ended, from which the next attempt learns what to ask."""
        return Attempt(self.refused_with, self.unanswered, self.abilities if self.was_up else None, self.over_retained)

    @property
    def session_in_doubt(self) -> bool:
        """Whether the broker has begun, or may have, a session for us of which the owner never heard.

        A CONNECT whose answer we do not wait for is carried out all the same.
        """
        return not self.was_up and (self.gave_up or (self._is_accepted and not self.session_present))

    # Phases.

    def accepted(self, *, session_present: bool, abilities: Abilities | None = None) -> bool:
        """The broker accepts us. True: an UNSUBSCRIBE for what is unwanted is due; a new session needs none."""
        self.phase = SUBSCRIBING
        self.session_present = session_present
        self._is_accepted = True
        if abilities is not None:
            self.abilities = abilities
        if self._has_unwanted and not session_present:
            self.unwanted_unsubscribed = True
        return self._has_unwanted and session_present

    def subscribed(self) -> None:
        """The subscriptions are confirmed: the connection is up."""
        self.phase = UP
        self.was_up = True

    def end(self) -> bool:
        """End the connection; False if it had ended before."""
        if self.phase is ENDED:
            return False
        if self.phase is not UP:
            self._messages.clear()  # the owner has never heard of this connection
        self.phase = ENDED
        return True

    # Receiving.

    def take(self, message: Message, *, exactly_once: bool, is_unwanted: bool = False) -> ProtocolFault | None:
        """Take a message, `exactly_once` at QoS 2. Returns what is wrong with it, None if nothing is.

        `is_unwanted`: the owner does not get it, and the driver acknowledges it.
        """
        if self.phase is CONNECTING:
            return _TOO_EARLY
        if not message.topic:
            return _ALIAS
        if exactly_once:
            return _EXACTLY_ONCE
        receipt, packet_id = message.receipt, message.delivery_id
        if type(receipt) is not int:  # at QoS 0
            is_taken = True
        else:
            is_taken = packet_id > 0 and self.unacknowledged.take(receipt, len(message.payload))
        if is_taken:
            if not is_unwanted:
                self._messages.append(message)
        elif not packet_id or (receipt in self.unacknowledged and not self.unacknowledged.is_full):
            return ProtocolFault(f"a message with packet id {packet_id}, which is 0 or in use")
        return None

    def acks_to_hand_over(self) -> list[Ack]:
        """The acks that the owner may get now, each once."""
        if not self.acks or self.phase is SUBSCRIBING:
            return []
        acks, self.acks = self.acks, []
        return acks

    def messages_to_hand_over(self) -> list[Message]:
        """The messages that the owner may get now, each once. Too many at QoS 0 while subscribing are dropped."""
        if self.phase is not SUBSCRIBING:
            messages, self._messages = self._messages, []
            return messages
        if len(self._messages) > RECEIVE_MAX + EARLY_QOS0_MAX:
            self._messages = [message for message in self._messages if message.receipt is not None]
        return []

    def must_not_read(self, *, is_waiting_for_acks: bool) -> bool:
        """Whether to stop reading until something is acknowledged. `is_waiting_for_acks`: the broker owes us acks.

        While subscribing nothing can be acknowledged. An owner that answers first waits for acks, which come after the
        messages.
        """
        return self.unacknowledged.is_full and self.phase is UP and not (self._answers_first and is_waiting_for_acks)

    # Unsubscribing.

    def asked_for_unwanted(self, packet_id: int) -> None:
        """Note that the UNSUBSCRIBE for what is unwanted is written."""
        self._unwanted_packet_id = packet_id

    def take_unsuback(self, packet_id: int, reason_codes: Sequence[int]) -> ProtocolFault | None:
        """Take the broker's answer to UNSUBSCRIBE. Returns what is wrong with it, None if nothing is."""
        if self._unwanted_packet_id and packet_id == self._unwanted_packet_id:
            self._unwanted_packet_id = 0
            self.unwanted_unsubscribed = max(reason_codes, default=0) < FAILURE
            return None
        if self.phase is UP and self.unsubscribing.take(packet_id, reason_codes):
            return None
        return ProtocolFault("an answer that does not fit our UNSUBSCRIBE")
