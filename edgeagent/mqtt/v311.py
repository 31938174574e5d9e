"""The engine on `aiomqtt`: MQTT 3.1.1, and MQTT 5 where `v5` does not go (`engines.choose`).

MQTT 3.1.1 promises less than MQTT 5: it has no reason codes, so a refused publication seems to be delivered; no receive
maximum, so the limit is ours; and no way to end a session with a DISCONNECT, so an emptied one stays with the broker,
but without subscriptions nothing gets into it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.properties import Properties

from edgeagent.errors import Denied, Unavailable, UplinkError
from edgeagent.links.failures import connection_failure
from edgeagent.mqtt import reasons, v311_packets, v311_reasons
from edgeagent.mqtt.handshake import LARGEST_PACKET_BYTES, Handshake
from edgeagent.mqtt.limits import BrokerLimits
from edgeagent.mqtt.link_driver import MqttLinkDriver
from edgeagent.mqtt.link_state import CONNECTING, ENDED, UP, ProtocolFault
from edgeagent.mqtt.reason_codes import MALFORMED, PACKET_TOO_LARGE, SESSION_TAKEN_OVER, answer, too_large
from edgeagent.mqtt.v311_client import AiomqttClient
from edgeagent.ports.link import Abilities, Ack, LinkOwner, Publication
from edgeagent.wire import topics

# With more than this many bytes waiting to be written, there is no room.
_WRITE_MAX_BYTES = 1 << 16
_HIGHEST_QOS = 1

# Numbers the connections of this process, so that an acknowledgement can never reach another one. Negative, because
# those of `v5` are positive.
_connection_numbers = itertools.count(-1, -1)


class V311Link(MqttLinkDriver):
    """One connection. Build a new one for each attempt, and pass it an `AiomqttClient` with `start`.

    It owns the client, and the tokens of publications that wait for their PUBACK. The paho client below must never hold
    a message that it has not sent, nor reconnect.

    Args:
        owner, handshake, loop: see `MqttLinkDriver`.
        version: of MQTT: "3.1.1" or "5".
        max_inflight: how many publications at QoS 1 may be unacknowledged.
    """

    def __init__(
        self,
        owner: LinkOwner,
        handshake: Handshake,
        *,
        version: str,
        max_inflight: int,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(owner, handshake, next(_connection_numbers), loop)
        self._version = version
        self._limits = BrokerLimits(max_inflight, abilities=self._state.abilities)
        self._client: AiomqttClient
        self._run: asyncio.Task[None] | None = None
        self._unwritten_bytes = 0
        self._tokens: dict[int, int] = {}  # by packet id, from PUBLISH to PUBACK
        self._retained: set[int] = set()  # the packet ids of those that are retained

    # Called by the owner.

    @property
    def room(self) -> int:
        """See `Link.room`."""
        if self._state.phase is not UP or self._unwritten_bytes > _WRITE_MAX_BYTES:
            return 0
        return self._limits.receive_max - len(self._tokens)

    @property
    def max_packet_bytes(self) -> int:
        """See `Link.max_packet_bytes`; a broker of MQTT 3.1.1 does not say it."""
        return self._limits.max_packet_bytes

    @property
    def carried(self) -> frozenset[int]:
        """See `Link.carried`; nothing is published at QoS 2."""
        return frozenset()

    def publish(self, publications: Sequence[Publication]) -> None:
        """See `Link.publish`; at QoS 0 and 1."""
        answers = []
        for publication in publications:
            if self._state.phase is not UP:
                break
            if (ack := self._publish(publication)) is not None:
                answers.append(ack)
        self._ack_later(answers)
        self._read_or_not()

    # Called by the session.

    def start(self, client: AiomqttClient) -> None:
        """Begin to connect with this client, which was built for this link."""
        self._client = client
        self._run = self._loop.create_task(self._connect())

    def close(self) -> None:
        """See `MqttLinkDriver.close`."""
        text = "we closed the connection"
        if self._state.phase is CONNECTING:
            self._give_up(text)
        elif self._state.phase is not ENDED:
            self._end(Unavailable(self._handshake.address, text))
            ends_session = self._version == "5" and self.is_emptied
            self._client.paho.disconnect(properties=v311_packets.last_properties() if ends_session else None)

    def abort(self) -> None:
        """See `MqttLinkDriver.abort`."""
        self._give_up("we aborted the connection")

    # Connecting.

    async def _connect(self) -> None:
        """Connect, from CONNECT to `on_up`; `_end` cancels it."""
        address = self._handshake.address
        try:
            await self._client.__aenter__()  # never left: we close the socket, and paho is used only once
            codes = list[int]()
            if subscriptions := self._handshake.subscriptions:
                wanted = v311_packets.subscribe_list(subscriptions, v5=self._version == "5")
                codes = await self._client.subscribe_to(wanted)
        except aiomqtt.MqttError as exc:
            cause = exc.__context__
            self._fail(
                connection_failure(address, cause) if isinstance(cause, OSError) else Unavailable(address, str(exc))
            )
        except UnicodeError as exc:  # the host is not a name, such as "a..b"
            self._fail(connection_failure(address, exc))
        except v311_packets.FORMAT_ERRORS as exc:
            text = f"no CONNECT can be made of client id, user name, password and will ({exc})"
            self._fail(Denied(address, text))
        except LookupError:
            self._fail(Unavailable(address, "it does not speak WebSocket here"))
        else:
            self._take_granted(codes)
            self._call_owner()

    # Called by the client.

    def on_connack(self, reason_code: int, properties: Properties | None, *, session_present: bool) -> None:
        """See `v311_client.ClientListener`."""
        if self._state.phase is not CONNECTING:
            self._against_protocol(ProtocolFault("an unexpected CONNACK"))
        elif reason_code:
            said = getattr(properties, "ReasonString", "")
            self._state.refused_with = reason_code
            self._end(v311_reasons.connack_error(self._handshake.address, self._version, reason_code, said))
        elif error := reasons.lacking(self._handshake, getattr(properties, "MaximumQoS", reasons.EXACTLY_ONCE)):
            self._fail(error)
        else:
            if self._version == "5":
                self._take_limits(properties)
            self._accepted(session_present=session_present, abilities=self._limits.abilities)

    def _take_limits(self, properties: Properties | None) -> None:
        ours = self._limits.receive_max
        self._limits = BrokerLimits(
            min(ours, getattr(properties, "ReceiveMaximum", ours)),
            min(getattr(properties, "MaximumPacketSize", LARGEST_PACKET_BYTES), LARGEST_PACKET_BYTES),
            abilities=Abilities(
                bool(getattr(properties, "RetainAvailable", 1)),
                getattr(properties, "MaximumQoS", reasons.EXACTLY_ONCE),
            ),
        )
        # 0 means that the broker does not watch; our own period still detects a dead connection.
        self._client.set_keep_alive(getattr(properties, "ServerKeepAlive", 0) or self._handshake.keepalive_s)

    def on_puback(self, packet_id: int, reason_code: int, reason: str) -> None:
        """See `v311_client.ClientListener`."""
        token = self._tokens.pop(packet_id, None)
        self._retained.discard(packet_id)
        if token is not None and self._state.phase is not ENDED:
            self._state.acks.append(answer(token, reason_code, reason))

    def on_message(self, packet: paho.MQTTMessage) -> None:
        """See `v311_client.ClientListener`."""
        state = self._state
        if state.phase is ENDED:  # it lasts until our DISCONNECT is written
            return
        try:
            message = v311_packets.message_from(packet, state.receipts)
        except ValueError:
            self._against_protocol(ProtocolFault("a topic that is not UTF-8"))
            return
        is_unwanted = message.retain and not self._wants_retained(message.topic)
        fault = state.take(message, exactly_once=packet.qos > _HIGHEST_QOS, is_unwanted=is_unwanted)
        if fault is not None:
            self._against_protocol(fault)
        elif is_unwanted:
            self.acknowledge([message])

    def _wants_retained(self, topic: str) -> bool:
        """Whether the owner gets a retained message. MQTT 3.1.1 cannot refuse them: others are dropped."""
        return any(
            subscription.retained and topics.matches(subscription.topic_filter, topic)
            for subscription in self._handshake.subscriptions
        )

    def on_unsuback(self, packet_id: int, reason_codes: list[int]) -> None:
        """See `v311_client.ClientListener`."""
        if self._state.phase is not ENDED:
            codes = reason_codes if self._version == "5" else [0] * len(self._handshake.subscriptions)
            self._take_unsuback(packet_id, codes)

    def on_read(self) -> None:
        """See `v311_client.ClientListener`."""
        self._call_owner()

    def on_drained(self) -> None:
        """See `v311_client.ClientListener`."""
        had_room = self._unwritten_bytes <= _WRITE_MAX_BYTES
        self._unwritten_bytes = 0
        if self._state.phase is UP and not had_room:
            self._owner.on_room()

    def on_disconnect(self, reason_code: int, reason: str, *, by_broker: bool) -> None:
        """See `v311_client.ClientListener`."""
        state = self._state
        if state.phase is ENDED:
            return
        if by_broker:
            state.taken_over = reason_code == SESSION_TAKEN_OVER
            self._end(reasons.ended_by_broker(self._handshake, reason_code, reason))
        else:
            is_connecting, guard = state.phase is CONNECTING, self._client.guard
            state.unanswered = is_connecting and guard is not None and not guard.fault
            state.over_retained = state.phase is UP and bool(self._retained)
            self._end(v311_reasons.ending(self._handshake, self._version, guard, reason_code, connecting=is_connecting))

    def on_closed(self) -> None:
        """See `v311_client.ClientListener`."""
        if not self.lost.done():
            self.lost.set_result(None)

    def _read_or_not(self) -> None:
        paused = self._state.must_not_read(is_waiting_for_acks=bool(self._tokens))
        if paused != self._client.is_reading_paused and self._state.phase is not ENDED:
            self._client.pause_reading(paused=paused)

    # Sending.

    def _begin_publishing(self) -> None:
        """Nothing to continue: nothing is published at QoS 2."""

    def _publish(self, publication: Publication) -> Ack | None:
        """Write a publication; returns the answer to one that no broker will answer."""
        token, limits = publication.token, self._limits
        room = limits.receive_max - len(self._tokens)
        if reason_code := limits.obstacle(publication, room=room, highest_qos=_HIGHEST_QOS):
            return answer(token, reason_code)
        try:
            properties = v311_packets.publish_properties(publication, self._mark) if self._version == "5" else None
            size_bytes = v311_packets.packet_bytes(publication, properties)
            if size_bytes > limits.max_packet_bytes:
                return answer(token, PACKET_TOO_LARGE, too_large(size_bytes, limits.max_packet_bytes))
            qos = min(publication.qos, limits.abilities.most_qos)
            arguments = (publication.topic, publication.payload, qos, publication.retain, properties)
            while True:
                info = self._client.paho.publish(*arguments)
                if info.rc != paho.MQTT_ERR_QUEUE_SIZE:  # paho came round to a packet id that is still in flight
                    break
        except v311_packets.FORMAT_ERRORS as exc:
            return answer(token, MALFORMED, str(exc))
        self._unwritten_bytes += size_bytes
        if qos:
            self._tokens[info.mid] = token
            if publication.retain:
                self._retained.add(info.mid)
        return Ack(token) if publication.qos and not qos else None  # taken at QoS 0 only: the broker does not answer

    def _write_pubacks(self, packet_ids: list[int]) -> None:
        for packet_id in packet_ids:
            self._client.paho.ack(packet_id, 1)

    def _write_unsubscribe(self, topic_filters: Sequence[str]) -> int:
        return self._client.unsubscribe_from([*topic_filters])

    # Ending.

    def _fail(self, error: UplinkError) -> None:
        self._end(error)
        self._client.abandon()
        self.on_closed()  # also if there was no socket yet

    def _give_up(self, text: str) -> None:
        self._fail(Unavailable(self._handshake.address, text))

    def _against_protocol(self, fault: ProtocolFault) -> None:
        self._give_up(f"the broker sent {fault.text}")

    def _disconnect(self, error: UplinkError, reason_code: int) -> None:
        del reason_code  # MQTT 3.1.1 cannot send it
        self._end(error)
        self._client.paho.disconnect()  # after what is written

    def _end(self, error: UplinkError) -> None:
        """Mark the connection as ended, once; the socket is closed elsewhere."""
        if self._finish(error) and self._run is not None and self._run is not asyncio.current_task(self._loop):
            self._run.cancel()
