"""One device's connection on asyncio: a thin driver of `connection.Connection`, which decides.

The owner (`Owner`) is called with everything that one read brought, and answers when it can: at once or much later.
What is said to a device in one turn of the loop is written once. No task, no future and no timer belong to a message.

A device that does not read is not read either, and is given up in the end; what the owner has for it meanwhile is the
owner's to keep or to drop. A connection that the device ended is closed by the owner (`Device.close`), when what it
published is safe; every other one as soon as what is left to say is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

import msgspec

from edgeagent.listener.connection import ClientConnection, Limits
from edgeagent.listener.flows import Inbound, Outbound
from edgeagent.listener.packets import ConnAck, ConnectionEnded, Input, Publish
from edgeagent.listener.reasons import Reason


class DeviceTimeouts(msgspec.Struct, frozen=True):
    """How much a device may leave unread, and how long.

    `unread_bytes`: then nothing more is read from it, and no message sent. `unread_s`: after that it is given up.
    `linger_s`: for it to read what was said last, when the connection is closed.
    """

    unread_bytes: int = 64 << 10
    unread_s: float = 30
    linger_s: float = 2


class Owner(Protocol):
    """What a device's connection belongs to."""

    def take(self, device: Device, inputs: list[Input]) -> None:
        """Take what came, in this order. `Connect` comes first and alone; `ConnectionEnded` comes last, and always.

        After `ConnectionEnded.is_by_client` the owner calls `device.close`.
        """


