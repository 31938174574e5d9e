"""A device's connection together with what the listener knows of it: one object for each of a thousand devices."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from edgeagent.listener.access import Rights
from edgeagent.listener.connection import Limits
from edgeagent.listener.packets import Input
from edgeagent.listener.protocol import Device, DeviceTimeouts
from edgeagent.listener.reasons import Reason
from edgeagent.listener.retained import Replay
from edgeagent.listener.sessions import Session


class Desk(Protocol):
    """What the connections of devices come to."""

    def entered(self, client: ConnectedDevice) -> None:
        """A device connected; it may be turned away at once."""

    def came(self, client: ConnectedDevice, inputs: list[Input]) -> None:
        """It said this."""

    def turned_away(self, client: ConnectedDevice, reason: Reason, text: str) -> None:
        """It is refused before it could say CONNECT."""

    def took(self, client: ConnectedDevice) -> None:
        """It takes more, where something waits for it."""

    def kept(self, client: ConnectedDevice, more_bytes: int) -> None:
        """So many bytes more, or fewer, of a packet are here whose end did not come yet."""

    def unencrypted(self, client: ConnectedDevice, exc: BaseException, *, has_spoken: bool) -> None:
        """TLS was not agreed on with it, and its socket is closed."""

    def left(self, client: ConnectedDevice) -> None:
        """Its socket is closed."""


class ConnectedDevice(Device):
    """Owns what the listener knows of one socket, and tells its desk whatever happens to it.

    Promises to tell `entered` first, and `left` once, when the socket is closed. Must never decide who is let in, or
    what becomes of a message: that is the desk's.

    Attributes:
        place: the address whose limit it counts towards, "" for this machine.
        session: None until it is let in.
        refused_as: how a device that was not let in is called in the log, "" for others.
        rights: what it may do, None until it is let in.
        is_encrypted: it speaks TLS.
        is_up: it was let in, and is there.
        is_over: its connection ended.
        is_leaving: it ended its connection, which is closed when what it published is safe.
        pending: how many of its messages are not taken yet.
        held: how many of them were offered, and refused for now.
        is_ahead: so many are not taken yet that no more are read.
        replays: retained messages that are still to be found for it.
        partial_bytes: what is here of a packet whose end did not come yet, as it was told; with what waits in frames.
        is_replaying: that goes on in the next turn of the loop.
    """

    __slots__ = (
        *(
            "_desk",
            "_frames_bytes",
            "held",
            "is_ahead",
            "is_encrypted",
            "is_leaving",
            "is_over",
            "is_replaying",
            "is_up",
            "partial_bytes",
            "pending",
        ),
        *("place", "refused_as", "replays"),
        *("rights", "session"),
    )

    def __init__(self, desk: Desk, limits: Limits, patience: DeviceTimeouts) -> None:
        """The connection that comes to `desk`."""
        super().__init__(self, limits, patience)
        self._desk = desk
        self.place = self.refused_as = ""
        self.session: Session | None = None
        self.rights: Rights | None = None
        self.is_encrypted = self.is_ahead = self.is_up = self.is_over = self.is_leaving = self.is_replaying = False
        self.pending = self.held = self.partial_bytes = self._frames_bytes = 0
        self.replays: deque[Replay] | None = None

    @property
    def waits_for_more(self) -> bool:
        """Whether something is to be sent as soon as it takes more."""
        return bool(self.replays) or (self.session is not None and len(self.session.queue) > 0)

    @property
    def certificate_user(self) -> str | None:
        """The CN of the certificate that it showed, and that was verified; None without one."""
        certificate = self._transport.get_extra_info("peercert") or {}
        names = [value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"]
        return names[0] if len(names) == 1 else None

    # What the transport tells.

    def arrived(self, transport: asyncio.Transport) -> None:
        """A socket is accepted, and TLS is to begin on it: until then the connection can only be cut off."""
        self.is_encrypted = True
        self._transport = self._socket = transport
        self.address = transport.get_extra_info("peername")
        self._desk.entered(self)

    def departed(self, exc: BaseException | None, *, has_spoken: bool) -> None:
        """The socket is closed; when TLS had begun, `connection_lost` comes too.

        `exc`: why it was not agreed on. `has_spoken`: something came on the socket.
        """
        if self._transport is self._socket:
            if exc is not None:
                self._desk.unencrypted(self, exc, has_spoken=has_spoken)
            self._desk.left(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        if not self.is_encrypted:
            self._desk.entered(self)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        super().data_received(data)
        self._tell_kept()
        if self.waits_for_more:
            self._desk.took(self)

    def go_on(self) -> None:
        """See `Device`."""
        super().go_on()
        self._tell_kept()

    def turn_away(self, reason: Reason, text: str) -> None:
        """End its connection before it could say CONNECT, as refused."""
        self._desk.turned_away(self, reason, text)
        self.disconnect(reason, text)

    def waits_in_frames(self, size_bytes: int) -> None:
        """So much of it came by WebSocket, and is not looked at yet."""
        if size_bytes != self._frames_bytes:
            self._frames_bytes = size_bytes
            self._tell_kept()

    def _tell_kept(self) -> None:
        if more_bytes := self.kept_bytes + self._frames_bytes - self.partial_bytes:
            self.partial_bytes += more_bytes
            self._desk.kept(self, more_bytes)

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().resume_writing()
        if self.waits_for_more:
            self._desk.took(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        self._desk.left(self)

    def leave(self) -> None:
        """Close the connection that it ended: what it published is taken, or must wait longer than a connection may."""
        if self.is_leaving:
            self.is_leaving = False
            self._loop.call_soon(self.close)

    # What comes out of the connection.

    def take(self, _: Device, inputs: list[Input]) -> None:
        """See `Owner`."""
        self._desk.came(self, inputs)
