"""One socket to a broker of AMQP: a thin `asyncio.Protocol` over the machine of its connection."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from edgeagent.amqp import codec
from edgeagent.amqp.connection import AmqpConnection, AmqpPhase
from edgeagent.amqp.heartbeats import Heartbeats
from edgeagent.errors import Unavailable, UplinkError
from edgeagent.links.failures import connection_failure


class WireOwner(Protocol):
    """What a wire belongs to."""

    def on_read(self, wire: Wire) -> None:
        """Note that the machine has taken what was received, or that the connection has ended."""

    def on_lost(self) -> None:
        """Note that a socket is closed."""

    def on_writable(self) -> None:
        """Note that the socket takes more again."""


class Wire(asyncio.Protocol):
    """Owns one socket and the heartbeats on it. After the connection has ended nothing but its close is written.

    Args:
        owner: who is told.
        machine: the machine that it drives.
        address: the broker's, for errors.
        loop: the running loop.

    Attributes:
        machine: see above.
        is_paused: the socket takes no more for now.
        is_lost: the socket is closed, or was never made.
    """

    def __init__(
        self, owner: WireOwner, machine: AmqpConnection, address: str, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.machine = machine
        self.is_paused = False
        self.is_lost = True
        self._owner = owner
        self._address = address
        self._loop = loop
        self._transport: asyncio.Transport
        self._heartbeats: Heartbeats | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the protocol's header."""
        self._transport = cast("asyncio.Transport", transport)
        self.is_lost = False
        if self.machine.phase is AmqpPhase.ENDED:  # the other one ended meanwhile
            self._transport.close()
        else:
            self._transport.write(self.machine.begin())

    def data_received(self, data: bytes) -> None:
        """Have the machine process it, then call the owner."""
        machine = self.machine
        if self._heartbeats is not None:
            self._heartbeats.received(self._loop.time())
        self.write(machine.receive(data))
        if machine.phase is AmqpPhase.IN_USE and self._heartbeats is None and machine.opened is not None:
            self._heartbeats = Heartbeats(machine.opened.heartbeat_s, self._loop.time())
            self._look()
        if machine.may_close:
            self._transport.close()
        self._owner.on_read(self)

    def pause_writing(self) -> None:
        """The socket takes no more."""
        self.is_paused = True

    def resume_writing(self) -> None:
        """The socket takes more again."""
        self.is_paused = False
        self._owner.on_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self.is_lost = True
        self._stop()
        is_opening = self.machine.phase is AmqpPhase.OPENING
        if exc is not None and not (is_opening and isinstance(exc, ConnectionError)):
            error = connection_failure(self._address, exc)
        elif is_opening:
            text = "it closed the connection without an answer; does it speak AMQP 0-9-1 here, and is the vhost right?"
            error = Unavailable(self._address, text)
        else:
            error = Unavailable(self._address, "the broker closed the connection: it was stopped, or it crashed")
        self.machine.end(error)
        self._owner.on_read(self)
        self._owner.on_lost()

    def write(self, data: bytes) -> None:
        """Write what the machine returned."""
        if data and not self.is_lost:
            if self._heartbeats is not None:
                self._heartbeats.sent(self._loop.time())
            self._transport.write(data)

    def close(self, error: UplinkError) -> None:
        """End the connection with a word to the broker, which then closes the socket."""
        self.write(self.machine.end(error))
        self._stop()
        if self.machine.may_close and not self.is_lost:
            self._transport.close()

    def abort(self, error: UplinkError) -> None:
        """End the connection and close the socket, without a word."""
        self.machine.end(error)
        self._stop()
        if not self.is_lost:
            self._transport.abort()

    def _look(self) -> None:
        heartbeats, now_s = self._heartbeats, self._loop.time()
        if heartbeats is None or self.machine.phase is AmqpPhase.ENDED:
            return
        if heartbeats.is_gone(now_s):
            text = f"nothing came from the broker for {heartbeats.silent_s(now_s):.0f} s, not even a heartbeat"
            self.abort(Unavailable(self._address, text))
            self._owner.on_read(self)
            return
        if heartbeats.is_due(now_s):
            self.write(codec.HEARTBEAT)
        self._timer = self._loop.call_at(heartbeats.next_s(), self._look)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
