"""Which devices are let in: how many connections may be open, and what a CONNECT is asked before the broker sees it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec

from edgeagent.common.foreign import shown
from edgeagent.common.peers import limited_address
from edgeagent.listener.access import Permissions, admission
from edgeagent.listener.client import ConnectedDevice
from edgeagent.listener.packets import Connect, ConnectionEnded, Input
from edgeagent.listener.reasons import Reason
from edgeagent.listener.traffic import DeviceTraffic, fresh_id

if TYPE_CHECKING:
    from edgeagent.listener.users import Users

# Of an address in the network: a machine that opens many connections leaves a quarter to the others. Loopback has no
# such limit: all programs of this machine share it.
_ADDRESS_SHARE: Final = 0.75
# What may be here of packets whose end did not come yet, beside small ones of which each connection may have one.
MAX_PARTIAL_BYTES: Final = 48 << 20
_SMALL_BYTES: Final = 8 << 10
# Of a client id and a user in one part of a log line.
_MAX_NAME_CHARS: Final = 64
_NAMELESS: Final = "a device that did not say who it is"

_log = logging.getLogger(__name__)


def _share_of(client: ConnectedDevice) -> object:
    user = client.session.user if client.session is not None else None
    return client.place or user or client


def _shown(name: str) -> str:
    return shown(name, _MAX_NAME_CHARS)


def _name_of(connect: Connect) -> str:
    """The names that a device gives itself, for the log."""
    name = f"device {_shown(connect.client_id)}" if connect.client_id else "a device without a client id"
    return name if connect.user is None else f"{name} (user {_shown(connect.user) or 'without a name'})"


def _most_of_place(max_connections: int) -> int:
    return max(1, int(max_connections * _ADDRESS_SHARE))


class DoorCounts(msgspec.Struct):
    """Since the agent started. `connects`: devices that were let in; `connects_refused`: those that were not.

    Among the latter are those with which TLS was not agreed on.

    `crowded_out`: connections beyond the limits. `broken`: connections that ended without a DISCONNECT.
    """

    connects: int = 0
    connects_refused: int = 0
    crowded_out: int = 0
    broken: int = 0


class Door:
    """Owns the connections from the socket to CONNACK. All methods are called in the loop's thread.

    Attributes:
        shut: why nobody is let in, "" while devices are.
        refusals: how many connections were refused since the agent started, by a `Reason`'s name in lower case, or
            that of a `TlsFailure`.
    """

    def __init__(
        self, traffic: DeviceTraffic, permissions: Permissions, users: Users | None, max_connections: int
    ) -> None:
        """`users`: None without a file of them."""
        self.counts = DoorCounts()
        self.shut = ""
        self.refusals: Counter[str] = Counter()
        self._traffic = traffic
        self._permissions = permissions
        self._users = users
        self._max = max_connections
        self._max_of_place = _most_of_place(max_connections)
        self._open: set[ConnectedDevice] = set()
        self._strangers: dict[ConnectedDevice, None] = {}  # those without a CONNECT yet, the first to come first
        self._of_place: Counter[str] = Counter()
        self._logins: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._partial: dict[ConnectedDevice, None] = {}  # with a large packet on its way, the first to begin first
        self._partial_bytes = 0

    def take_over(self, permissions: Permissions, users: Users | None, max_connections: int) -> None:
        """From now on these count for each device that comes."""
        self._permissions = permissions
        self._users = users
        self._max = max_connections
        self._max_of_place = _most_of_place(max_connections)

    @property
    def connections(self) -> int:
        """How many sockets are open."""
        return len(self._open)

    def entered(self, client: ConnectedDevice) -> None:
        """See `Desk`."""
        client.place = limited_address(client.address)
        if not self._has_room(client):
            self.counts.crowded_out += 1
            _log.warning(
                "%d connections of devices are open, which is the limit: one of %s is refused",
                len(self._open),
                client.place or "this machine",
                extra={"event": "mqtt_connections_full", "foreign": True, "max_connections": self._max},
            )
            client.abort()
            return
        self._open.add(client)
        self._strangers[client] = None
        self._of_place[client.place] += 1

    def _has_room(self, client: ConnectedDevice) -> bool:
        if client.place and self._of_place[client.place] >= self._max_of_place:
            return False
        if len(self._open) < self._max:
            return True
        stranger = next(iter(self._strangers), None)
        if stranger is None:
            return False
        del self._strangers[stranger]
        self._forget(stranger)
        self.counts.crowded_out += 1
        stranger.abort()  # it said nothing yet, and gives way
        return True

    def unencrypted(self, client: ConnectedDevice, exc: BaseException, *, has_spoken: bool) -> None:
        """See `Desk`."""
        from edgeagent.listener.tls_failures import tls_failure  # noqa: PLC0415  only for listeners with TLS

        failure = tls_failure(getattr(exc, "reason", None), timed_out=isinstance(exc, ConnectionAbortedError))
        if has_spoken:  # else it may have looked only whether somebody listens
            self.counts.connects_refused += 1
            self.refusals[failure.reason] += 1
        _log.log(
            logging.WARNING if has_spoken else logging.INFO,
            "no TLS with a device from %s: %s; %s",
            client.place or "this machine",
            failure.text,
            failure.remedy,
            extra={"event": "mqtt_tls_failed", "foreign": True, "reason": failure.reason},
        )

    def left(self, client: ConnectedDevice) -> None:
        """See `Desk`."""
        self._strangers.pop(client, None)
        self._drop_partial(client)
        self._forget(client)
        self._traffic.left(client)

    def kept(self, client: ConnectedDevice, more_bytes: int) -> None:
        """See `Desk`.

        Where it is too much, the largest share of it loses its largest packet, and of equal ones the first to begin.
        Shares are those of an address, on this machine of a user, else of each device: many connections are no way to a
        larger one.
        """
        self._partial_bytes += more_bytes
        if client.partial_bytes <= _SMALL_BYTES:
            self._partial.pop(client, None)
            return
        self._partial.setdefault(client)
        while self._partial_bytes > MAX_PARTIAL_BYTES and self._partial:
            greedy = self._greediest()
            self._drop_partial(greedy)
            greedy.disconnect(Reason.QUOTA_EXCEEDED, "large packets took too much memory for too long")
            greedy.abort()  # what came of it goes at once

    def _greediest(self) -> ConnectedDevice:
        shares: Counter[object] = Counter()
        for client in self._partial:
            shares[_share_of(client)] += client.partial_bytes
        return max(self._partial, key=lambda client: (shares[_share_of(client)], client.partial_bytes))

    def _drop_partial(self, client: ConnectedDevice) -> None:
        self._partial.pop(client, None)
        self._partial_bytes -= client.partial_bytes
        client.partial_bytes = 0

    def _forget(self, client: ConnectedDevice) -> None:
        if client in self._open:
            self._open.discard(client)
            if not self._open:
                self._empty.set()
            self._of_place[client.place] -= 1
            if not self._of_place[client.place]:
                del self._of_place[client.place]

    def took(self, client: ConnectedDevice) -> None:
        """See `Desk`."""
        self._traffic.outgoing.pump(client)

    def came(self, client: ConnectedDevice, inputs: list[Input]) -> None:
        """See `Desk`."""
        first, last = inputs[0], inputs[-1]
        if isinstance(last, ConnectionEnded):
            if first is last and self._is_refusal(client, last):
                self._tell_refusal(client, None, Reason(last.reason), last.text)
            self._tell_end(client, last)
        if isinstance(first, Connect):
            self._strangers.pop(client, None)
            self._knock(client, first)
        else:
            self._traffic.came(client, inputs)

    def _is_refusal(self, client: ConnectedDevice, ended: ConnectionEnded) -> bool:
        """Whether a device is turned away for what came before, or in place of, a CONNECT that can be read.

        It is none when nothing came, or when the connection was lost: then no reason of MQTT says why.
        """
        is_stranger = client.session is None and not client.refused_as
        is_fault = ended.reason != Reason.UNSPECIFIED_ERROR and not ended.is_by_client
        return is_stranger and is_fault and not self._traffic.is_closing

    def _knock(self, client: ConnectedDevice, connect: Connect) -> None:
        if self.shut:
            self._refuse(client, connect, Reason.SERVER_UNAVAILABLE, self.shut)
            return
        identity = admission(
            connect,
            is_local=not client.place,
            has_users=self._users is not None,
            certificate_user=client.certificate_user,
        )
        if identity.reason is not Reason.SUCCESS:
            self._refuse(client, connect, identity.reason, "neither a name and password nor a certificate")
        elif identity.asks:
            task = asyncio.get_running_loop().create_task(self._log_in(client, connect))
            self._logins.add(task)
            task.add_done_callback(self._logged_in)
        else:
            self._admit(client, connect, identity.user)

    async def _log_in(self, client: ConnectedDevice, connect: Connect) -> None:
        users = self._users
        assert users is not None  # noqa: S101  `admission` asks only then
        assert connect.user is not None  # noqa: S101  the same
        reason = await users.check(connect.user, connect.password or b"", client.place)
        if client.is_over:
            return
        if users is not self._users:
            self._knock(client, connect)  # others count by now
        elif reason is Reason.SUCCESS:
            self._admit(client, connect, connect.user)
        else:
            text = "too many logins at a time" if reason is Reason.SERVER_BUSY else "a wrong name or password"
            self._refuse(client, connect, reason, text)

    def _logged_in(self, task: asyncio.Task[None]) -> None:
        self._logins.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    def _admit(self, client: ConnectedDevice, connect: Connect, user: str | None) -> None:
        token = fresh_id()
        rights = self._permissions.of(user, connect.client_id or token)
        reason = self._traffic.admit(client, connect, user, rights, token)
        if reason is not Reason.SUCCESS:
            texts = {
                Reason.NOT_AUTHORIZED: "its will is on a topic that it may not publish on",
                Reason.CLIENT_ID_NOT_VALID: "its client id is missing, too long, or another user's",
            }
            self._refuse(client, connect, reason, texts.get(reason, ""))
            return
        self.counts.connects += 1
        _log.debug(
            "device %s connected from %s",
            shown(connect.client_id or token),
            client.place or "this machine",
            extra={"event": "mqtt_connected", "client": shown(connect.client_id or token)},
        )

    def turned_away(self, client: ConnectedDevice, reason: Reason, text: str) -> None:
        """See `Desk`."""
        client.refused_as = _NAMELESS
        self._tell_refusal(client, None, reason, text)

    def _refuse(self, client: ConnectedDevice, connect: Connect, reason: Reason, text: str) -> None:
        client.refused_as = _name_of(connect)
        self._tell_refusal(client, connect, reason, text)
        client.refuse(reason, text)

    def _tell_refusal(self, client: ConnectedDevice, connect: Connect | None, reason: Reason, text: str) -> None:
        """`connect`: None if it did not come to that."""
        remedy = self._remedy(connect, reason)
        self.counts.connects_refused += 1
        self.refusals[reason.name.lower()] += 1
        _log.warning(
            "%s from %s is refused: %s%s",
            client.refused_as or _NAMELESS,
            client.place or "this machine",
            text or reason.name.lower().replace("_", " "),
            f"; {remedy}" if remedy else "",
            extra={
                "event": "mqtt_refused_device",
                "foreign": True,
                "client": shown(connect.client_id) if connect is not None else "",
                "user": shown(connect.user or "") if connect is not None else "",
                "code": int(reason),
            },
        )

    def _remedy(self, connect: Connect | None, reason: Reason) -> str:
        """What to do about a device that is refused, "" if the reason says it."""
        if connect is None or self._users is None:
            return ""
        passwd = f"edgeagent passwd {self._users.path}"
        if reason is Reason.BAD_USER_NAME_OR_PASSWORD:
            return f"correct them on the device, or set the password: {passwd} {_shown(connect.user or 'NAME')}"
        if reason is Reason.NOT_AUTHORIZED and connect.user is None:
            return f"give the device a name and a password: {passwd} NAME"
        return ""

    def _tell_end(self, client: ConnectedDevice, ended: ConnectionEnded) -> None:
        if ended.publishes_will and not self._traffic.is_closing:
            self.counts.broken += 1
        who = client.session.client_id if client.session is not None else ""
        level = logging.DEBUG if ended.is_by_client or self._traffic.is_closing else logging.INFO
        _log.log(
            level,
            "the connection of %s from %s ended: %s",
            shown(who) or client.refused_as or _NAMELESS,
            client.place or "this machine",
            shown(ended.text),
            extra={"event": "mqtt_connection_ended", "foreign": True, "client": shown(who), "code": ended.reason},
        )

    async def close(self, deadline_s: float) -> None:
        """Let nobody in any more, end all connections and say so; after `deadline_s` seconds they are cut off."""
        for task in list(self._logins):
            task.cancel()
        for client in list(self._open):
            client.disconnect(Reason.SERVER_SHUTTING_DOWN)
        if self._open:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(deadline_s):
                    await self._empty.wait()
        for client in list(self._open):
            client.abort()
