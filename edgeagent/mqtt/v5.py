"""The MQTT 5 engine: one connection as an `asyncio.Protocol`, on the codec `mqtt5`."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Sequence
from typing import cast

import mqtt5

from edgeagent.errors import Unavailable, UplinkError
from edgeagent.links.failures import connection_failure
from edgeagent.mqtt import reasons, v5_reasons
from edgeagent.mqtt.handshake import LARGEST_PACKET_BYTES, Handshake
from edgeagent.mqtt.keepalive import KeepAlive
from edgeagent.mqtt.limits import BrokerLimits
from edgeagent.mqtt.link_driver import MqttLinkDriver
from edgeagent.mqtt.link_state import CONNECTING, ENDED, SUBSCRIBING, UP, ProtocolFault
from edgeagent.mqtt.packets import (
    PUBACK,
    PUBCOMP,
    PUBREC,
    PacketReader,
    PubackRun,
    Received,
    RefusedAnswer,
    message_from,
    puback_packets,
    subscribe_packet,
    unsubscribe_packet,
)
from edgeagent.mqtt.publishing import Publishing
from edgeagent.mqtt.reason_codes import SESSION_TAKEN_OVER, SUCCESS
from edgeagent.ports.link import Abilities, Ack, LinkOwner, Publication

_EXACTLY_ONCE = mqtt5.QoS.EXACTLY_ONCE
_PINGREQ = mqtt5.PingReqPacket().write()

_log = logging.getLogger(__name__)

# Numbers the connections of this process, so that an acknowledgement can never reach another one.
_connection_numbers = itertools.count(1)


class V5Link(MqttLinkDriver, asyncio.Protocol):
    """One MQTT 5 connection. Build a new one for each attempt.

    It owns the socket, the keep-alive, and the publications (`Publishing`). After the connection has ended it must
    never write anything; it ignores what is received, and `room` is 0.

    Args:
        owner, handshake, loop: see `MqttLinkDriver`.
        connect: the CONNECT packet for the handshake; separate, because it holds the password.
    """

    def __init__(self, owner: LinkOwner, handshake: Handshake, connect: bytes, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(owner, handshake, next(_connection_numbers), loop)
        self._connect = connect
        self._transport: asyncio.Transport
        self._reader = PacketReader(handshake.max_packet_bytes)
        self._is_writing_paused = False
        self._publishing = Publishing(handshake.qos2, self._mark)
        self._subscribe_id = 0
        self._keep_alive = KeepAlive(loop, self._ping, self._give_up)

    # Called by the owner.

    @property
    def room(self) -> int:
        """See `Link.room`."""
        if self._state.phase is not UP or self._is_writing_paused:
            return 0
        return self._publishing.room

    @property
    def max_packet_bytes(self) -> int:
        """See `Link.max_packet_bytes`."""
        return self._publishing.limits.max_packet_bytes

    @property
    def carried(self) -> frozenset[int]:
        """See `Link.carried`."""
        return self._publishing.carried

    def publish(self, publications: Sequence[Publication]) -> None:
        """See `Link.publish`."""
        if self._state.phase is UP:
            self._publish(self._publishing.packets(publications))
            self._read_or_not()

    # Called by the session.

    def close(self) -> None:
        """See `MqttLinkDriver.close`."""
        self._state.gave_up = self._state.phase is CONNECTING
        said = None if self._state.gave_up else SUCCESS
        self._end(Unavailable(self._handshake.address, "we closed the connection"), said)

    def abort(self) -> None:
        """See `MqttLinkDriver.abort`."""
        self._give_up("we aborted the connection")

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send CONNECT."""
        self._transport = cast("asyncio.Transport", transport)
        self._write(self._connect)

    def data_received(self, data: bytes) -> None:
        """Process all complete packets, then call the owner."""
        state = self._state
        if state.phase is ENDED:
            return
        self._keep_alive.received()
        packets, fault = self._reader.take(data)
        for packet in packets:
            if type(packet) is PubackRun:
                self._take_successes(packet.packet_ids)
            elif type(packet) is mqtt5.PublishPacket:
                message = message_from(packet, state.receipts)
                wrong = state.take(message, exactly_once=packet.qos == _EXACTLY_ONCE)
                if wrong is not None:
                    self._against_protocol(wrong)
            else:
                self._take_other(packet)
            if state.phase is ENDED:
                break
        if fault is not None:
            self._against_protocol(fault)
        if self._publishing.replies and state.phase is not ENDED:
            self._write(b"".join(self._publishing.replies))
            self._publishing.replies.clear()
        if state.acks and state.phase is UP:  # they made room
            self._publish(self._publishing.again())
        self._call_owner()

    def pause_writing(self) -> None:
        """The socket takes no more: there is no room."""
        self._is_writing_paused = True

    def resume_writing(self) -> None:
        """The socket takes more again."""
        self._is_writing_paused = False
        if self._state.phase is UP:
            self._owner.on_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        address, is_connecting = self._handshake.address, self._state.phase is CONNECTING
        self.lost.set_result(None)
        if exc is not None and not (is_connecting and isinstance(exc, ConnectionError)):
            self._end(connection_failure(address, exc))
            return
        # Mosquitto 2.0 gives no reason, neither when it stops nor when another client takes the session.
        self._end(reasons.closed_by_broker(self._handshake, "5", connecting=is_connecting))

    # Receiving.

    def _read_or_not(self) -> None:
        paused = self._state.must_not_read(is_waiting_for_acks=bool(self._publishing.tokens))
        if paused != self._keep_alive.is_reading_paused and self._state.phase is not ENDED:
            self._keep_alive.pause_reading(paused=paused)
            (self._transport.pause_reading if paused else self._transport.resume_reading)()

    def _take_successes(self, packet_ids: Sequence[int]) -> None:
        take, acks = self._publishing.tokens.pop, self._state.acks
        for packet_id in packet_ids:
            token = take(packet_id, None)
            if token is None:
                self._not_in_flight(packet_id)
                return
            acks.append(Ack(token))

    def _take_answer(self, kind: int, packet_id: int, reason_code: int, reason: str | None) -> None:
        if self._state.phase is CONNECTING:
            self._not_in_flight(packet_id)
            return
        try:
            ack = self._publishing.answered(kind, packet_id, reason_code, reason or "")
        except KeyError:
            self._not_in_flight(packet_id)
        else:
            if ack is not None:
                self._state.acks.append(ack)

    def _not_in_flight(self, packet_id: int) -> None:
        text = f"an acknowledgement of packet id {packet_id}, which is not in flight"
        self._against_protocol(ProtocolFault(text))

    def _take_other(self, packet: Received) -> None:
        phase = self._state.phase
        if isinstance(packet, mqtt5.PingRespPacket) and phase is not CONNECTING:
            return
        if isinstance(packet, RefusedAnswer):
            self._take_answer(packet.kind, packet.packet_id, packet.reason_code, None)
        elif isinstance(packet, mqtt5.PubAckPacket):
            self._take_answer(PUBACK, packet.packet_id, int(packet.reason_code), packet.reason_str)
        elif isinstance(packet, (mqtt5.PubRecPacket, mqtt5.PubCompPacket)) and self._handshake.qos2 is not None:
            kind = PUBREC if isinstance(packet, mqtt5.PubRecPacket) else PUBCOMP
            self._take_answer(kind, packet.packet_id, int(packet.reason_code), packet.reason_str)
        elif isinstance(packet, mqtt5.ConnAckPacket) and phase is CONNECTING:
            self._take_connack(packet)
        elif isinstance(packet, mqtt5.SubAckPacket) and phase is SUBSCRIBING:
            self._take_suback(packet)
        elif isinstance(packet, mqtt5.UnsubAckPacket) and phase is not CONNECTING:
            self._take_unsuback(packet.packet_id, [int(code) for code in packet.reason_codes])
        elif isinstance(packet, mqtt5.DisconnectPacket):
            self._state.taken_over = int(packet.reason_code) == SESSION_TAKEN_OVER
            self._end(v5_reasons.disconnect_error(self._handshake, packet))
        else:
            name = type(packet).__name__.removesuffix("Packet").upper()
            self._against_protocol(ProtocolFault(f"an unexpected {name}"))

    def _take_connack(self, packet: mqtt5.ConnAckPacket) -> None:
        self._state.refused_with = int(packet.reason_code)
        if error := v5_reasons.connack_error(self._handshake, packet):
            self._end(error, None if int(packet.reason_code) else SUCCESS)
            return
        if packet.assigned_client_id:
            extra = {"event": "mqtt_client_id_assigned", "assigned": packet.assigned_client_id}
            text = "the broker assigned the client id %s instead of %s: its sessions will not be found again"
            _log.warning(text, packet.assigned_client_id, self._handshake.client_id, extra=extra)
        abilities = Abilities(packet.retain_available, int(packet.max_qos))
        max_packet_bytes = min(packet.max_packet_size or LARGEST_PACKET_BYTES, LARGEST_PACKET_BYTES)
        limits = BrokerLimits(packet.receive_max, max_packet_bytes, packet.topic_alias_max, abilities)
        self._publishing.begin(limits, session_present=packet.session_present)
        # 0 means that the broker does not watch; our own period still detects a dead connection.
        self._keep_alive.start(packet.server_keep_alive or self._handshake.keepalive_s)
        self._accepted(session_present=packet.session_present, abilities=abilities)
        if self._handshake.subscriptions:
            self._subscribe_id = self._publishing.free_packet_id()
            self._write(subscribe_packet(self._subscribe_id, self._handshake.subscriptions))
        else:
            self._go_up()

    def _take_suback(self, packet: mqtt5.SubAckPacket) -> None:
        is_ours = packet.packet_id == self._subscribe_id
        self._take_granted([int(code) for code in packet.reason_codes] if is_ours else [], packet.reason_str)

    # Sending.

    def _write(self, data: bytes) -> None:
        self._keep_alive.sent()
        self._transport.write(data)

    def _begin_publishing(self) -> None:
        self._publish(self._publishing.first())

    def _publish(self, packets: list[bytes]) -> None:
        if packets:
            self._write(b"".join(packets))
        if self._publishing.answers:
            answers, self._publishing.answers = self._publishing.answers, []
            self._ack_later(answers)

    def _write_pubacks(self, packet_ids: list[int]) -> None:
        self._write(puback_packets(packet_ids))

    def _write_unsubscribe(self, topic_filters: Sequence[str]) -> int:
        self._publishing.reserved_id = packet_id = self._publishing.free_packet_id()
        self._write(unsubscribe_packet(packet_id, topic_filters))
        return packet_id

    def _ping(self) -> None:
        self._write(_PINGREQ)

    # Ending.

    def _give_up(self, text: str) -> None:
        self._transport.abort()
        self._end(Unavailable(self._handshake.address, text))

    def _against_protocol(self, fault: ProtocolFault) -> None:
        self._end(Unavailable(self._handshake.address, f"the broker sent {fault.text}"), fault.reason_code)

    def _disconnect(self, error: UplinkError, reason_code: int) -> None:
        self._end(error, reason_code)

    def _end(self, error: UplinkError, reason_code: int | None = None) -> None:
        """End the connection, once; DISCONNECT says `reason_code`, None: no DISCONNECT is sent."""
        if not self._finish(error):
            return
        self._keep_alive.stop()
        if reason_code is not None:
            session_expiry_s = 0 if self.is_emptied else None  # None: as CONNECT said
            disconnect = mqtt5.DisconnectPacket(
                reason_code=mqtt5.DisconnectReasonCode(reason_code), session_expiry_interval=session_expiry_s
            )
            self._transport.write(disconnect.write())
        self._transport.close()
