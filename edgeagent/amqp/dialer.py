"""Makes the connections of an AMQP session (`links.driver`)."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import logging
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec

from edgeagent.common.finding import Finding, fail
from edgeagent.config.addresses import split_broker_url, virtual_host
from edgeagent.config.tables import Connection, Uplink
from edgeagent.errors import Denied
from edgeagent.links.driver import Dialer
from edgeagent.links.request import LinkRequest
from edgeagent.links.trial import BrokerTrial
from edgeagent.ports.link import PREFETCH, LinkOwner

if TYPE_CHECKING:
    import ssl

    from edgeagent.amqp.link import AmqpLink
    from edgeagent.amqp.opening import Terms
    from edgeagent.amqp.topology import AmqpQueue
    from edgeagent.amqp.wire import Wire

MISSING = "AMQP needs the extra: pip install 'edgeagent[amqp]'"
# Who a broker lets in from its own machine without being told a name.
_GUEST = "guest"

# Numbers the connections of this process, so that an acknowledgement can never reach another one. A link over MQTT has
# its receipts in its own range: no owner has both.
_connection_numbers = itertools.count(1)

_log = logging.getLogger(__name__)


def announce(connection: Connection) -> None:
    """Log how the connections will be made."""
    _log.info("%s by AMQP 0-9-1", ", ".join(connection.addresses), extra={"event": "amqp_engine"})


def dialer(connection: Connection, *, exactly_once: bool) -> Dialer:
    """See `links.driver.LinkEngine`; the configuration allows no QoS 2 here."""
    del exactly_once
    return _AmqpDialer(connection)


class _AmqpDialer:
    """Remembers nothing from one connection to the next: each declares its queues anew."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def dial(
        self, request: LinkRequest, owner: LinkOwner, context: ssl.SSLContext | None, password: bytes | None
    ) -> AmqpLink:
        """See `links.driver.Dialer`."""
        if importlib.util.find_spec("pamqp") is None:
            raise Denied(request.address, MISSING)
        from edgeagent.amqp.link import AmqpLink  # noqa: PLC0415  it imports the codec

        loop = asyncio.get_running_loop()
        limit = self._connection.max_inflight if isinstance(self._connection, Uplink) else PREFETCH
        link = AmqpLink(owner, request, limit, loop)
        wires = _wires(self._connection, request, link, password, loop)
        link.start(wires[0], wires[-1])
        _, host, port = split_broker_url(request.address)
        try:
            for wire in wires:
                await loop.create_connection(lambda wire=wire: wire, host, port, ssl=context)
        except BaseException:
            link.abort()
            raise
        return link

    def ended(self) -> str:
        """See `links.driver.Dialer`: the next attempt asks for the same."""
        return ""


def _wires(
    connection: Connection,
    request: LinkRequest,
    link: AmqpLink,
    password: bytes | None,
    loop: asyncio.AbstractEventLoop,
) -> tuple[Wire, ...]:
    """The sockets of a link: two for an owner that answers what it gets, since a broker stops reading a blocked one."""
    from edgeagent.amqp.connection import AmqpConnection  # noqa: PLC0415  it imports the codec
    from edgeagent.amqp.topology import kept_queues, queues  # noqa: PLC0415  as above
    from edgeagent.amqp.wire import Wire  # noqa: PLC0415  as above

    nonce = os.urandom(4).hex()
    whole = terms(connection, request, password, tuple(queues(request, nonce)), tuple(kept_queues(request)))
    if request.answers_first:
        parts = [msgspec.structs.replace(whole, publishes=False), msgspec.structs.replace(whole, queues=(), kept=())]
    else:
        parts = [whole]
    return tuple(
        Wire(
            link,
            AmqpConnection(part, next(_connection_numbers), nonce, request.mark, request.max_packet_bytes),
            request.address,
            loop,
        )
        for part in parts
    )


async def findings(table: str, connection: Connection, trial: BrokerTrial) -> AsyncIterator[Finding]:
    """See `links.driver.LinkEngine`."""
    if importlib.util.find_spec("pamqp") is None:
        yield fail(f"{table} AMQP", MISSING, "install it")
        return
    from edgeagent.amqp import checkup  # noqa: PLC0415  it imports the codec

    async for finding in checkup.findings(table, connection, trial):
        yield finding


def terms(
    connection: Connection,
    request: LinkRequest,
    password: bytes | None,
    wanted: tuple[AmqpQueue, ...],
    kept: tuple[AmqpQueue, ...] = (),
    *,
    consumes: bool = True,
) -> Terms:
    """What is asked of the broker; `wanted`: the queues; `kept`, `consumes`: see `Terms`.

    Raises:
        Denied: the password cannot be sent.
    """
    from edgeagent.amqp.opening import Terms  # noqa: PLC0415  it imports the codec

    has_name = request.username is not None or not connection.cert_file
    try:
        secret = _GUEST if request.username is None else (password or b"").decode()
    except UnicodeDecodeError as exc:
        raise Denied(request.address, "the password in password_file is not UTF-8") from exc
    return Terms(
        address=request.address,
        virtual_host=virtual_host(request.address),
        client_id=request.client_id,
        username=(request.username or _GUEST) if has_name else None,
        password=secret,
        heartbeat_s=request.keepalive_s,
        prefetch=request.prefetch,
        queues=wanted,
        kept=kept,
        consumes=consumes,
    )
