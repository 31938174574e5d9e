"""The MQTT 5 engine: one connection as an `asyncio.Protocol`.

Invariants:

* What is published is `_outgoing`'s from PUBLISH to the broker's last word (see there).
* Every message at QoS 1 that the owner was told of is in `_held` until its PUBACK is written.
* After `_end` nothing is written, nothing received is looked at, and `room` is 0.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Sequence
from typing import cast

import mqtt5

from edgeagent.errors import Unavailable, UplinkError
from edgeagent.mqtt import reasons, v5_reasons
from edgeagent.mqtt.handshake import RECEIVE_MAX, Handshake
from edgeagent.mqtt.keepalive import KeepAlive
from edgeagent.mqtt.life import CONNECTING, EARLY_QOS0_MAX, ENDED, SUBSCRIBING, UP, Life
from edgeagent.mqtt.link import SUCCESS, Abilities, Ack, LinkOwner, Message, Publication
from edgeagent.mqtt.outgoing import Limits, Outgoing
from edgeagent.mqtt.packets import (
    PUBACK,
    PUBCOMP,
    PUBREC,
    PacketReader,
    Received,
    Refusal,
    Successes,
    message_from,
    puback_packets,
    subscribe_packet,
    unsubscribe_packet,
)

_AT_LEAST_ONCE = mqtt5.QoS.AT_LEAST_ONCE
_PINGREQ = mqtt5.PingReqPacket().write()
_Reason = mqtt5.DisconnectReasonCode

_log = logging.getLogger(__name__)

# Names a connection within this process, so that an acknowledgement can never reach another one.
_connection_numbers = itertools.count(1)


class V5Link(Life, asyncio.Protocol):
    """One MQTT 5 connection; a `Link`. Build a new one for each connection.

    Args:
        owner, handshake, loop: as `Life`'s.
        connect: the CONNECT packet that says it; apart, because it holds the password.
    """

    def __init__(self, owner: LinkOwner, handshake: Handshake, connect: bytes, loop: asyncio.AbstractEventLoop) -> None:
        Life.__init__(self, owner, handshake, next(_connection_numbers), loop)
        self._connect = connect
        self._transport: asyncio.Transport
        self._reader = PacketReader(handshake.max_packet_bytes)
        self._paused = False
        self._outgoing = Outgoing(handshake.exchanges, self._mark)
        self._subscribe_id = 0
        self._keep_alive = KeepAlive(loop, self._ping, self._give_up)

    # What the owner calls.

    @property
    def room(self) -> int:
        """See `Link.room`."""
        if self._phase is not UP or self._paused:
            return 0
        return self._outgoing.room

    @property
    def max_packet_bytes(self) -> int:
        """See `Link.max_packet_bytes`."""
        return self._outgoing.max_packet_bytes

    @property
    def carried(self) -> frozenset[int]:
        """See `Link.carried`."""
        return self._outgoing.carried

    def publish(self, publications: Sequence[Publication]) -> None:
        """See `Link.publish`."""
        if self._phase is UP:
            self._publish(self._outgoing.packets(publications))
            self._read_while_not_full()

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """See `Link.acknowledge`."""
        if self._phase is ENDED:
            return
        packet_ids = self._held.acknowledge([message for message in messages if message.connection == self.connection])
        if packet_ids:
            self._write(puback_packets(packet_ids))
            self._read_while_not_full()
        if self._held.only_refused_are_left:
            text = "the broker sent more at once than it may; the rest comes on the next connection"
            self._end(Unavailable(self._handshake.address, text), _Reason.RECEIVE_MAX_EXCEEDED)
        self._unsubscribe_when_due()

    # What the session calls.

    def unsubscribe(self) -> None:
        """Give up all subscriptions, as soon as the link is up; `farewell` tells when nothing is left to take."""
        self.farewell.begin()
        self._unsubscribe_when_due()

    def close(self) -> None:
        """End it gracefully: the broker discards the will, and the session when the farewell is complete."""
        said = None if self._phase is CONNECTING else _Reason.NORMAL_DISCONNECTION
        self._end(Unavailable(self._handshake.address, "we closed the connection"), said)

    def abort(self) -> None:
        """End it at once and without a word: the broker publishes the will."""
        self._transport.abort()
        self._end(Unavailable(self._handshake.address, "we aborted the connection"))

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send CONNECT."""
        self._transport = cast("asyncio.Transport", transport)
        self._write(self._connect)

    def data_received(self, data: bytes) -> None:
        """Take everything that is complete, then tell the owner: acks first, then messages."""
        if self._phase is ENDED:
            return
        self._keep_alive.received()
        packets, fault = self._reader.take(data)
        for packet in packets:
            if type(packet) is Successes:
                self._take_successes(packet.packet_ids)
            elif type(packet) is mqtt5.PublishPacket:
                self._take_publish(packet)
            else:
                self._take_other(packet)
            if self._phase is ENDED:
                break
        if fault is not None:
            self._against_protocol(fault.text, fault.reason_code)
        if self._outgoing.replies and self._phase is not ENDED:
            self._write(b"".join(self._outgoing.replies))
            self._outgoing.replies.clear()
        self._tell()
        self._read_while_not_full()

    def pause_writing(self) -> None:
        """The socket takes no more: no room."""
        self._paused = True

    def resume_writing(self) -> None:
        """The socket takes more again."""
        self._paused = False
        if self._phase is UP:
            self._owner.on_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        address = self._handshake.address
        self.lost.set_result(None)
        if exc is not None and not (self._phase is CONNECTING and isinstance(exc, ConnectionError)):
            self._end(reasons.connection_failure(address, exc))
            return
        text = "it closed the connection without an answer; does it speak MQTT 5 here?"
        if self._phase is not CONNECTING:  # Mosquitto 2.0 gives no reason in either case
            client_id = self._handshake.client_id
            text = f"the broker closed the connection: it was stopped, or another client uses the id {client_id}"
        self._end(Unavailable(address, text))

    # Receiving.

    def _read_while_not_full(self) -> None:
        # While subscribing nothing can be acknowledged; what an owner that answers first waits for stands behind it.
        waits = self._phase is not UP or (self._handshake.answers_first and self._outgoing.tokens)
        deaf = self._held.is_full and not waits
        if deaf != self._keep_alive.deaf and self._phase is not ENDED:
            self._keep_alive.listen(deaf=deaf)
            (self._transport.pause_reading if deaf else self._transport.resume_reading)()

    def _tell(self) -> None:
        if self._acks and self._phase is not SUBSCRIBING:
            acks, self._acks = self._acks, []
            if self._phase is UP:
                self._publish(self._outgoing.again())
            self._owner.on_acks(acks)
        if self._phase is not SUBSCRIBING:
            if self._messages:
                messages, self._messages = self._messages, []
                self._owner.on_messages(messages)
        elif len(self._messages) > RECEIVE_MAX + EARLY_QOS0_MAX:
            self._messages = [message for message in self._messages if message.qos]

    def _take_successes(self, packet_ids: Sequence[int]) -> None:
        take, acks = self._outgoing.tokens.pop, self._acks
        for packet_id in packet_ids:
            token = take(packet_id, None)
            if token is None:
                self._not_in_flight(packet_id)
                return
            acks.append(Ack(token, SUCCESS))

    def _take_answer(self, kind: int, packet_id: int, reason_code: int, reason: str | None) -> None:
        if self._phase is CONNECTING:
            self._not_in_flight(packet_id)
            return
        try:
            ack = self._outgoing.answered(kind, packet_id, reason_code, reason or "")
        except KeyError:
            self._not_in_flight(packet_id)
        else:
            if ack is not None:
                self._acks.append(ack)

    def _not_in_flight(self, packet_id: int) -> None:
        self._against_protocol(f"an acknowledgement of packet id {packet_id}, which is not in flight")

    def _take_publish(self, packet: mqtt5.PublishPacket) -> None:
        message = message_from(packet, self.connection)
        if self._phase is CONNECTING:
            self._against_protocol("a message before it answered CONNECT")
        elif not message.topic:
            self._against_protocol("a topic alias, which was not offered", _Reason.TOPIC_ALIAS_INVALID)
        elif (packet_id := packet.packet_id) is None:
            self._messages.append(message)
        elif packet.qos != _AT_LEAST_ONCE:
            self._against_protocol("a message at QoS 2, which was not asked for", _Reason.QOS_NOT_SUPPORTED)
        elif packet_id and self._held.take(message):
            self._messages.append(message)
        elif not packet_id or (packet_id in self._held.unacknowledged and not self._held.is_full):
            self._against_protocol(f"a message with packet id {packet_id}, which is 0 or in use")

    def _take_other(self, packet: Received) -> None:
        if isinstance(packet, mqtt5.PingRespPacket) and self._phase is not CONNECTING:
            return
        if isinstance(packet, Refusal):
            self._take_answer(packet.kind, packet.packet_id, packet.reason_code, None)
        elif isinstance(packet, mqtt5.PubAckPacket):
            self._take_answer(PUBACK, packet.packet_id, int(packet.reason_code), packet.reason_str)
        elif isinstance(packet, (mqtt5.PubRecPacket, mqtt5.PubCompPacket)) and self._handshake.exchanges is not None:
            kind = PUBREC if isinstance(packet, mqtt5.PubRecPacket) else PUBCOMP
            self._take_answer(kind, packet.packet_id, int(packet.reason_code), packet.reason_str)
        elif isinstance(packet, mqtt5.ConnAckPacket) and self._phase is CONNECTING:
            self._take_connack(packet)
        elif isinstance(packet, mqtt5.SubAckPacket) and self._phase is SUBSCRIBING:
            self._take_suback(packet)
        elif isinstance(packet, mqtt5.UnsubAckPacket) and self._phase is not CONNECTING:
            self._take_unsuback(packet)
        elif isinstance(packet, mqtt5.DisconnectPacket):
            self.taken_over = int(packet.reason_code) == reasons.SESSION_TAKEN_OVER
            self._end(v5_reasons.disconnect_error(self._handshake, packet))
        else:
            self._against_protocol(f"an unexpected {type(packet).__name__.removesuffix('Packet').upper()}")

    def _take_connack(self, packet: mqtt5.ConnAckPacket) -> None:
        self._refused_with = int(packet.reason_code)
        if error := v5_reasons.connack_error(self._handshake, packet):
            self._end(error, None if int(packet.reason_code) else _Reason.NORMAL_DISCONNECTION)
            return
        if packet.assigned_client_id:
            extra = {"event": "mqtt_client_id_assigned", "assigned": packet.assigned_client_id}
            text = "the broker gave us the id %s in place of %s: its sessions will not be found again"
            _log.warning(text, packet.assigned_client_id, self._handshake.client_id, extra=extra)
        self._session_present = packet.session_present
        self._abilities = Abilities(packet.retain_available, int(packet.max_qos))
        limits = Limits(packet.receive_max, packet.max_packet_size, packet.topic_alias_max, self._abilities)
        self._outgoing.begin(limits, session_present=packet.session_present)
        # 0 means that the broker does not watch; our own period then still finds a dead connection.
        self._keep_alive.start(packet.server_keep_alive or self._handshake.keepalive_s)
        if self._has_unwanted():
            self._unsubscribe_id = self._outgoing.reserved_id = self._outgoing.free_packet_id()
            self._write(unsubscribe_packet(self._unsubscribe_id, self._handshake.unwanted))
        if self._handshake.subscriptions:
            self._phase = SUBSCRIBING
            self._subscribe_id = self._outgoing.free_packet_id()
            self._write(subscribe_packet(self._subscribe_id, self._handshake.subscriptions))
        else:
            self._go_up()

    def _take_suback(self, packet: mqtt5.SubAckPacket) -> None:
        if packet.packet_id != self._subscribe_id or len(packet.reason_codes) != len(self._handshake.subscriptions):
            self._against_protocol("an answer that does not fit our SUBSCRIBE")
            return
        refusals = v5_reasons.suback_refusals(self._handshake, packet, self._abilities.most_qos)
        for subscription, error in refusals:
            if subscription.required:
                self._end(error, _Reason.NORMAL_DISCONNECTION)
                return
        for subscription, error in refusals:
            extra = {"event": "mqtt_subscription_refused", "topic_filter": subscription.topic_filter}
            _log.warning("%s; the connection is used all the same", error, extra=extra)
        self._go_up()

    def _take_unsuback(self, packet: mqtt5.UnsubAckPacket) -> None:
        codes = [int(code) for code in packet.reason_codes]
        if self._take_given_up(packet.packet_id, codes):
            return
        if self._phase is UP and self.farewell.take(packet.packet_id, codes):
            self._unsubscribe_when_due()
        else:
            self._against_protocol("an answer that does not fit our UNSUBSCRIBE")

    def _go_up(self) -> None:
        self._phase = UP
        if not self.up.done():
            self.up.set_result(None)
        self._publish(self._outgoing.first())
        self._owner.on_up(self, session_present=self._session_present)
        self._unsubscribe_when_due()

    # Sending.

    def _write(self, data: bytes) -> None:
        self._keep_alive.sent()
        self._transport.write(data)

    def _publish(self, packets: list[bytes]) -> None:
        if packets:
            self._write(b"".join(packets))
        if self._outgoing.answers:
            self._loop.call_soon(self._tell_answers)

    def _tell_answers(self) -> None:
        answers, self._outgoing.answers = self._outgoing.answers, []
        if answers and self._phase is UP:  # else `on_down` speaks for them
            self._owner.on_acks(answers)

    def _unsubscribe_when_due(self) -> None:
        if self._phase is UP and self.farewell.is_due:
            self._outgoing.reserved_id = packet_id = self._outgoing.free_packet_id()
            self.farewell.ask(packet_id)
            filters = [subscription.topic_filter for subscription in self._handshake.subscriptions]
            self._write(unsubscribe_packet(packet_id, filters))

    def _ping(self) -> None:
        self._write(_PINGREQ)

    # Ending.

    def _give_up(self, text: str) -> None:
        self._transport.abort()
        self._end(Unavailable(self._handshake.address, text))

    def _against_protocol(self, text: str, reason_code: _Reason = _Reason.PROTOCOL_ERROR) -> None:
        self._end(Unavailable(self._handshake.address, f"the broker sent {text}"), reason_code)

    def _end(self, error: UplinkError, reason_code: _Reason | None = None) -> None:
        """End the connection, once; `reason_code` is what DISCONNECT says, None: nothing is said."""
        if self._phase is ENDED:
            return
        if self._phase is not UP:
            self._messages.clear()  # the owner never heard of this connection
        self._phase = ENDED
        self._keep_alive.stop()
        if reason_code is not None:
            session_expiry_s = 0 if self.farewell.is_complete else None  # None: as CONNECT said
            disconnect = mqtt5.DisconnectPacket(reason_code=reason_code, session_expiry_interval=session_expiry_s)
            self._transport.write(disconnect.write())
        self._transport.close()
        for future in (self.up, self.ended):
            if not future.done():
                future.set_result(error)
