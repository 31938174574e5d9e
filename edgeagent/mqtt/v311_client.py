"""The `aiomqtt` client below `v311`, which avoids the traps of its socket (docs/adr/0011).

aiomqtt makes the connection in a thread and waits for the answers to CONNECT and SUBSCRIBE; `paho` below it knows the
packets, and calls this client by its own public callbacks. This client changes the following:

* paho gets a `GuardedSocket`, which reads as much as there is and refuses a packet that is too large.
* Bytes that are not a packet end the connection; aiomqtt would keep it and read on.
* Reading can be paused: a broker may send more than it is allowed to, and aiomqtt would keep all of it.
* A connection that is no longer wanted is closed while it is being made; paho leaves failed ones open.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Any, Protocol

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgeagent.mqtt.reason_codes import MALFORMED
from edgeagent.mqtt.v311_packets import FORMAT_ERRORS, half_open_keepalive_s
from edgeagent.mqtt.v311_socket import GuardedSocket

# What paho raises over bytes that are not a packet.
_PACKET_ERRORS = (*FORMAT_ERRORS, LookupError, TypeError, AttributeError)


# For aiomqtt: we log what an operator needs to know ourselves, with an event key.
_silent = logging.getLogger(f"{__name__}.aiomqtt")
_silent.disabled = True


class ClientListener(Protocol):
    """Gets what the client receives; called only in the loop's thread."""

    def on_connack(self, reason_code: int, properties: Properties | None, *, session_present: bool) -> None:
        """The broker answered CONNECT."""

    def on_puback(self, packet_id: int, reason_code: int, reason: str) -> None:
        """The broker answered a publication."""

    def on_message(self, packet: paho.MQTTMessage) -> None:
        """A message came."""

    def on_unsuback(self, packet_id: int, reason_codes: list[int]) -> None:
        """The broker answered UNSUBSCRIBE; without reason codes in MQTT 3.1.1."""

    def on_read(self) -> None:
        """Everything that one read brought was handed over."""

    def on_drained(self) -> None:
        """Everything is written."""

    def on_disconnect(self, reason_code: int, reason: str, *, by_broker: bool) -> None:
        """The connection ended; `by_broker`: with a DISCONNECT of MQTT 5, which gave the reason."""

    def on_closed(self) -> None:
        """The socket is closed."""


