"""The broker checks of `edgeagent doctor`: does the broker accept us, and grant what we subscribe to?

Each trial has a client id of its own and a session that ends with it. With the id of a running agent or dispatcher it
would end that client's connection. In the share group of running dispatchers it would receive a part of their triggers,
which Mosquitto does not hand on to the others.

A granted subscription is not proof enough: Mosquitto with an `acl_file` grants every subscription, and then delivers
only what the file allows. That cannot be seen without a message on the topic.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence

import msgspec

from edgeagent.common.finding import Finding, fail, ok, warn
from edgeagent.common.units import Duration
from edgeagent.config.tables import Connection, Uplink
from edgeagent.errors import Denied, UplinkError
from edgeagent.links.session import keep_connected
from edgeagent.links.trial import BrokerTrial
from edgeagent.mqtt import engines
from edgeagent.mqtt.reason_codes import NO_SHARES, words
from edgeagent.ports.link import Abilities, Ack, Link, Message, Publication, Subscription

# How long a message may take to the broker and back.
ECHO_S = 5.0
_SHARED = "$share/"
_NO_SHARES_REMEDY = 'RabbitMQ has no shared subscriptions: reach it by url = "amqp://..." (docs/brokers.md)'


async def mqtt_findings(table: str, connection: Connection, asked: BrokerTrial) -> AsyncIterator[Finding]:
    """Try each of a broker's addresses, and each subscription on the first address that accepts us.

    During a trial of a subscription, copies of its messages are received and thrown away; the real subscribers get
    theirs.

    Args:
        table: the table of the configuration, for the remedies.
        connection: how to connect.
        asked: the client to try for.
    """
    client_id, topic_filters = asked.client_id, asked.filters
    for choice in engines.choices(connection):
        yield _engine_finding(table, connection, choice)
    own_id = f"{client_id}-doctor-{secrets.token_hex(4)}"
    trials = {address: await _try(connection, address, own_id) for address in connection.addresses}
    usable = [address for address, trial in trials.items() if trial.ended is None]
    for address, trial in trials.items():
        subject, error = f"{table} {address}", trial.ended
        if error is None:
            yield ok(subject, "reached, and it accepts the connection")
            for lack in trial.abilities.lacks():
                yield warn(subject, lack, "allow it in the broker's configuration, or live with it")
        else:
            judge = warn if usable else fail  # only a warning when another address works
            yield judge(subject, _without_address(error, address), _remedy(table, error, own_id))
    if not usable:
        return
    for topic_filter in topic_filters:
        error = (await _try(connection, usable[0], own_id, _aside(topic_filter))).ended
        subject = f"{table} subscription {topic_filter}"
        if error is None:
            yield ok(subject, "granted")
        else:
            lacks_shares = topic_filter.startswith(_SHARED) and words(NO_SHARES) in str(error)
            remedy = _NO_SHARES_REMEDY if lacks_shares else "let this user subscribe in the broker's access list"
            yield fail(subject, _without_address(error, usable[0]), remedy)
    if connection.version != "5" and any(topic_filter.startswith(_SHARED) for topic_filter in topic_filters):
        yield await _shared_finding(table, connection, usable[0], own_id)


async def _shared_finding(table: str, connection: Connection, address: str, client_id: str) -> Finding:
    """Whether shared subscriptions deliver: over MQTT 3.1.1 a broker without them grants them like any other topic."""
    topic = f"edgeagent/doctor/{secrets.token_hex(8)}"
    trial = await _try(connection, address, client_id, f"{_SHARED}{client_id}/{topic}", echo=topic)
    subject = f"{table} shared subscriptions"
    if trial.ended is None and trial.heard:
        return ok(subject, "a message came by one")
    found = f"nothing came by one within {ECHO_S:g} s: this broker grants them over MQTT 3.1.1 and delivers nothing"
    remedy = (
        f'{_NO_SHARES_REMEDY}; with another broker use version = "5", or, if its access list forbids '
        "edgeagent/doctor/#, allow that and try again"
    )
    return warn(subject, found, remedy)


def _engine_finding(table: str, connection: Connection, choice: engines.EngineChoice) -> Finding:
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
    """The owner of one trial connection: remembers how the attempt ended.

    `echo`: a topic to publish on once, which one of the subscriptions should bring back; "": none.

    Attributes:
        ended: why the attempt failed, None if it did not.
        abilities: what the broker takes.
        heard: whether the echo came back.
    """

    def __init__(self, echo: str) -> None:
        self.ended: UplinkError | None = None
        self.abilities = Abilities()
        self.heard = False
        self._echo = echo
        self._done = asyncio.Event()

    async def wait(self) -> None:
        """Wait until the result is known; an echo that does not come is waited for `ECHO_S`."""
        await self._done.wait()

    def on_up(self, link: Link, *, session_present: bool) -> None:  # noqa: ARG002  there is no session
        """Connected and subscribed."""
        self.abilities = link.abilities
        if not self._echo:
            self._done.set()
            return
        link.publish([Publication(1, self._echo, b"")])
        asyncio.get_running_loop().call_later(ECHO_S, self._done.set)

    def on_down(self, error: UplinkError) -> None:
        """The attempt failed."""
        if not self._done.is_set():
            self.ended = error
            self._done.set()

    def on_messages(self, messages: Sequence[Message]) -> None:
        """Copies of messages; the real subscribers have theirs."""
        if any(message.topic == self._echo for message in messages):
            self.heard = True
            self._done.set()

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """Ignored: no acknowledgement is waited for."""

    def on_room(self) -> None:
        """Ignored: nothing more is published."""


async def _try(connection: Connection, address: str, client_id: str, *topic_filters: str, echo: str = "") -> _Trial:
    """Connect and subscribe once, and disconnect, within `connect_timeout`; the result says how that went."""
    alone = msgspec.structs.replace(connection, url=address, urls=(), session_expiry=Duration(0))
    trial = _Trial(echo)
    async with asyncio.TaskGroup() as group:
        session = group.create_task(
            keep_connected(
                alone,
                trial,
                client_id=client_id,
                subscriptions=[Subscription(topic_filter) for topic_filter in topic_filters],
            )
        )
        await trial.wait()
        session.cancel()
    return trial


def _aside(topic_filter: str) -> str:
    """A shared subscription's filter in a group of its own."""
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
