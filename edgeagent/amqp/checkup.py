"""The checks of `edgeagent doctor` on a broker of AMQP: does it let us in, and may we do there what we must?

Nothing is published: a message whose expiration is no number is refused with 406 if this user may publish there, and
with 403 if not. An agent's own queue is declared as the agent does it. A dispatcher's is not, since triggers would wait
in it that nobody takes: its bindings are tried on a queue that goes with the connection.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

from pamqp import commands

from edgeagent.amqp import codec, reasons
from edgeagent.amqp.connection import AmqpConnection, AmqpPhase
from edgeagent.amqp.dialer import terms
from edgeagent.amqp.keys import EXCHANGE, routing_key, shared_by
from edgeagent.amqp.opening import PUBLISHING
from edgeagent.amqp.topology import AmqpQueue, queues
from edgeagent.amqp.wire import Wire
from edgeagent.common.finding import Finding, fail, ok, warn
from edgeagent.config.addresses import split_broker_url
from edgeagent.config.tables import Connection
from edgeagent.errors import Denied, Unavailable, UplinkError
from edgeagent.links import tls
from edgeagent.links.engines import has_tls
from edgeagent.links.failures import connection_failure
from edgeagent.links.request import LinkRequest
from edgeagent.links.trial import BrokerTrial
from edgeagent.ports.link import Subscription
from edgeagent.wire.topics import AGENTS_TRIGGER, TRIGGER

_RIGHTS = "give this user the rights in docs/brokers.md"


async def findings(table: str, connection: Connection, trial: BrokerTrial) -> AsyncIterator[Finding]:
    """See `links.checkup.broker_findings`."""
    group = next((found for topic_filter in trial.filters if (found := shared_by(topic_filter)[0])), "")
    tried = {
        address: (await _attempt(connection, _request(connection, address, trial, ()), group))[0]
        for address in connection.addresses
    }
    usable = next((address for address, error in tried.items() if error is None), "")
    for address, error in tried.items():
        subject = f"{table} {address}"
        if error is None:
            yield ok(subject, "reached, and it accepts the connection")
        else:
            judge = warn if usable else fail  # only a warning when another address works
            yield judge(subject, _without_address(error), _remedy(table, error))
    if not usable:
        return
    for topic_filter in trial.filters:
        error, _ = await _attempt(connection, _request(connection, usable, trial, (topic_filter,)), group)
        subject = f"{table} subscription {topic_filter}"
        yield ok(subject, "granted") if error is None else fail(subject, _without_address(error), _RIGHTS)
    for topic in (*trial.publishes, *trial.requests):
        _, code = await _attempt(connection, _request(connection, usable, trial, ()), group, routing_key(topic))
        subject, found = f"{table} publishing {topic}", f"refused ({code})" if code else "the connection ended"
        if code == reasons.PRECONDITION_FAILED:
            yield ok(subject, "allowed")
        elif topic in trial.requests:
            yield warn(subject, f"{found}: `edgeagent workflow` gets no answer, and ends the connection", _RIGHTS)
        elif topic == TRIGGER:
            yield fail(subject, found, f'set {table}.trigger_topic = "{AGENTS_TRIGGER}", or {_RIGHTS}')
        else:
            yield fail(subject, found, _RIGHTS)


def _remedy(table: str, error: UplinkError) -> str:
    if isinstance(error, Denied):
        return f"correct what it names in [{table}], or at the broker"
    return f"start the broker, or correct [{table}] url and what the network lets through"


def _request(connection: Connection, address: str, trial: BrokerTrial, filters: tuple[str, ...]) -> LinkRequest:
    return LinkRequest(
        address=address,
        client_id=f"{trial.client_id}-doctor-{secrets.token_hex(4)}",
        keepalive_s=max(1, int(connection.keepalive)),
        session_expiry_s=int(connection.session_expiry),
        max_packet_bytes=1,
        username=connection.username or None,
        subscriptions=tuple(Subscription(topic_filter) for topic_filter in filters),
        mark=trial.mark,
    )


def _queues(request: LinkRequest, group: str) -> tuple[AmqpQueue, ...]:
    """As an agent declares them; for the dispatchers of a group, one that goes with the connection."""
    found = queues(request, secrets.token_hex(4))
    if not group:
        return tuple(found)
    name = f"edgeagent.dispatch.{group}.{secrets.token_hex(4)}"
    return tuple(AmqpQueue(name, False, False, True, {}, queue.bindings) for queue in found)


class _Trial:
    """The owner of one trial connection: says when something has come of it."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()

    def on_read(self, wire: Wire) -> None:
        """See `WireOwner`."""
        del wire
        self.changed.set()

    def on_lost(self) -> None:
        """See `WireOwner`."""
        self.changed.set()

    def on_writable(self) -> None:
        """Ignored: hardly anything is written."""


async def _attempt(
    connection: Connection, request: LinkRequest, group: str, probe_key: str = ""
) -> tuple[UplinkError | None, int]:
    """Connect, declare and bind, and end; why that failed, and the code with which the broker closed, 0 for none.

    `probe_key`: publish what can never be routed, and wait for the answer.
    """
    loop, trial = asyncio.get_running_loop(), _Trial()
    try:
        async with asyncio.timeout(connection.connect_timeout):
            secret = None
            if connection.password_file:
                secret = await asyncio.to_thread(
                    tls.read_secret, request.address, "password_file", connection.password_file
                )
            context = None
            if has_tls(request.address):
                context = await asyncio.to_thread(tls.client_context, request.address, connection)
            asked = terms(connection, request, secret, _queues(request, group), consumes=False)
            machine = AmqpConnection(asked, 0, "", "", request.max_packet_bytes)
            _, host, port = split_broker_url(request.address)
            _, wire = await loop.create_connection(
                lambda: Wire(trial, machine, request.address, loop), host, port, ssl=context
            )
            try:
                await _until_changed(trial, machine, AmqpPhase.OPENING)
                if probe_key and machine.phase is AmqpPhase.IN_USE:
                    wire.write(_impossible(probe_key))
                    await _until_changed(trial, machine, AmqpPhase.IN_USE)
            finally:
                wire.close(Unavailable(request.address, "the trial is over"))
                wire.abort(Unavailable(request.address, "the trial is over"))
    except TimeoutError:
        return Unavailable(request.address, f"no answer within {connection.connect_timeout:g} s (connect_timeout)"), 0
    except UplinkError as exc:
        return exc, 0
    except (OSError, UnicodeError) as exc:
        return connection_failure(request.address, exc), 0
    is_good = machine.opened is not None and not probe_key
    return None if is_good else machine.error, machine.closed_with


async def _until_changed(trial: _Trial, machine: AmqpConnection, phase: AmqpPhase) -> None:
    while machine.phase is phase:
        trial.changed.clear()
        await trial.changed.wait()


def _impossible(key: str) -> bytes:
    """A message that the broker refuses after it has looked at our rights."""
    publish = commands.Basic.Publish(exchange=EXCHANGE, routing_key=key)
    return codec.content(PUBLISHING, publish, commands.Basic.Properties(expiration="never"), b"", codec.FRAME_MIN_BYTES)


def _without_address(error: UplinkError) -> str:
    return str(error).partition(": ")[2]
