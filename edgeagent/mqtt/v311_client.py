"""The `aiomqtt` client below `v311`, with the traps of its socket closed.

aiomqtt makes the connection in a thread, waits for the answers to CONNECT and SUBSCRIBE and looks after the keep-alive;
`paho` below it knows the packets. What is changed here:

* Reads are whole: paho asks for single bytes, and would be called once for each packet.
* A packet that is too large is refused when its length is known; paho would keep up to 256 MB.
* What a WebSocket takes only in part is kept; paho would forget the packet and break the stream.
* Bytes that no packet can be made of end the connection; aiomqtt would keep it and read on.
* Reading can be held up: a broker may send more than it is allowed to, and aiomqtt keeps all of it.
* A connection that nobody wants any more is closed while it is being made; paho leaves failed ones open.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any, Protocol

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgeagent.mqtt.link import MALFORMED
from edgeagent.mqtt.v311_packets import FORMAT_ERRORS, half_open_keepalive_s

_READ_BYTES = 1 << 16
# As much is read before others have their turn, when TLS holds more than the socket shows.
_READ_MAX_BYTES = 1 << 18

_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
# What paho raises over bytes that are no packet.
_PACKET_ERRORS = (*FORMAT_ERRORS, LookupError, TypeError, AttributeError)


class Listener(Protocol):
    """Who is told what the client hears; always in the loop's thread."""

    def on_connack(self, reason_code: int, properties: Properties | None, *, session_present: bool) -> None:
        """The broker answered CONNECT."""

    def on_puback(self, packet_id: int, reason_code: int, reason: str) -> None:
        """The broker answered a publication."""

    def on_message(self, packet: paho.MQTTMessage) -> None:
        """A message came."""

    def on_unsuback(self, packet_id: int, reason_codes: list[int]) -> None:
        """The broker answered UNSUBSCRIBE; without reason codes in MQTT 3.1.1."""

    def on_read(self) -> None:
        """Everything that one read brought has been told."""

    def on_drained(self) -> None:
        """Everything is written."""

    def on_disconnect(self, reason_code: int, reason: str, *, by_broker: bool) -> None:
        """The connection ended; `by_broker`: with a DISCONNECT of MQTT 5, which gave the reason."""

    def on_closed(self) -> None:
        """The socket is gone."""


class Guard:
    """Stands between paho and its socket.

    Attributes:
        error: what the socket raised, None while it has not.
        fault: what the broker sent that is not allowed, "" while it has not.
        ended: whether nothing more can be read from the socket.
    """

    def __init__(self, sock: Any, max_packet_bytes: int) -> None:
        self.error: OSError | None = None
        self.fault = ""
        self.ended = False
        self._sock = sock
        self._max_packet_bytes = max_packet_bytes
        self._data = b""
        self._position = 0

    def refill(self) -> bool:
        """Read what there is; whether TLS holds more, which the socket will not show."""
        parts: list[bytes] = []
        more = True
        while more and sum(map(len, parts)) < _READ_MAX_BYTES:
            data = self._read()
            parts.append(data)
            more = bool(data) and hasattr(self._sock, "pending") and self._sock.pending() > 0
        self._data, self._position = self._data[self._position :] + b"".join(parts), 0
        return more

    def _read(self) -> bytes:
        try:
            data: bytes = self._sock.recv(_READ_BYTES)
        except _NOT_NOW:
            return b""
        except OSError as exc:
            self.error = exc
            data = b""
        self.ended = not data
        return data

    def pending(self) -> int:
        """How many bytes wait for paho."""
        return len(self._data) - self._position

    def recv(self, wanted_bytes: int) -> bytes:
        """At most so many bytes. What paho wants at once is what its packet is long."""
        if wanted_bytes > self._max_packet_bytes:
            self.fault = f"a packet of {wanted_bytes} bytes, where {self._max_packet_bytes} were allowed"
            raise ConnectionAbortedError(self.fault)
        if self._position < len(self._data):
            data = self._data[self._position : self._position + wanted_bytes]
            self._position += len(data)
            return data
        if self.ended:
            return b""
        raise BlockingIOError

    def send(self, data: bytes | bytearray) -> int:
        """Write; how much went out, which is all or a part, never nothing."""
        try:
            sent_bytes: int = self._sock.send(data)
        except _NOT_NOW:
            raise
        except OSError as exc:
            self.error = exc
            raise
        if not sent_bytes:  # a part of a WebSocket frame: paho must offer the same packet again, as it does for this
            raise BlockingIOError
        return sent_bytes

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def fileno(self) -> int:
        """The socket's number, -1 when it is closed."""
        number: int = self._sock.fileno()
        return number

    def setblocking(self, flag: bool) -> None:
        """As the socket's."""
        self._sock.setblocking(flag)


