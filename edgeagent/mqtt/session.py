"""Keeping a connection: connect, subscribe, tell the owner, wait, again, until cancelled."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from edgeagent.config.addresses import split_broker_url
from edgeagent.config.checks import MAX_EVENT_BYTES_LIMIT
from edgeagent.config.tables import Connection
from edgeagent.core.backoff import full_jitter
from edgeagent.errors import Denied, Unavailable, UplinkError
from edgeagent.mqtt import reasons, tls
from edgeagent.mqtt.leave import Leave
from edgeagent.mqtt.link import LinkOwner, Subscription, Will
from edgeagent.mqtt.packets import Handshake, connect_packet
from edgeagent.mqtt.v5 import V5Link

# A broker that restarts is back within a second or two; a broker that is gone is not hammered.
BACKOFF_BASE_S = 1.0
BACKOFF_CAP_S = 60.0
# A connection that breaks sooner is as bad as none: a broker that drops us at once must not be tried each second.
STABLE_S = 30.0
# Two clients with one id would otherwise end each other for ever, every second.
TAKEN_OVER_S = 60.0
# The largest event that can be configured, and 64 KiB each for topic, properties and the rest of the packet.
MAX_PACKET_BYTES = MAX_EVENT_BYTES_LIMIT + (256 << 10)
# How long a broker may take to close its side after our DISCONNECT.
CLOSE_TIMEOUT_S = 2.0
# A name with a dead IPv6 address must not eat the whole connect_timeout (RFC 8305 recommends this wait).
_HAPPY_EYEBALLS_DELAY_S = 0.25

_log = logging.getLogger(__name__)


class _Ending(NamedTuple):
    """How one attempt ended: why, how long it was connected (0: never), and whether another client took the session."""

    error: UplinkError
    up_s: float = 0.0
    taken_over: bool = False


async def keep_connected(
    connection: Connection,
    owner: LinkOwner,
    *,
    client_id: str,
    subscriptions: Sequence[Subscription] = (),
    will: Will | None = None,
    leave: Leave | None = None,
    max_packet_bytes: int = MAX_PACKET_BYTES,
    base_s: float = BACKOFF_BASE_S,
    cap_s: float = BACKOFF_CAP_S,
    stable_s: float = STABLE_S,
    taken_over_s: float = TAKEN_OVER_S,
) -> NoReturn:
    """Keep `owner` connected to a broker until cancelled.

    Each attempt takes the next of `connection.addresses` and reads password and certificates from their files. After
    each ending or failure `owner.on_down` says why, and the next attempt comes after a random wait of up to `base_s`,
    doubling up to `cap_s`, and from the start again once a connection lasted `stable_s`. When another client took the
    session, the wait is at least `taken_over_s`. On cancellation it disconnects gracefully (the broker discards the
    will) and tells the owner nothing more. The broker keeps the session, unless `leave` was used to empty it.

    Args:
        connection: the configured keys; `client_id` in it is not looked at.
        owner: who is told.
        client_id: the id to connect with, `{agent}` replaced.
        subscriptions: made on every connect and confirmed before `owner.on_up`.
        will: what the broker publishes when the connection ends without a DISCONNECT.
        leave: the owner's way to give up the subscriptions and the session.
        max_packet_bytes: the largest packet to receive; the broker discards what is larger.
        base_s: the longest first wait.
        cap_s: the longest wait.
        stable_s: how long a connection must last to count as good.
        taken_over_s: the shortest wait after another client took the session.
    """
    loop = asyncio.get_running_loop()
    leave = leave or Leave()
    addresses = itertools.cycle(connection.addresses)
    failures = 0
    while True:
        handshake = Handshake(
            address=next(addresses),
            client_id=client_id,
            keepalive_s=max(1, int(connection.keepalive)),
            session_expiry_s=int(connection.session_expiry),
            max_packet_bytes=max_packet_bytes,
            username=connection.username or None,
            will=will,
            subscriptions=() if leave.begun else tuple(subscriptions),
        )
        ending = await _connect_once(connection, handshake, owner, leave, loop)
        owner.on_down(ending.error)
        if ending.up_s >= stable_s:
            failures = 0
        wait_s = full_jitter(failures, random.random(), base_s=base_s, cap_s=cap_s)  # noqa: S311  jitter is no secret
        if ending.taken_over:
            wait_s = max(wait_s, taken_over_s)
        failures += 1
        extra = {"event": "mqtt_reconnect_wait", "address": handshake.address, "wait_s": wait_s, "failures": failures}
        _log.debug("next attempt to connect after a wait", extra=extra)
        await asyncio.sleep(wait_s)


async def _connect_once(
    connection: Connection, handshake: Handshake, owner: LinkOwner, leave: Leave, loop: asyncio.AbstractEventLoop
) -> _Ending:
    """One connection's life, or an attempt at one."""
    link: V5Link | None = None
    try:
        async with asyncio.timeout(connection.connect_timeout):
            link = await _open(connection, handshake, owner, loop)
            leave.follow(link)
            failed = await link.up
        if failed is not None:
            return _Ending(failed)
        since_s = loop.time()
        error = await link.ended
        return _Ending(error, loop.time() - since_s, link.taken_over)
    except UplinkError as exc:
        return _Ending(exc)
    except TimeoutError:
        text = f"no connection within {connection.connect_timeout:g} s (connect_timeout)"
        return _Ending(Unavailable(handshake.address, text))
    except ConnectionResetError:  # not by V5Link: only a TLS handshake can end so
        text = "it closed the connection during the TLS handshake; does this port speak TLS?"
        return _Ending(Unavailable(handshake.address, text))
    except (OSError, UnicodeError) as exc:  # UnicodeError: a host that is no name, such as "a..b"
        return _Ending(reasons.connection_failure(handshake.address, exc))
    finally:
        leave.follow(None)
        if link is not None:
            await _shut(link)


async def _open(
    connection: Connection, handshake: Handshake, owner: LinkOwner, loop: asyncio.AbstractEventLoop
) -> V5Link:
    """Resolve, connect and begin TLS; CONNECT is on its way when this returns."""
    scheme, host, port = split_broker_url(handshake.address)
    context = None
    if scheme == "mqtts":
        context = await asyncio.to_thread(tls.client_context, handshake.address, connection)
    password = None
    if connection.password_file:
        password = await asyncio.to_thread(
            tls.read_secret, handshake.address, "password_file", connection.password_file
        )
    try:
        connect = connect_packet(handshake, password)
    except ValueError as exc:
        text = f"no CONNECT can be made of client id, user name, password and will ({exc})"
        raise Denied(handshake.address, text) from exc
    _, link = await loop.create_connection(
        lambda: V5Link(owner, handshake, connect, loop),
        host,
        port,
        ssl=context,
        happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY_S,
    )
    return link


async def _shut(link: V5Link) -> None:
    """Disconnect when it is still connected, and see the socket gone, by force when the broker takes its time."""
    try:
        link.close()
        await asyncio.wait({link.lost}, timeout=CLOSE_TIMEOUT_S)
    finally:
        if not link.lost.done():
            link.abort()