class AiomqttClient(aiomqtt.Client):
    """One connection: enter it once, and build a new one for the next, so that paho never sends old messages.

    It owns the socket, the reading and writing in the loop, and the keep-alive. After `abandon` it must never call its
    listener, except to say that the socket is closed.

    Args:
        listener: gets what is received.
        max_packet_bytes: the largest packet to receive.
        connect_timeout_s: the time limit of each step of connecting in its thread, which cannot be stopped.
        password: separate from aiomqtt's own, because it may be any bytes.
        dial: makes the TCP connection to (host, port) within `timeout` seconds; blocking. By default `socket`'s.
        **settings: aiomqtt's own.

    Attributes:
        paho: the client underneath.
        guard: the socket, None before there is one.
        closed: whether the socket is closed.
        is_reading_paused: whether reading is paused; see `pause_reading`.
    """

    def __init__(
        self,
        listener: ClientListener,
        *,
        max_packet_bytes: int,
        connect_timeout_s: float,
        password: bytes | None,
        dial: Callable[..., Any] = socket.create_connection,
        **settings: Any,
    ) -> None:
        super().__init__(logger=_silent, **settings)
        self.paho = self._client
        self.guard: GuardedSocket | None = None
        self.closed = False
        self.is_reading_paused = False
        self._listener = listener
        self._running_loop = asyncio.get_running_loop()
        self._max_packet_bytes = max_packet_bytes
        self._abandoned = False
        self._is_reading = False
        self._is_subscribing = False
        self._host, self._broker_port = settings["hostname"], settings["port"]
        self._dial = dial
        self._context = settings.get("tls_context")
        self._path = settings.get("websocket_path")
        self._making: socket.socket | None = None
        self._keep_alive_task: asyncio.Task[None] | None = None
        self._hear(self.paho)
        self.paho.connect_timeout = connect_timeout_s
        self.paho.disable_logger()
        self.paho.manual_ack_set(True)
        # We limit what is in flight: paho must send at once, or it would send what waits in it unexpectedly later.
        self.paho.max_inflight_messages_set(0)
        self.paho.max_queued_messages_set(0)
        if password is not None:
            secret: Any = password
            self.paho.username_pw_set(self.paho.username, secret)

    def _hear(self, client: paho.Client) -> None:
        """Replace aiomqtt's callbacks with ours, except those that `__aenter__` and `subscribe` wait for."""
        self._connected_for_aiomqtt: Any = client.on_connect
        self._subscribed_for_aiomqtt: Any = client.on_subscribe
        client.on_connect = self._take_connack
        client.on_subscribe = self._take_suback
        client.on_unsubscribe = self._take_unsuback
        client.on_disconnect = self._take_end
        client.on_message = self._take_message
        client.on_publish = self._take_puback
        client.on_socket_open = self._socket_opened
        client.on_socket_close = self._socket_closed
        client.on_socket_register_write = self._register_write
        client.on_socket_unregister_write = self._unregister_write
        # paho has no public way to pass it a socket.
        client._create_socket = self._make_socket  # type: ignore[method-assign]  # noqa: SLF001

    def abandon(self) -> None:
        """Close the socket at once, even one that is still being made; what it brings is ignored."""
        self._abandoned = True
        if self._making is not None:
            with contextlib.suppress(OSError):
                self._making.shutdown(socket.SHUT_RDWR)  # wakes the thread
        if not self._is_reading:  # in a callback paho holds a lock that closing takes too; `_readable` closes then
            self._close_socket()

    def _close_socket(self) -> None:
        """Make paho close its socket without a packet, as it does when it cannot write."""
        if self.guard is not None:
            self.guard.end()
            self.paho.disconnect()
            self.paho.loop_write()

    def set_keep_alive(self, period_s: int) -> None:
        """Use this keep-alive period from now on; paho itself takes the broker's unchanged, and a 0 ends its pings."""
        self.paho._keepalive = half_open_keepalive_s(period_s)  # noqa: SLF001  its public setter is for before only

    def pause_reading(self, *, paused: bool) -> None:
        """Pause reading, or go on; while it is paused, silence ends no connection."""
        self.is_reading_paused = paused
        if self.guard is None or self.closed:
            return
        if paused:
            self._running_loop.remove_reader(self.guard.fileno())
        else:
            self._running_loop.add_reader(self.guard.fileno(), self._readable)
            self._running_loop.call_soon(self._readable)  # TLS may hold bytes already

    async def subscribe_to(self, topic_filters: Any) -> list[int]:
        """Subscribe, and wait for the broker's answer: a reason code for each filter."""
        self._is_subscribing = True
        granted = await self.subscribe(topic_filters)
        return [code if isinstance(code, int) else code.value for code in granted]

    def unsubscribe_from(self, topic_filters: list[str]) -> int:
        """Write UNSUBSCRIBE; returns its packet id. The answer comes to the listener."""
        _, packet_id = self.paho.unsubscribe(topic_filters)
        return packet_id or 0

    # Connecting, in aiomqtt's thread.

    def _make_socket(self) -> GuardedSocket:
        """Make a socket as paho does, except that `abandon` reaches it, and that a failure closes it."""
        timeout_s = self.paho.connect_timeout
        sock: Any = self._dial((self._host, self._broker_port), timeout=timeout_s)
        self._making = sock
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_hostname=self._host, do_handshake_on_connect=False)
                self._making = sock
                sock.settimeout(timeout_s)
                sock.do_handshake()
            if self._path is not None:
                sock.settimeout(timeout_s)
                is_tls = self._context is not None
                # paho's WebSocket has no public name; another one would be one more library.
                sock = paho._WebsocketWrapper(sock, self._host, self._broker_port, is_tls, self._path, None)  # noqa: SLF001
        except BaseException:
            sock.close()
            raise
        finally:
            self._making = None
        return GuardedSocket(sock, self._max_packet_bytes)

    def _socket_opened(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        del client, userdata
        self.guard = sock
        self._running_loop.call_soon_threadsafe(self._begin)

    # In the loop's thread.

    def _begin(self) -> None:
        if self._abandoned:
            self._close_socket()
        elif self.guard is not None and not self.closed:
            self._running_loop.add_reader(self.guard.fileno(), self._readable)
            self._keep_alive_task = self._running_loop.create_task(self._keep_alive())

    async def _keep_alive(self) -> None:
        """Let paho ping, and end a dead connection."""
        while self.paho.loop_misc() == paho.MQTT_ERR_SUCCESS:
            await asyncio.sleep(1)
            if self.is_reading_paused:
                # Pretend that the last PINGREQ was answered, since the answer is not read; paho has no public way.
                self.paho._ping_t = 0.0  # noqa: SLF001

    def _socket_closed(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        del client, userdata
        self.closed = True
        if sock.fileno() >= 0:
            self._running_loop.remove_reader(sock.fileno())
            self._running_loop.remove_writer(sock.fileno())
        if self._keep_alive_task is not None:
            self._keep_alive_task.cancel()
        self._listener.on_closed()

    def _register_write(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        """Called in the connecting thread too; a turn of the loop later the socket may be closed."""
        del client, userdata, sock
        self._running_loop.call_soon_threadsafe(self._want_write)

    def _want_write(self) -> None:
        if self.guard is not None and not self.closed and not self._abandoned:
            self._running_loop.add_writer(self.guard.fileno(), self._writable)

    def _unregister_write(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        del client, userdata
        if sock.fileno() >= 0:
            self._running_loop.remove_writer(sock.fileno())

    def _writable(self) -> None:
        self.paho.loop_write()
        if not self.paho.want_write():
            self._listener.on_drained()

    def _readable(self) -> None:
        if self.guard is None or self.closed or self.is_reading_paused:
            return
        guard = self.guard
        more = guard.refill()
        self._is_reading = True
        try:
            while self._may_read(guard):
                self.paho.loop_read()
        except _PACKET_ERRORS as exc:
            guard.fault = f"a malformed packet ({exc})"
            self._abandoned = True
            self._listener.on_disconnect(MALFORMED, "", by_broker=False)
        finally:
            self._is_reading = False
        if self._abandoned:
            self._close_socket()
        if more:
            self._running_loop.call_soon(self._readable)
        self._listener.on_read()

    def _may_read(self, guard: GuardedSocket) -> bool:
        return (guard.pending() > 0 or guard.ended) and not self.closed and not self._abandoned

    def _take_connack(
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
            self._connected_for_aiomqtt(client, userdata, flags, reason_code, properties)

    def _take_end(
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

    def _take_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        del client, userdata
        self._listener.on_message(message)

    def _take_puback(
        self, client: paho.Client, userdata: Any, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        del client, userdata
        if not self._is_reading:  # a message at QoS 0 was written; its number may be that of one in flight
            return
        self._listener.on_puback(mid, reason_code.value, getattr(properties, "ReasonString", ""))

    def _take_suback(
        self,
        client: paho.Client,
        userdata: Any,
        mid: int,
        reason_codes: list[ReasonCode],
        properties: Properties | None = None,
    ) -> None:
        if self._is_subscribing:  # otherwise it answers nothing that was sent
            self._subscribed_for_aiomqtt(client, userdata, mid, reason_codes, properties)

    def _take_unsuback(
        self,
        client: paho.Client,
        userdata: Any,
        mid: int,
        reason_codes: list[ReasonCode],
        properties: Properties | None = None,
    ) -> None:
        del client, userdata, properties
        self._listener.on_unsuback(mid, [code.value for code in reason_codes])
