"""Chooses the engine for a connection, and begins the connection with it.

`v5`, on the codec `mqtt5`, makes connections of MQTT 5 by mqtt:// and mqtts://. `v311`, on `aiomqtt`, makes all others,
and these too where the codec cannot be imported: it is compiled, and not available for every machine. This module
imports no engine, and none of its libraries, before a connection needs it.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import ipaddress
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from edgeagent.config.addresses import is_amqp, is_pubsub, split_broker_url, split_proxy_url, websocket_path
from edgeagent.config.tables import Connection, Uplink
from edgeagent.errors import Denied, Problem
from edgeagent.mqtt.handshake import Handshake
from edgeagent.mqtt.link_driver import MqttLinkDriver
from edgeagent.ports.link import LinkOwner

if TYPE_CHECKING:
    import ssl

MQTT5, AIOMQTT = "mqtt5", "aiomqtt"

# How many publications may be unacknowledged when neither the broker nor `max_inflight` sets a limit.
DEFAULT_INFLIGHT = 20
# A host name with a dead IPv6 address must not use up the whole connect_timeout (RFC 8305 recommends this wait).
_HAPPY_EYEBALLS_DELAY_S = 0.25
_EXACTLY_ONCE = 2


class EngineChoice(msgspec.Struct, frozen=True):
    """The engine for a connection, named after the package it is built on, and the reason for the choice.

    `is_fallback`: `MQTT5` would be used if it could be imported on this machine.
    """

    engine: str
    why: str
    is_fallback: bool = False

    def __str__(self) -> str:
        return f"{self.engine}: {self.why}"


@functools.cache
def codec_fault() -> str:
    """Why the codec cannot be imported on this machine; "" if it can."""
    try:
        importlib.import_module("mqtt5")
    except ImportError as exc:  # also raised by a codec that was compiled for another machine
        return " ".join(str(exc).split())
    return ""


def choose(connection: Connection, address: str) -> EngineChoice:
    """The engine that connects to this address."""
    scheme, _, _ = split_broker_url(address)
    if connection.version != "5":
        return EngineChoice(AIOMQTT, f"MQTT {connection.version}")
    if scheme in {"ws", "wss"}:
        return EngineChoice(AIOMQTT, f"MQTT 5 by {scheme}://")
    if connection.proxy:
        return EngineChoice(AIOMQTT, "MQTT 5 through a proxy")
    if fault := codec_fault():
        return EngineChoice(AIOMQTT, f"mqtt5 cannot be imported on this machine ({fault})", is_fallback=True)
    return EngineChoice(MQTT5, f"MQTT 5 by {scheme}://")


def choices(connection: Connection) -> list[EngineChoice]:
    """The engines for the connection's addresses: one, or one for each scheme if they differ; none if not by MQTT."""
    if any(is_amqp(address) or is_pubsub(address) for address in connection.addresses):
        return []
    return [*dict.fromkeys(choose(connection, address) for address in connection.addresses)]


def qos_problem(uplink: Uplink) -> Problem | None:
    """What keeps an agent from starting on this machine although its configuration is valid; None if nothing does."""
    for choice in choices(uplink):
        if choice.is_fallback and uplink.qos == _EXACTLY_ONCE:
            return Problem("uplink.qos", f"2 needs the MQTT engine mqtt5: {choice.why}; set it to 1")
    return None


async def begin(
    connection: Connection,
    handshake: Handshake,
    owner: LinkOwner,
    context: ssl.SSLContext | None,
    password: bytes | None,
) -> MqttLinkDriver:
    """Begin to connect, with TLS if a context is given; the link's `up` says how that ended.

    Raises:
        Denied: this configuration allows no connection; the text says what to change.
        OSError, UnicodeError: the address cannot be reached.
    """
    if choose(connection, handshake.address).engine == AIOMQTT:
        return _begin_by_aiomqtt(connection, handshake, owner, context, password)
    from edgeagent.mqtt.packets import connect_packet  # noqa: PLC0415  it imports the codec
    from edgeagent.mqtt.v5 import V5Link  # noqa: PLC0415  as above

    try:
        connect = connect_packet(handshake, password)
    except ValueError as exc:
        raise _not_made(handshake, exc) from exc
    _, host, port = split_broker_url(handshake.address)
    loop = asyncio.get_running_loop()
    _, link = await loop.create_connection(
        lambda: V5Link(owner, handshake, connect, loop),
        host,
        port,
        ssl=context,
        happy_eyeballs_delay=None if _is_address(host) else _HAPPY_EYEBALLS_DELAY_S,
    )
    return link


def _is_address(host: str) -> bool:
    """Whether the host is an address; asyncio's race between addresses may leave a socket open when it is cancelled."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _begin_by_aiomqtt(
    connection: Connection,
    handshake: Handshake,
    owner: LinkOwner,
    context: ssl.SSLContext | None,
    password: bytes | None,
) -> MqttLinkDriver:
    import aiomqtt  # noqa: PLC0415  most configurations do without

    from edgeagent.mqtt import v311_packets  # noqa: PLC0415  as above
    from edgeagent.mqtt.v311 import V311Link  # noqa: PLC0415  as above
    from edgeagent.mqtt.v311_client import AiomqttClient  # noqa: PLC0415  as above

    scheme, host, port = split_broker_url(handshake.address)
    is_v5 = connection.version == "5"
    limit = connection.max_inflight if isinstance(connection, Uplink) else DEFAULT_INFLIGHT
    loop = asyncio.get_running_loop()
    link = V311Link(owner, handshake, version=connection.version, max_inflight=limit, loop=loop)
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
        "timeout": float("inf"),  # the session has its own timeout
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
            settings["dial"] = _through_proxy(handshake.address, connection.proxy)
        client = AiomqttClient(
            link,
            max_packet_bytes=handshake.max_packet_bytes,
            connect_timeout_s=connection.connect_timeout,
            password=password,
            **settings,
        )
    except v311_packets.FORMAT_ERRORS as exc:
        raise _not_made(handshake, exc) from exc
    link.start(client)
    return link


def _not_made(handshake: Handshake, exc: Exception) -> Denied:
    return Denied(handshake.address, f"no CONNECT can be made of client id, user name, password and will ({exc})")


def _through_proxy(address: str, url: str) -> Callable[..., Any]:
    """A function that connects through this proxy, which resolves the broker's name."""
    try:
        import socks  # noqa: PLC0415  an extra
    except ImportError as exc:
        raise Denied(address, "proxy needs PySocks: install edgeagent[proxy]") from exc
    scheme, host, port = split_proxy_url(url)
    kind = {"http": socks.HTTP, "socks4": socks.SOCKS4, "socks5": socks.SOCKS5}[scheme]
    return functools.partial(
        socks.create_connection, proxy_type=kind, proxy_addr=host, proxy_port=port, proxy_rdns=True
    )
