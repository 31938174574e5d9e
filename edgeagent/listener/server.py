"""The agent's own MQTT listener: its sockets, and the life of everything behind them."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from edgeagent.common.browsers import own_names
from edgeagent.common.certificate_ends import Ends
from edgeagent.common.passed_sockets import refuse_left
from edgeagent.config.addresses import ListenAddress, split_listener
from edgeagent.config.tables import Mqtt
from edgeagent.links.servers import close_servers
from edgeagent.listener.access import Permissions
from edgeagent.listener.bounds import limit
from edgeagent.listener.broker import BrokerCounts, DeviceBroker
from edgeagent.listener.client import ConnectedDevice
from edgeagent.listener.connection import Limits
from edgeagent.listener.door import Door
from edgeagent.listener.judging import judge
from edgeagent.listener.packets import Publish
from edgeagent.listener.protocol import DeviceTimeouts
from edgeagent.listener.sockets import bound_sockets, listen_failed, shown_address
from edgeagent.listener.store import ListenerStore
from edgeagent.listener.traffic import DeviceTraffic
from edgeagent.ports.device import EventPort
from edgeagent.ports.event_topics import EventTopics

if TYPE_CHECKING:
    import ssl

    from edgeagent.listener.tls import ServerCertificates
    from edgeagent.listener.users import Users

_BACKLOG: Final = 512
# So many of them are accepted in one turn of the loop: those that are here have their turns in between.
_ACCEPTED_AT_ONCE: Final = 4
_HANDSHAKE_S: Final = 5.0
_GOODBYE_S: Final = 0.5
# So often it is looked whether certificates were exchanged.
_CERTIFICATES_S: Final = 10.0

_log = logging.getLogger(__name__)


class ListenerFigures(msgspec.Struct, frozen=True):
    """What is counted here, for the metrics; see `DoorCounts` and `BrokerCounts`.

    `messages`: received of devices. `refusals`: connections that were refused, by the reason. `ends`: of certificates.
    """

    devices: int
    sessions: int
    connects: int
    crowded_out: int
    refusals: Mapping[str, int]
    messages: int
    broker: BrokerCounts
    queued_bytes: int
    retained_bytes: int
    ends: Ends


class MqttListener:
    """Owns the sockets that devices connect to, and what they connect to. Its `tasks` must be running.

    It promises that nothing is acknowledged to a device before it is safe, and that what was read is taken before an
    orderly end.
    """

    def __init__(
        self,
        mqtt: Mqtt,
        broker: DeviceBroker,
        store: ListenerStore,
        events: EventPort,
        topics: EventTopics,
        permissions: Permissions,
        users: Users | None,
        *,
        hosts: Sequence[str] = (),
        shut: str = "",
    ) -> None:
        """`hosts`: names of this machine, for WebSocket. `shut`: why no device is let in, "" when devices are."""
        self.traffic = DeviceTraffic(broker, store, events, topics)
        self._mqtt = mqtt
        self._broker = broker
        self._store = store
        self._door = Door(self.traffic, permissions, users, mqtt.max_connections)
        self._door.shut = shut
        self._limits = Limits(max_packet_bytes=int(mqtt.max_packet))
        self._patience = DeviceTimeouts()
        self._certificates: ServerCertificates | None = None
        self._hosts = hosts
        self._sockets: list[tuple[ListenAddress, socket.socket]] = []
        self._servers: list[asyncio.Server] = []

    @property
    def addresses(self) -> list[str]:
        """Where it listens, in the order of the configuration."""
        return [shown_address(address, sock) for address, sock in self._sockets]

    async def start(self, passed: Sequence[socket.socket] = ()) -> None:
        """Listen. `passed`: sockets that listen already, each on one of the addresses; they are used.

        Raises:
            ListenFailed: says why and what to do.
        """
        left = list(passed)
        for listen in self._mqtt.listeners:
            address = split_listener(listen)
            try:
                found = await asyncio.to_thread(bound_sockets, address, left)
            except (OSError, UnicodeError) as exc:
                raise listen_failed(listen, exc) from exc
            self._sockets += [(address, sock) for sock in found]
        refuse_left(left, "mqtt", "mqtt.listen")
        tls = None
        if any(address.is_tls for address, _ in self._sockets):
            from edgeagent.listener.tls import ServerCertificates  # noqa: PLC0415  only for those who use it

            self._certificates = ServerCertificates(self._mqtt)
            tls = await asyncio.to_thread(self._certificates.load)
        for address, sock in self._sockets:
            self._servers.append(await self._serve(address, sock, tls))

    async def _serve(self, address: ListenAddress, sock: socket.socket, tls: ssl.SSLContext | None) -> asyncio.Server:
        """Accept on a socket. On another handle of it, so that the next server with other certificates can follow."""
        accepted = partial(self._connection, self._protocol(address), tls if address.is_tls else None)
        server = await asyncio.get_running_loop().create_server(accepted, sock=sock.dup(), backlog=_ACCEPTED_AT_ONCE)
        sock.listen(_BACKLOG)  # asyncio takes one number for what waits in the system and for what one turn accepts
        return server

    def take_over(self, mqtt: Mqtt, topics: EventTopics, permissions: Permissions, users: Users | None) -> None:
        """From now on these count: connections are judged anew, and limits hold for what is to come."""
        self._limits = Limits(max_packet_bytes=int(mqtt.max_packet))
        limit(self._broker, mqtt)
        self.traffic.topics = topics
        self._door.take_over(permissions, users, mqtt.max_connections)
        gone, revoked = judge(self._broker, self.traffic.clients, permissions, users)
        if gone or revoked:
            _log.warning(
                "devices that are here may do less by the new configuration: %d are disconnected, %d subscriptions "
                "have ended",
                gone,
                revoked,
                extra={"event": "mqtt_revoked", "disconnected": gone, "subscriptions": revoked},
            )

    async def _keep_certificates(self, certificates: ServerCertificates) -> None:
        """Take up other certificates, for the connections to come."""
        while True:
            await asyncio.sleep(_CERTIFICATES_S)
            tls = await asyncio.to_thread(certificates.renewed)
            if tls is None:
                continue
            for place, (address, sock) in enumerate(self._sockets):
                if address.is_tls:
                    before, self._servers[place] = self._servers[place], await self._serve(address, sock, tls)
                    await close_servers([before])
            _log.info("the MQTT listener uses new certificates", extra={"event": "mqtt_certificate_changed"})

    def _protocol(self, address: ListenAddress) -> Callable[[ConnectedDevice], asyncio.Protocol]:
        """What stands between TLS or the socket and a device."""
        if not address.is_websocket:
            return _alone
        from edgeagent.listener.websocket_transport import WebSocketTransport  # noqa: PLC0415  an extra, which few use

        return partial(WebSocketTransport, names=own_names(address.host, self._hosts))

    def _connection(
        self, protocol: Callable[[ConnectedDevice], asyncio.Protocol], tls: ssl.SSLContext | None
    ) -> asyncio.BaseProtocol:
        device = ConnectedDevice(self._door, self._limits, self._patience)
        within = protocol(device)
        if tls is None:
            return within
        from edgeagent.listener.handshake import TlsHandshake  # noqa: PLC0415  4 MiB, needed only with TLS

        return TlsHandshake(device, within, tls, handshake_s=_HANDSHAKE_S, shutdown_s=self._patience.linger_s)

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What must run, by name; what others depend on comes first."""
        tasks = {
            "mqtt store": self._store.run(),
            "mqtt events": self.traffic.inbox.run(),
            "mqtt clock": self._tick(),
        }
        if self._certificates is not None:
            tasks["mqtt certificates"] = self._keep_certificates(self._certificates)
        return tasks

    async def _tick(self) -> None:
        while True:
            await self.traffic.until_tick()
            self.traffic.tick()

    def publish(self, publish: Publish) -> None:
        """Pass on a message of the agent itself."""
        self.traffic.publish(publish)

    async def drain(self, deadline_s: float) -> None:
        """Let nobody in, read nothing more, and have what was read taken and answered within `deadline_s` seconds.

        Then say goodbye. What the outbox does not take by then was not acknowledged.
        """
        await self._stop_accepting()
        self.traffic.stop_reading()
        inbox = self.traffic.inbox
        try:
            async with asyncio.timeout(deadline_s):
                await inbox.until_quiet()
        except TimeoutError:
            pass
        if left := len(inbox):
            _log.warning(
                "%d messages of devices were not taken before the end, and are not acknowledged: those at QoS 0 are "
                "gone, the devices send the others again",
                left,
                extra={"event": "mqtt_not_taken", "count": left},
            )
        await self._door.close(_GOODBYE_S)

    async def close(self) -> None:
        """Write what waits for devices, and let go of the file. The tasks must have ended."""
        await self._stop_accepting()
        self.traffic.stop_reading()
        await self._door.close(0.0)
        await self._store.close(self._broker.waiting())

    async def _stop_accepting(self) -> None:
        servers, self._servers = self._servers, []
        await close_servers(servers)
        for _, sock in self._sockets:
            sock.close()
        self._sockets.clear()

    @property
    def figures(self) -> ListenerFigures:
        """What the metrics show of it."""
        broker = self._broker
        return ListenerFigures(
            devices=len(self.traffic.clients),
            sessions=len(broker.sessions),
            connects=self._door.counts.connects,
            crowded_out=self._door.counts.crowded_out,
            refusals=dict(self._door.refusals),
            messages=self.traffic.counts.received,
            broker=broker.counts,
            queued_bytes=broker.sessions.room.used_bytes,
            retained_bytes=broker.retained.used_bytes,
            ends=self._certificates.ends if self._certificates is not None else Ends(),
        )

    def stats(self) -> dict[str, Any]:
        """Figures for `/v1/stats`, ready for JSON."""
        broker, inbox = self._broker, self.traffic.inbox
        return {
            "addresses": self.addresses,
            "connects_refused_by": dict(self._door.refusals),
            "certificate_days_left": self._certificates.days_left if self._certificates is not None else None,
            "connections": self._door.connections,
            "sessions": len(broker.sessions),
            "subscriptions": broker.subscriptions.count,
            "retained": len(broker.retained),
            "retained_bytes": broker.retained.used_bytes,
            "queued_bytes": broker.sessions.room.used_bytes,
            **msgspec.to_builtins(self._door.counts),
            **msgspec.to_builtins(self.traffic.counts),
            "events": inbox.counts.events,
            "refused": inbox.counts.refused,
            "redelivered": inbox.counts.redelivered,
            "waiting": len(inbox),
            "held": inbox.held,
            "too_large": self.traffic.outgoing.too_large,
            **{name: count for name, count in msgspec.to_builtins(broker.counts).items() if name != "denied"},
        }


def _alone(device: ConnectedDevice) -> ConnectedDevice:
    return device
