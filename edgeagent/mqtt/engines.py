"""Which engine makes a connection: `v5` for MQTT 5 by mqtt:// and mqtts://, `v311` for everything else.

`v311` and what it stands on (aiomqtt, paho) are only imported when a configuration needs them.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Protocol

from edgeagent.config.addresses import split_broker_url, split_proxy_url, websocket_path
from edgeagent.config.tables import Connection, Uplink
from edgeagent.errors import Denied, UplinkError
from edgeagent.mqtt.farewell import Farewell
from edgeagent.mqtt.link import Link, LinkOwner
from edgeagent.mqtt.packets import Handshake

# How many publications wait for a broker that does not tell its limit, where the configuration has no `max_inflight`.
WINDOW = 20


class EngineLink(Link, Protocol):
    """What a session needs of a link beside what its owner needs."""

    up: asyncio.Future[UplinkError | None]
    ended: asyncio.Future[UplinkError]
    lost: asyncio.Future[None]
    taken_over: bool
    farewell: Farewell

    def unsubscribe(self) -> None:
        """Give up all subscriptions, as soon as the link is up."""

    def close(self) -> None:
        """End it gracefully."""

    def abort(self) -> None:
        """End it at once and without a word."""


def needs_aiomqtt(connection: Connection, address: str) -> bool:
    """Whether `v5` cannot make this connection."""
    return connection.version != "5" or bool(connection.proxy) or split_broker_url(address)[0] in {"ws", "wss"}


def begin_by_aiomqtt(
    connection: Connection,
    handshake: Handshake,
    owner: LinkOwner,
    context: ssl.SSLContext | None,
    password: bytes | None,
) -> EngineLink:
    """A link that has begun to connect; only its `up` tells what comes of it.

    Raises:
        Denied: the connection cannot be made with this configuration; the text says what to change.
    """
    import aiomqtt  # noqa: PLC0415  most configurations do without

    from edgeagent.mqtt import v311_packets  # noqa: PLC0415  as above
    from edgeagent.mqtt.v311 import V311Link  # noqa: PLC0415  as above
    from edgeagent.mqtt.v311_client import Client  # noqa: PLC0415  as above

    scheme, host, port = split_broker_url(handshake.address)
    is_v5 = connection.version == "5"
    window = connection.max_inflight if isinstance(connection, Uplink) else WINDOW
    link = V311Link(owner, handshake, version=connection.version, window=window, loop=asyncio.get_running_loop())
    settings: dict[str, Any] = {
        "hostname": host,
        "port": port,
        "identifier": handshake.client_id,
        "protocol": aiomqtt.ProtocolVersion.V5 if is_v5 else aiomqtt.ProtocolVersion.V311,
        "keepalive": v311_packets.half_open_keepalive_s(handshake.keepalive_s),
        "username": handshake.username,
        "tls_context": context,
        "transport": "websockets" if scheme in {"ws", "wss"} else "tcp",
        "websocket_path": websocket_path(handshake.address),
        "timeout": float("inf"),  # the session has its own
    }
    if is_v5:
        settings["clean_start"] = handshake.clean_start
        settings["properties"] = v311_packets.connect_properties(handshake)
    else:
        settings["clean_session"] = handshake.clean_start
    try:
        if (will := handshake.will) is not None:
            properties = v311_packets.will_properties(will) if is_v5 else None
            settings["will"] = aiomqtt.Will(will.topic, will.payload, will.qos, will.retain, properties)
        if connection.proxy:
            settings["proxy"] = _proxy(handshake.address, connection.proxy)
        client = Client(
            link,
            max_packet_bytes=handshake.max_packet_bytes,
            connect_timeout_s=connection.connect_timeout,
            password=password,
            **settings,
        )
    except v311_packets.FORMAT_ERRORS as exc:
        text = f"no CONNECT can be made of client id, user name, password and will ({exc})"
        raise Denied(handshake.address, text) from exc
    link.start(client)
    return link


def _proxy(address: str, url: str) -> Any:
    import aiomqtt  # noqa: PLC0415  most configurations do without

    try:
        import socks  # noqa: PLC0415  an extra
    except ImportError as exc:
        raise Denied(address, "proxy needs PySocks: install edgeagent[proxy]") from exc
    scheme, host, port = split_proxy_url(url)
    kind = {"http": socks.HTTP, "socks4": socks.SOCKS4, "socks5": socks.SOCKS5}[scheme]
    return aiomqtt.ProxySettings(proxy_type=kind, proxy_addr=host, proxy_port=port, proxy_rdns=True)
