"""Whether a broker lets us in and grants what we subscribe to, tried once: for `edgeagent doctor`.

Each trial has a client id of its own and a session that ends with it. Under the id of a running agent or dispatcher it
would end that one's connection; in the share group of running dispatchers it would be sent a part of their triggers,
and Mosquitto does not hand that on to the others.

That a subscription is granted is not everything: Mosquitto with an `acl_file` grants each, and then delivers only what
the file allows. Nobody can see that without a message on the topic.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence

import msgspec

from edgeagent.config.tables import Connection, Uplink
from edgeagent.core.checkup import Finding, fail, ok, warn
from edgeagent.core.units import Duration
from edgeagent.errors import Denied, UplinkError
from edgeagent.mqtt import engines
from edgeagent.mqtt.link import Ack, Link, Message, Subscription
from edgeagent.mqtt.session import keep_connected

_SHARED = "$share/"
_GRANT = "grant it to this user in the broker's access list"


async def broker_findings(
    table: str, connection: Connection, client_id: str, topic_filters: Sequence[str]
) -> AsyncIterator[Finding]:
    """Try each of a broker's addresses, and each subscription on the first that lets us in.

    While a subscription is tried, copies of what comes on it reach us and are thrown away; nobody misses them.

    Args:
        table: of the configuration, for the remedies.
        connection: how to reach it.
        client_id: of the agent or dispatcher; the trials' ids begin with it.
        topic_filters: shared ones are tried in a group of their own.
    """
    for choice in engines.choices(connection):
        yield _engine_finding(table, connection, choice)
    own_id = f"{client_id}-doctor-{secrets.token_hex(4)}"
    errors = {address: await _try(connection, address, own_id) for address in connection.addresses}
    usable = [address for address, error in errors.items() if error is None]
    for address, error in errors.items():
        subject = f"{table} {address}"
        if error is None:
            yield ok(subject, "reached, and it lets us in")
        else:
            judge = warn if usable else fail  # another address does
            yield judge(subject, _without_address(error, address), _remedy(table, error, own_id))
    if not usable:
        return
    for topic_filter in topic_filters:
        error = await _try(connection, usable[0], own_id, _aside(topic_filter))
        subject = f"{table} subscription {topic_filter}"
        if error is None:
            yield ok(subject, "granted")
        else:
            yield fail(
                subject, _without_address(error, usable[0]), "let this user subscribe in the broker's access list"
            )


def _engine_finding(table: str, connection: Connection, choice: engines.Choice) -> Finding:
    subject, found = f"{table} MQTT engine", str(choice)
    if isinstance(connection, Uplink) and (problem := engines.qos_problem(connection)):
        return fail(
            subject, f"{found}; the agent does not start with qos = {connection.qos}", f"set {problem.path} to 1"
        )
    if choice.is_fallback:
        remedy = "install a mqtt5 for this machine, if there is one: aiomqtt takes more processor time for a message"
        return warn(subject, found, remedy)
    return ok(subject, found)


class _Trial:
    """The owner of one connection: remembers how the attempt ended."""

    def __init__(self) -> None:
        self.error: asyncio.Future[UplinkError | None] = asyncio.get_running_loop().create_future()

    def on_up(self, link: Link, *, session_present: bool) -> None:  # noqa: ARG002  nothing is sent
        """Connected and subscribed."""
        self._ended(None)

    def on_down(self, error: UplinkError) -> None:
        """It was not to be."""
        self._ended(error)

    def on_messages(self, messages: Sequence[Message]) -> None:
        """Copies; those whom they are for have theirs."""

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """Nothing is published."""

    def on_room(self) -> None:
        """Nothing is published."""

    def _ended(self, error: UplinkError | None) -> None:
        if not self.error.done():
            self.error.set_result(error)


async def _try(connection: Connection, address: str, client_id: str, *topic_filters: str) -> UplinkError | None:
    """Connect and subscribe once, and disconnect; returns why that failed, within `connect_timeout`."""
    alone = msgspec.structs.replace(connection, url=address, urls=(), session_expiry=Duration(0))
    trial = _Trial()
    async with asyncio.TaskGroup() as group:
        session = group.create_task(
            keep_connected(
                alone,
                trial,
                client_id=client_id,
                subscriptions=[Subscription(topic_filter) for topic_filter in topic_filters],
            )
        )
        error = await trial.error
        session.cancel()
    return error


def _aside(topic_filter: str) -> str:
    """A shared subscription's filter in a group that nobody else is in."""
    if not topic_filter.startswith(_SHARED):
        return topic_filter
    group, _, rest = topic_filter.removeprefix(_SHARED).partition("/")
    return f"{_SHARED}{group}-doctor-{secrets.token_hex(4)}/{rest}"


def _without_address(error: UplinkError, address: str) -> str:
    return str(error).removeprefix(f"{address}: ")


def _remedy(table: str, error: UplinkError, client_id: str) -> str:
    if isinstance(error, Denied):
        return (
            f"correct what it names in [{table}], or the broker's access list; the doctor came as {client_id}, "
            "which a broker that knows only certain client ids refuses"
        )
    return f"start the broker, or correct [{table}] url and what the network lets through"
