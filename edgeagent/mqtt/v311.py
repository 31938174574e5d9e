"""The engine on `aiomqtt`: MQTT 3.1.1, and MQTT 5 where `v5` does not go (`engines.choose`).

It keeps the promises of `link` as `v5` does. MQTT 3.1.1 itself promises less: no reason codes, so a refused publish
looks like a delivered one; no receive maximum, so the window is ours; no way to end a session with a DISCONNECT, so an
emptied one stays with the broker, and without subscriptions nothing comes into it.

Invariants, beside those of `v5`:

* paho holds no message that it has not sent, and this client of it never connects again.
* A packet id of paho's at QoS 1 stands in `_tokens` from its PUBLISH to its PUBACK.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.properties import Properties

from edgeagent.errors import Denied, Unavailable, UplinkError
from edgeagent.mqtt import reasons, v311_packets, v311_reasons
from edgeagent.mqtt.handshake import LARGEST_PACKET_BYTES, RECEIVE_MAX, Handshake
from edgeagent.mqtt.life import CONNECTING, EARLY_QOS0_MAX, ENDED, SUBSCRIBING, UP, Life
from edgeagent.mqtt.link import (
    MALFORMED,
    PACKET_TOO_LARGE,
    QOS_NOT_SUPPORTED,
    RECEIVE_MAXIMUM_EXCEEDED,
    RETAIN_NOT_SUPPORTED,
    SUCCESS,
    Abilities,
    Ack,
    LinkOwner,
    Message,
    Publication,
)
from edgeagent.mqtt.v311_client import Client
from edgeagent.wire import topics

# More than this waits to be written: no room until it is gone.
_WRITE_MAX_BYTES = 1 << 16

# Names a connection within this process, so that an acknowledgement can never reach another one. Negative: those of
# `v5` are positive.
_connection_numbers = itertools.count(-1, -1)


class V311Link(Life):
    """One connection; a `Link`. Build a new one for each connection, give it a `Client` with `start`.

    Args:
        owner, handshake, loop: as `Life`'s.
        version: of MQTT: "3.1.1" or "5".
        window: the most publications at QoS 1 that wait for the broker.
    """

    def __init__(
        self, owner: LinkOwner, handshake: Handshake, *, version: str, window: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(owner, handshake, next(_connection_numbers), loop)
        self._version = version
        self._window = window
        self._client: Client
        self._run: asyncio.Task[None] | None = None
        self._max_packet_bytes = LARGEST_PACKET_BYTES
        self._unwritten_bytes = 0
        self._tokens: dict[int, int] = {}
        self._retained: set[int] = set()  # the packet ids of those that are retained
        self._answers: list[Ack] = []

    # What the owner calls.

    @property
    def room(self) -> int:
        """See `Link.room`."""
        if self._phase is not UP or self._unwritten_bytes > _WRITE_MAX_BYTES:
            return 0
        return self._window - len(self._tokens)

    @property
    def max_packet_bytes(self) -> int:
        """See `Link.max_packet_bytes`; MQTT 3.1.1 does not tell it."""
        return self._max_packet_bytes

    @property
    def carried(self) -> frozenset[int]:
        """See `Link.carried`; nothing is published at QoS 2."""
        return frozenset()

    def publish(self, publications: Sequence[Publication]) -> None:
        """See `Link.publish`; at QoS 0 and 1."""
        for publication in publications:
            if self._phase is not UP:
                return
            self._publish(publication)
        self._read_while_not_full()

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """See `Link.acknowledge`."""
        if self._phase is ENDED:
            return
        for packet_id in self._held.acknowledge(
            [message for message in messages if message.connection == self.connection]
        ):
            self._client.paho.ack(packet_id, 1)
        self._read_while_not_full()
        if self._held.only_refused_are_left:
            text = "the broker sent more at once than it may; the rest comes on the next connection"
            self._end(Unavailable(self._handshake.address, text))
            self._client.paho.disconnect()  # behind the acknowledgements
        self._unsubscribe_when_due()

    # What the session calls.

    def start(self, client: Client) -> None:
        """Begin to connect with this client, which was built for this link."""
        self._client = client
        self._run = self._loop.create_task(self._connect())

    def unsubscribe(self) -> None:
        """Give up all subscriptions, as soon as the link is up; `farewell` tells when nothing is left to take."""
        self.farewell.begin()
        self._unsubscribe_when_due()

    def close(self) -> None:
        """End it gracefully: the broker discards the will, and over MQTT 5 the session, if the farewell is complete."""
        text = "we closed the connection"
        if self._phase in {SUBSCRIBING, UP}:
            self._end(Unavailable(self._handshake.address, text))
            ends_session = self._version == "5" and self.farewell.is_complete
            self._client.paho.disconnect(properties=v311_packets.last_properties() if ends_session else None)
        elif self._phase is CONNECTING:
            self._give_up(text)

    def abort(self) -> None:
        """End it at once and without a word: the broker publishes the will."""
        self._give_up("we aborted the connection")

    # Connecting.

    async def _connect(self) -> None:
        """From CONNECT to `on_up`; `_end` cancels it."""
        address = self._handshake.address
        try:
            await self._client.__aenter__()  # never left: the socket is ours to close, and paho is used once
            self._phase = SUBSCRIBING
            subscriptions = self._handshake.subscriptions
            if self._has_unwanted():
                self._unsubscribe_id = self._client.unsubscribe_from([*self._handshake.unwanted])
            if subscriptions:
                granted = await self._client.subscribe(
                    v311_packets.subscribe_list(subscriptions, v5=self._version == "5")
                )
                codes = [code if isinstance(code, int) else code.value for code in granted]
                if error := v311_reasons.suback_error(self._handshake, codes, self._abilities.most_qos):
                    self._end(error)
                    self._client.paho.disconnect()
                    return
        except aiomqtt.MqttError as exc:
            cause = exc.__context__
            self._fail(
                reasons.connection_failure(address, cause)
                if isinstance(cause, OSError)
                else Unavailable(address, str(exc))
            )
        except UnicodeError as exc:  # a host that is no name, such as "a..b"
            self._fail(reasons.connection_failure(address, exc))
        except v311_packets.FORMAT_ERRORS as exc:
            text = f"no CONNECT can be made of client id, user name, password and will ({exc})"
            self._fail(Denied(address, text))
        except LookupError:
            self._fail(Unavailable(address, "it does not speak WebSocket here"))
        else:
            self._go_up()

    def _go_up(self) -> None:
        self._phase = UP
        if not self.up.done():
            self.up.set_result(None)
        self._owner.on_up(self, session_present=self._session_present)
        self._unsubscribe_when_due()
        self.on_read()

    # What the client tells.

    def on_connack(self, reason_code: int, properties: Properties | None, *, session_present: bool) -> None:
        """See `v311_client.Listener`."""
        if self._phase is not CONNECTING:
            self._against_protocol("an unexpected CONNACK")
        elif reason_code:
            said = getattr(properties, "ReasonString", "")
            self._refused_with = reason_code
            self._end(v311_reasons.connack_error(self._handshake.address, self._version, reason_code, said))
        elif error := reasons.lacking(self._handshake, getattr(properties, "MaximumQoS", reasons.EXACTLY_ONCE)):
            self._fail(error)
        else:
            self._session_present = session_present
            if self._version == "5":
                self._window = min(self._window, getattr(properties, "ReceiveMaximum", self._window))
                said_bytes = getattr(properties, "MaximumPacketSize", LARGEST_PACKET_BYTES)
                self._max_packet_bytes = min(said_bytes, LARGEST_PACKET_BYTES)
                most_qos = getattr(properties, "MaximumQoS", reasons.EXACTLY_ONCE)
                self._abilities = Abilities(bool(getattr(properties, "RetainAvailable", 1)), most_qos)
                # 0 means that the broker does not watch; our own period then still finds a dead connection.
                self._client.keep_alive(getattr(properties, "ServerKeepAlive", 0) or self._handshake.keepalive_s)

    def on_puback(self, packet_id: int, reason_code: int, reason: str) -> None:
        """See `v311_client.Listener`."""
        token = self._tokens.pop(packet_id, None)
        self._retained.discard(packet_id)
        if token is not None and self._phase is not ENDED:
            self._acks.append(Ack(token, reason_code, reason))

    def on_message(self, packet: paho.MQTTMessage) -> None:
        """See `v311_client.Listener`."""
        if self._phase is ENDED:  # until our DISCONNECT is written
            return
        try:
            message = v311_packets.message_from(packet, self.connection)
        except ValueError:
            self._against_protocol("a topic that is not UTF-8")
            return
        if self._phase is CONNECTING and not self._client.paho.is_connected():
            self._against_protocol("a message before it answered CONNECT")
        elif not message.topic:
            self._against_protocol("a topic alias, which was not offered")
        elif message.qos == 0 or self._hold(message):
            if message.retain and not self._wants_retained(message.topic):
                self.acknowledge([message])
            else:
                self._messages.append(message)

    def _hold(self, message: Message) -> bool:
        """Whether this message at QoS 1 is taken: then it waits for its acknowledgement."""
        if message.qos != 1:
            self._against_protocol("a message at QoS 2, which was not asked for")
        elif not message.packet_id or (message.packet_id in self._held.unacknowledged and not self._held.is_full):
            self._against_protocol(f"a message with packet id {message.packet_id}, which is 0 or in use")
        else:
            return self._held.take(message)
        return False

    def _wants_retained(self, topic: str) -> bool:
        """MQTT 3.1.1 cannot say that retained messages are not wanted: they are acknowledged and forgotten."""
        return any(
            subscription.retained and topics.matches(subscription.topic_filter, topic)
            for subscription in self._handshake.subscriptions
        )

    def on_unsuback(self, packet_id: int, reason_codes: list[int]) -> None:
        """See `v311_client.Listener`."""
        if self._take_given_up(packet_id, reason_codes if self._version == "5" else ()):
            return
        codes = reason_codes if self._version == "5" else [0] * len(self._handshake.subscriptions)
        if self.farewell.take(packet_id, codes):
            self._unsubscribe_when_due()
        else:
            self._against_protocol("an answer that does not fit our UNSUBSCRIBE")

    def on_read(self) -> None:
        """See `v311_client.Listener`."""
        if self._acks:
            acks, self._acks = self._acks, []
            self._owner.on_acks(acks)
        if self._phase in {UP, ENDED}:
            if self._messages:
                messages, self._messages = self._messages, []
                self._owner.on_messages(messages)
        elif len(self._messages) > RECEIVE_MAX + EARLY_QOS0_MAX:
            self._messages = [message for message in self._messages if message.qos]
        self._read_while_not_full()

    def _read_while_not_full(self) -> None:
        # While subscribing nothing can be acknowledged; what an owner that answers first waits for stands behind it.
        waits = self._phase is not UP or (self._handshake.answers_first and self._tokens)
        deaf = self._held.is_full and not waits
        if deaf != self._client.deaf and self._phase is not ENDED:
            self._client.listen(deaf=deaf)

    def on_drained(self) -> None:
        """See `v311_client.Listener`."""
        had_room = self._unwritten_bytes <= _WRITE_MAX_BYTES
        self._unwritten_bytes = 0
        if self._phase is UP and not had_room:
            self._owner.on_room()

    def on_disconnect(self, reason_code: int, reason: str, *, by_broker: bool) -> None:
        """See `v311_client.Listener`."""
        if by_broker:
            self.taken_over = reason_code == reasons.SESSION_TAKEN_OVER
            self._end(reasons.ended_by_broker(self._handshake, reason_code, reason))
        else:
            connecting = self._phase is CONNECTING
            guard = self._client.guard
            self._unanswered = connecting and guard is not None and not guard.fault
            self._over_retained = self._phase is UP and bool(self._retained)
            self._end(v311_reasons.ending(self._handshake, self._version, guard, reason_code, connecting=connecting))

    def on_closed(self) -> None:
        """See `v311_client.Listener`."""
        if not self.lost.done():
            self.lost.set_result(None)

    # Sending.

    def _publish(self, publication: Publication) -> None:
        try:
            properties = v311_packets.publish_properties(publication, self._mark) if self._version == "5" else None
            size_bytes = v311_packets.packet_bytes(publication, properties)
            if reason_code := self._obstacle(publication, size_bytes):
                self._answer(publication, reason_code, self._why(reason_code, size_bytes))
                return
            qos = min(publication.qos, self._abilities.most_qos)
            arguments = (publication.topic, publication.payload, qos, publication.retain, properties)
            while True:
                info = self._client.paho.publish(*arguments)
                if info.rc != paho.MQTT_ERR_QUEUE_SIZE:  # paho counted round to a packet id that is still in flight
                    break
        except v311_packets.FORMAT_ERRORS as exc:
            self._answer(publication, MALFORMED, str(exc))
            return
        self._unwritten_bytes += size_bytes
        if qos:
            self._tokens[info.mid] = publication.token
            if publication.retain:
                self._retained.add(info.mid)
        elif publication.qos:
            self._answer(publication, SUCCESS)

    def _obstacle(self, publication: Publication, size_bytes: int) -> int:
        """The reason code for what the broker would end the connection over, 0 when there is none."""
        if publication.qos > 1:
            return QOS_NOT_SUPPORTED
        if publication.qos and len(self._tokens) >= self._window:
            return RECEIVE_MAXIMUM_EXCEEDED
        if size_bytes > self._max_packet_bytes:
            return PACKET_TOO_LARGE
        return RETAIN_NOT_SUPPORTED if publication.retain and not self._abilities.retains else 0

    def _why(self, reason_code: int, size_bytes: int) -> str:
        return reasons.too_large(size_bytes, self._max_packet_bytes) if reason_code == PACKET_TOO_LARGE else ""

    def _answer(self, publication: Publication, reason_code: int, reason: str = "") -> None:
        if not self._answers:
            self._loop.call_soon(self._tell_answers)
        self._answers.append(Ack(publication.token, reason_code, reason))

    def _tell_answers(self) -> None:
        answers, self._answers = self._answers, []
        if self._phase is UP:  # else `on_down` speaks for them
            self._owner.on_acks(answers)

    def _unsubscribe_when_due(self) -> None:
        if self._phase is UP and self.farewell.is_due:
            filters = [subscription.topic_filter for subscription in self._handshake.subscriptions]
            self.farewell.ask(self._client.unsubscribe_from(filters))

    # Ending.

    def _fail(self, error: UplinkError) -> None:
        self._end(error)
        self._client.abandon()
        self.on_closed()  # also when there was no socket yet

    def _give_up(self, text: str) -> None:
        self._fail(Unavailable(self._handshake.address, text))

    def _against_protocol(self, text: str) -> None:
        self._give_up(f"the broker sent {text}")

    def _end(self, error: UplinkError) -> None:
        """The connection ended, once; the socket is another matter."""
        if self._phase is ENDED:
            return
        if self._phase is not UP:
            self._messages.clear()  # the owner never heard of this connection
        self._phase = ENDED
        if self._run is not None and self._run is not asyncio.current_task(self._loop):
            self._run.cancel()
        for future in (self.up, self.ended):
            if not future.done():
                future.set_result(error)