class Client(aiomqtt.Client):
    """One connection: enter it once, and build a new one for the next. paho never sends anything of an earlier one.

    Args:
        listener: who is told.
        max_packet_bytes: the largest packet to receive.
        connect_timeout_s: the most that each step of connecting may take in its thread, which cannot be stopped.
        password: beside aiomqtt's own, because it may be any bytes.
        **settings: aiomqtt's own.

    Attributes:
        paho: the client underneath.
        guard: the socket, None before there is one.
        closed: whether the socket is gone.
        deaf: nothing is read at present; see `listen`.
    """

    def __init__(
        self,
        listener: Listener,
        *,
        max_packet_bytes: int,
        connect_timeout_s: float,
        password: bytes | None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.paho = self._client
        self.guard: Guard | None = None
        self.closed = False
        self.deaf = False
        self._listener = listener
        self._max_packet_bytes = max_packet_bytes
        self._abandoned = False
        self._reading = False
        self._context = settings.get("tls_context")
        self._path = settings.get("websocket_path")
        self._making: socket.socket | None = None
        self.paho._create_socket = self._make_socket  # type: ignore[method-assign]  # noqa: SLF001  see there
        self.paho.connect_timeout = connect_timeout_s
        self.paho.disable_logger()  # the listener tells everything that an operator needs, in our own words
        self.paho.manual_ack_set(True)
        # The window is ours: paho must send at once, or what waits with it would be sent when nobody expects it.
        self.paho.max_inflight_messages_set(0)
        self.paho.max_queued_messages_set(0)
        if password is not None:
            secret: Any = password
            self.paho.username_pw_set(self.paho.username, secret)

    def abandon(self) -> None:
        """Close the socket at once, also one that is still being made; nothing more is told of what it brings."""
        self._abandoned = True
        if self._making is not None:
            with contextlib.suppress(OSError):
                self._making.shutdown(socket.SHUT_RDWR)  # wakes the thread
        if not self._reading:  # in a callback paho holds a lock that closing takes too; `_readable` closes then
            self.paho._sock_close()  # noqa: SLF001  paho has no other way that does not write

    def keep_alive(self, period_s: int) -> None:
        """Use this keep-alive period from now on; paho itself takes the broker's as it is, and ends with 0."""
        self.paho._keepalive = half_open_keepalive_s(period_s)  # noqa: SLF001  paho's own setter is for before

    def listen(self, *, deaf: bool) -> None:
        """Read no more while `deaf`, then go on; silence ends no connection meanwhile."""
        self.deaf = deaf
        if self.guard is None or self.closed:
            return
        if deaf:
            self._loop.remove_reader(self.guard.fileno())
        else:
            self._loop.add_reader(self.guard.fileno(), self._readable)
            self._loop.call_soon(self._readable)  # TLS may hold some already

    def unsubscribe_from(self, topic_filters: list[str]) -> int:
        """Write UNSUBSCRIBE; returns its packet id. The answer comes to the listener."""
        _, packet_id = self.paho.unsubscribe(topic_filters)
        return packet_id or 0

    # What paho calls, by way of aiomqtt.

    async def _misc_loop(self) -> None:
        """Look after the keep-alive."""
        while self.paho.loop_misc() == paho.MQTT_ERR_SUCCESS:
            await asyncio.sleep(1)
            if self.deaf:
                self.paho._ping_t = 0.0  # noqa: SLF001  as if the last PINGREQ was answered: the answer is not read

    def _make_socket(self) -> Any:
        """As paho does it, in the connecting thread, except that `abandon` reaches it and that a failure closes it."""
        client = self.paho
        sock = client._create_socket_connection()  # noqa: SLF001  by the proxy, if there is one
        self._making = sock
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_hostname=self._hostname, do_handshake_on_connect=False)
                self._making = sock
                sock.settimeout(client.connect_timeout)
                sock.do_handshake()
            if self._path is None:
                return sock
            sock.settimeout(client.connect_timeout)
            return paho._WebsocketWrapper(sock, self._hostname, self._port, self._context is not None, self._path, None)  # noqa: SLF001  paho's own
        except BaseException:
            sock.close()
            raise
        finally:
            self._making = None

    def _on_socket_open(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        """In the connecting thread: from here on paho sees the guard."""
        del userdata
        self.guard = Guard(sock, self._max_packet_bytes)
        client._sock = self.guard  # noqa: SLF001  the only place where a socket can be given to paho
        self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        if self._abandoned:
            self.paho._sock_close()  # noqa: SLF001  as in `abandon`
        elif self.guard is not None and not self.closed:
            self._loop.add_reader(self.guard.fileno(), self._readable)
            self._misc_task = self._loop.create_task(self._misc_loop())

    def _on_socket_close(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        del client, userdata
        self.closed = True
        if sock.fileno() >= 0:
            self._loop.remove_reader(sock.fileno())
            self._loop.remove_writer(sock.fileno())
        if self._misc_task is not None:
            self._misc_task.cancel()
        self._listener.on_closed()

    def _on_socket_register_write(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        """Also in the connecting thread; a turn later the socket may be gone."""
        del client, userdata, sock
        self._loop.call_soon_threadsafe(self._want_write)

    def _want_write(self) -> None:
        if self.guard is not None and not self.closed and not self._abandoned:
            self._loop.add_writer(self.guard.fileno(), self._writable)

    def _on_socket_unregister_write(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        del client, userdata
        if sock.fileno() >= 0:
            self._loop.remove_writer(sock.fileno())

    def _writable(self) -> None:
        self.paho.loop_write()
        if not self.paho.want_write():
            self._listener.on_drained()

    def _readable(self) -> None:
        if self.guard is None or self.closed or self.deaf:
            return
        guard = self.guard
        more = guard.refill()
        self._reading = True
        try:
            while self._may_read(guard):
                self.paho.loop_read()
        except _PACKET_ERRORS as exc:
            guard.fault = f"a malformed packet ({exc})"
            self._abandoned = True
            self._listener.on_disconnect(MALFORMED, "", by_broker=False)
        finally:
            self._reading = False
        if self._abandoned:
            self.paho._sock_close()  # noqa: SLF001  as in `abandon`
        if more:
            self._loop.call_soon(self._readable)
        self._listener.on_read()

    def _may_read(self, guard: Guard) -> bool:
        return (guard.pending() > 0 or guard.ended) and not self.closed and not self._abandoned

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        code = reason_code.value
        self._listener.on_connack(code, properties, session_present=flags.session_present)
        if not code:
            super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        del client, userdata
        said = getattr(properties, "ServerReference", "") or getattr(properties, "ReasonString", "")
        self._listener.on_disconnect(reason_code.value, said, by_broker=flags.is_disconnect_packet_from_server)

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        del client, userdata
        self._listener.on_message(message)

    def _on_publish(
        self, client: paho.Client, userdata: Any, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        del client, userdata
        if not self._reading:  # a message at QoS 0 was written; its number may be that of another in flight
            return
        self._listener.on_puback(mid, reason_code.value, getattr(properties, "ReasonString", ""))

    def _on_subscribe(
        self,
        client: paho.Client,
        userdata: Any,
        mid: int,
        reason_codes: list[ReasonCode],
        properties: Properties | None = None,
    ) -> None:
        if mid in self._pending_subscribes:  # else it answers nothing that was asked
            super()._on_subscribe(client, userdata, mid, reason_codes, properties)

    def _on_unsubscribe(
        self,
        client: paho.Client,
        userdata: Any,
        mid: int,
        reason_codes: list[ReasonCode],
        properties: Properties | None = None,
    ) -> None:
        del client, userdata, properties
        self._listener.on_unsuback(mid, [code.value for code in reason_codes])
