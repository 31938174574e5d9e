"""What a client that was let in and the listener say to each other, until one of them ends it: pure, one connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from edgeagent.listener.codec import Codec
from edgeagent.listener.flows import MOST_UNRELEASED, Inbound, Outbound, Sent
from edgeagent.listener.framing import (
    MOST_QOS,
    PINGRESP_PACKET,
    PUBCOMP,
    PUBREL,
    MalformedPacket,
)
from edgeagent.listener.packets import (
    MQTT_5,
    ConnectionEnded,
    Disconnect,
    Input,
    Packet,
    PacketReleased,
    PingReq,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    Subscribe,
    TopicSubscription,
    Unsubscribe,
)
from edgeagent.listener.reasons import Reason
from edgeagent.listener.subscriptions import MAX_COST_OF_ONE

# Of one SUBSCRIBE or UNSUBSCRIBE: each is some work, and all of a packet is done in one turn of the loop. More levels
# than this one client may have in all its subscriptions.
_MOST_FILTERS: Final = 500
_MOST_LEVELS: Final = MAX_COST_OF_ONE


class Dialogue:
    """Between CONNACK and the end.

    Args:
        codec: of the client's version.
        inbound, outbound: what is under way, which the session keeps.
        out: takes the bytes for the client.
        receive_maximum: how many messages above QoS 0 the client may have on their way to us.
        max_packet_bytes: the largest packet that it takes.
        session_expiry_s: what its CONNECT said.
    """

    __slots__ = (
        *("_max_packet_bytes", "_out", "_receive_maximum", "_session_expiry_s"),
        *("codec", "inbound", "outbound"),
    )

    def __init__(
        self,
        codec: Codec,
        inbound: Inbound,
        outbound: Outbound,
        out: list[bytes],
        receive_maximum: int,
        max_packet_bytes: int,
        session_expiry_s: int,
    ) -> None:
        self.codec = codec
        self.inbound = inbound
        self.outbound = outbound
        self._out = out
        self._receive_maximum = receive_maximum
        self._max_packet_bytes = max_packet_bytes
        self._session_expiry_s = session_expiry_s

    @property
    def is_ahead(self) -> bool:
        """Whether not to read on: a client before MQTT 5 has as much unanswered as one of MQTT 5 may have."""
        return self.inbound.unanswered >= self._receive_maximum and self.codec.version < MQTT_5

    def begin(self, client_receive_maximum: int, now_s: float) -> None:
        """Go on where an earlier connection ended."""
        self.inbound.begin()
        if released := self.outbound.begin(client_receive_maximum):
            self._out.append(self.codec.answers(PUBREL, released, Reason.SUCCESS))
        self._send_again(now_s)

    def take(self, packets: list[Packet], inputs: list[Input], now_s: float) -> None:
        """Do what these packets ask for, and append what the broker has to know.

        Raises:
            Malformed: one of them is against the protocol; what came before it is done.
        """
        append, inbound = inputs.append, self.inbound
        # Whether the client is so far from its limit that none of these needs to be held against it.
        has_room = len(inbound) + len(packets) <= self._receive_maximum
        for packet in packets:
            if type(packet) is Publish:
                if not packet.qos or (
                    inbound.take(packet.packet_id, packet.qos, duplicate=packet.duplicate)
                    if has_room
                    else self._is_new(packet)
                ):
                    append(packet)
            elif type(packet) is Disconnect:
                append(self._goodbye(packet))
                return
            else:
                self._handle(packet, append, now_s)

    def _is_new(self, message: Publish) -> bool:
        """Whether a message above QoS 0 did not come before; its answer leaves later."""
        inbound, receive_maximum = self.inbound, self._receive_maximum
        is_new = inbound.take(message.packet_id, message.qos, duplicate=message.duplicate)
        if len(inbound) > receive_maximum:
            if self.codec.version == MQTT_5:
                text = f"more than {receive_maximum} messages before the first of them was acknowledged"
                raise MalformedPacket(Reason.RECEIVE_MAXIMUM_EXCEEDED, text)
            if message.qos == MOST_QOS and len(inbound) - inbound.unanswered > MOST_UNRELEASED:
                text = f"more than {MOST_UNRELEASED} messages at QoS 2 without their PUBREL"
                raise MalformedPacket(Reason.QUOTA_EXCEEDED, text)
        return is_new

    def _handle(self, packet: Packet, append: Callable[[Input], None], now_s: float) -> None:
        match packet:
            case PubAck():
                self.outbound.acknowledged(packet.packet_id)
                self._send_again(now_s)
            case Subscribe(subscriptions=filters) | Unsubscribe(topic_filters=filters):
                if len(filters) > _MOST_FILTERS:
                    raise MalformedPacket(
                        Reason.QUOTA_EXCEEDED, f"{len(filters)} filters in one packet, where {_MOST_FILTERS} are taken"
                    )
                if sum([_levels(each) for each in filters]) > _MOST_LEVELS:
                    raise MalformedPacket(
                        Reason.QUOTA_EXCEEDED, f"filters of more than {_MOST_LEVELS} levels in one packet"
                    )
                append(packet)
            case PingReq():
                self._out.append(PINGRESP_PACKET)
            case PubRec():
                is_known = self.outbound.received(packet.packet_id, packet.reason)
                if is_known is not None:
                    reason = Reason.SUCCESS if is_known else Reason.PACKET_ID_NOT_FOUND
                    self._out.append(self.codec.answers(PUBREL, (packet.packet_id,), reason))
                self._send_again(now_s)
            case PubRel():
                append(PacketReleased(packet.packet_id, is_known=self.inbound.release(packet.packet_id)))
            case PubComp():
                self.outbound.completed(packet.packet_id)
                self._send_again(now_s)
            case _:
                raise MalformedPacket(Reason.PROTOCOL_ERROR, f"an unexpected {type(packet).__name__}")

    def _goodbye(self, packet: Disconnect) -> ConnectionEnded:
        if packet.session_expiry_s and not self._session_expiry_s:
            raise MalformedPacket(Reason.PROTOCOL_ERROR, "a DISCONNECT that keeps a session which was to end with it")
        text = "the client disconnected" + (f" (0x{packet.reason:02x})" if packet.reason else "")
        is_normal = packet.reason == Reason.SUCCESS
        return ConnectionEnded(
            packet.reason,
            text,
            publishes_will=not is_normal,
            is_by_client=True,
            session_expiry_s=packet.session_expiry_s,
        )

    def _send_again(self, now_s: float) -> None:
        """Send again what is due, marked as such, and with less time to live."""
        outbound = self.outbound
        for packet_id, sent in outbound.again() if outbound.has_more else ():
            message = sent.message
            if message.expiry_s is not None:
                left_s = message.expiry_s - int(now_s - sent.sent_s)
                message = msgspec.structs.replace(message, expiry_s=max(left_s, 1))
            data = self.codec.publish(message, sent.qos, sent.retain, packet_id, True, sent.subscription_ids)
            if not self.send(data):
                outbound.give_up(packet_id)

    def publish(
        self, message: Publish, qos: int, now_s: float, retain: bool, subscription_ids: tuple[int, ...]
    ) -> bool:
        """As `Connection.publish`."""
        packet_id = self.outbound.next_packet_id() if qos else 0
        try:
            data = self.codec.publish(message, qos, retain, packet_id, False, subscription_ids)
        except ValueError:
            return False
        if not self.send(data):
            return False
        if qos:
            self.outbound.add(packet_id, Sent(message, qos, retain, subscription_ids, now_s))
        return True

    def acknowledge(self, packet_ids: Iterable[int], reason: int) -> None:
        """As `Connection.acknowledge`, while the connection is up."""
        self.inbound.answer(packet_ids, reason)
        self.send_answers()

    def complete(self, packet_id: int, reason: int) -> None:
        """As `Connection.complete`, while the connection is up."""
        self._out.append(self.codec.answers(PUBCOMP, (packet_id,), reason))

    def send_answers(self) -> None:
        """Write the answers that may leave by now."""
        for kind, reason, packet_ids in self.inbound.leaving():
            self._out.append(self.codec.answers(kind, packet_ids, reason))

    def send(self, data: bytes) -> bool:
        """Send a packet, unless the client takes none so large."""
        if len(data) > self._max_packet_bytes:
            return False
        self._out.append(data)
        return True


def _levels(asked: TopicSubscription | str) -> int:
    topic_filter = asked if isinstance(asked, str) else asked.topic_filter
    return topic_filter.count("/") + 1