class Device(asyncio.Protocol):
    """The protocol of one accepted connection.

    Attributes:
        address: the peer's, as the socket names it.
    """

    __slots__ = (
        *("_connection", "_goes_on", "_is_held", "_is_read", "_loop", "_owner", "_patience", "_scheduled"),
        *("_slow_since_s", "_socket", "_timer", "_transport", "address"),
    )

    _transport: asyncio.Transport
    _socket: asyncio.Transport  # below TLS, else the same

    def __init__(self, owner: Owner, limits: Limits, patience: DeviceTimeouts) -> None:
        self._owner = owner
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._connection = ClientConnection(limits, self._loop.time())
        self._timer: asyncio.TimerHandle | None = None
        self._goes_on = False  # what came and was not looked at yet is looked at in the next turn of the loop
        self._scheduled = False  # what is to be written is written later in this turn of the loop
        self._slow_since_s: float | None = None  # it does not read what was written
        self._is_held = False  # the owner wants to hear nothing
        self._is_read = True
        self.address: object = None

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A device connected."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  what create_server hands to a Protocol
        if transport.get_extra_info("sslcontext") is None:
            self._socket = transport
        self._transport = transport
        transport.set_write_buffer_limits(high=self._patience.unread_bytes)
        self.address = transport.get_extra_info("peername")
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._hand_over(self._connection.feed(data, self._loop.time()))

    def eof_received(self) -> bool:
        """The device sends no more: it is gone. True keeps the socket open until the owner closes it."""
        self.read_out()
        self._hand_over(self._connection.lost("the device closed the connection", is_by_client=True))
        return self._transport.get_extra_info("sslcontext") is None

    def pause_writing(self) -> None:
        """It does not read."""
        self._slow_since_s = self._loop.time()
        self._settle()

    def resume_writing(self) -> None:
        """It has read."""
        self._slow_since_s = None
        self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        if self._timer is not None:
            self._timer.cancel()
        self.read_out()
        self._hand_over(self._connection.lost(f"the connection broke ({exc})" if exc else "the connection is closed"))

    # What the owner says.

    @property
    def room(self) -> int:
        """How many messages above QoS 0 `publish` takes now. It grows while the device acknowledges, and reads."""
        return 0 if self._slow_since_s is not None else self._connection.room

    @property
    def is_slow(self) -> bool:
        """Whether it does not read what was sent to it."""
        return self._slow_since_s is not None

    @property
    def kept_bytes(self) -> int:
        """How much of a packet is here whose end did not come yet."""
        return self._connection.kept_bytes

    def accept(self, ack: ConnAck, inbound: Inbound, outbound: Outbound) -> None:
        """Let it in (`ClientConnection.accept`)."""
        self._hand_over(self._connection.accept(ack, inbound, outbound, self._loop.time()))

    def refuse(self, reason: Reason, text: str = "") -> None:
        """Do not let it in."""
        self._hand_over(self._connection.refuse(reason, text))

    def publish(
        self, message: Publish, qos: int, *, retain: bool = False, subscription_ids: tuple[int, ...] = ()
    ) -> bool:
        """Send a message (`ClientConnection.publish`). False too: it does not read."""
        if self._slow_since_s is not None:
            return False
        sent = self._connection.publish(
            message, qos, self._loop.time(), retain=retain, subscription_ids=subscription_ids
        )
        self._write_soon()
        return sent

    def acknowledge(self, packet_ids: Iterable[int], reason: int = Reason.SUCCESS) -> None:
        """These messages of it are safe (`ClientConnection.acknowledge`)."""
        self._connection.acknowledge(packet_ids, reason)
        self._write_soon()

    def complete(self, packet_id: int, reason: int = Reason.SUCCESS) -> None:
        """Answer a `PacketReleased` (`ClientConnection.complete`)."""
        self._connection.complete(packet_id, reason)
        self._write_soon()

    def send_answers(self) -> None:
        """As `ClientConnection.send_answers`."""
        self._connection.send_answers()
        self._write_soon()

    def suback(self, packet_id: int, reasons: Iterable[int]) -> None:
        """Answer a `Subscribe`."""
        self._connection.suback(packet_id, reasons)
        self._write_soon()

    def unsuback(self, packet_id: int, reasons: Iterable[int]) -> None:
        """Answer an `Unsubscribe`."""
        self._connection.unsuback(packet_id, reasons)
        self._write_soon()

    def flush(self) -> int:
        """Write what there is to say at once. Returns how many bytes its socket did not take yet."""
        if self._transport.is_closing():
            return 0
        if self._scheduled:
            self._settle()
        above = self._transport.get_write_buffer_size() if self._transport is not self._socket else 0
        return above + self._socket.get_write_buffer_size()

    def hold(self, *, held: bool) -> None:
        """Read no more of it, or read on."""
        self._is_held = held
        self._settle()

    def read_out(self) -> None:
        """Take all that its socket has delivered, at once, held or not."""
        while self._connection.has_more:
            self._hand_over(self._connection.go_on(self._loop.time()))

    def disconnect(self, reason: Reason, text: str = "") -> None:
        """End its connection, and say why."""
        if not self._connection.is_ended:
            self._hand_over([self._connection.disconnect(reason, text)])

    def abort(self) -> None:
        """Close its connection at once, whatever is left to say."""
        self._transport.abort()

    def close(self) -> None:
        """Close its connection, when what was said is written; soon, if it does not read that."""
        if not self._transport.is_closing():
            self._transport.close()
            self._set_timer(self._loop.time() + self._patience.linger_s)

    # Inside.

    def _hand_over(self, inputs: list[Input]) -> None:
        """Give the owner what came, and write what there is to say."""
        if inputs:
            self._owner.take(self, inputs)
        self._settle()
        if inputs and isinstance(last := inputs[-1], ConnectionEnded) and not last.is_by_client:
            self.close()

    def _write_soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._settle)

    def _settle(self) -> None:
        """Write what there is to say; then read on or not, and look at the time again when it is needed."""
        self._scheduled = False
        connection = self._connection
        if self._transport.is_closing():
            return
        if data := connection.data_to_send():
            self._transport.write(data)
        is_wanted = not (self._is_held or connection.paused or self._slow_since_s is not None)
        is_read = is_wanted and not connection.has_more
        if is_read is not self._is_read:
            self._is_read = is_read
            connection.listen(deaf=not is_read, now_s=self._loop.time())
            if is_read:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()
        if is_wanted and connection.has_more and not self._goes_on:
            self._goes_on = True
            self._loop.call_soon(self.go_on)
        self._watch()

    def go_on(self) -> None:
        """Look at more of what came, if that is still wanted; it is called in the next turn of the loop."""
        self._goes_on = False
        if not (self._is_held or self._connection.paused or self._slow_since_s is not None):
            self._hand_over(self._connection.go_on(self._loop.time()))

    def _due_s(self) -> float | None:
        """When there is something to be done if nothing happens."""
        if self._slow_since_s is not None:
            return self._slow_since_s + self._patience.unread_s
        return self._connection.next_deadline

    def _watch(self) -> None:
        """Set the timer, unless one is set that comes early enough: when that fires it is set anew."""
        due_s = self._due_s()
        if due_s is not None and (self._timer is None or self._timer.when() > due_s):
            self._set_timer(due_s)

    def _set_timer(self, due_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due_s, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._transport.is_closing():
            self._transport.abort()
            return
        now_s, due_s = self._loop.time(), self._due_s()
        if due_s is None or now_s < due_s:
            self._watch()
        elif self._slow_since_s is not None:
            self._hand_over(self._connection.lost(f"the device read nothing for {self._patience.unread_s:g} s"))
            self._transport.abort()
        else:
            self._hand_over(self._connection.tick(now_s))
