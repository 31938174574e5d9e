"""The checks of `edgeagent doctor` for Pub/Sub: credentials, the topic, the subscription and its filter, the clock.

Nothing is published and nothing is pulled: a pulled message would be taken from whoever waits for it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import msgspec

from edgeagent.common.finding import Finding, fail, ok, warn
from edgeagent.common.foreign import shown
from edgeagent.config.tables import Broker, CloudConnection, Connection
from edgeagent.errors import Denied, UplinkError
from edgeagent.links.tls import load_identity
from edgeagent.pubsub.client import PubSubClient, base_url
from edgeagent.pubsub.credentials import EMULATOR_HOST, ServiceClock
from edgeagent.pubsub.dialer import credentials
from edgeagent.pubsub.outcomes import PERMISSIONS, Verdict
from edgeagent.pubsub.resources import place_of
from edgeagent.wire import topics

# The service takes tokens only up to some minutes before and after their time.
_MAX_SKEW_S = 60.0


class _Granted(msgspec.Struct):
    permissions: list[str] = []


class _Subscription(msgspec.Struct):
    topic: str = ""
    filter: str = ""


async def pubsub_findings(table: str, connection: Connection, agent: str) -> AsyncIterator[Finding]:
    """Examine the connection of an agent, or of a dispatcher.

    Args:
        table: the table of the configuration, for the remedies.
        connection: how to connect.
        agent: the agent's id; "" for a dispatcher.
    """
    assert isinstance(connection, CloudConnection)  # noqa: S101  the checks refuse the scheme elsewhere
    address, clock = connection.addresses[0], ServiceClock()
    subject = f"{table} {address}"
    source = credentials(connection, clock)
    try:
        identity = await asyncio.to_thread(load_identity, address, connection)
        await source.authorization()
    except UplinkError as exc:
        yield fail(subject, _without_address(exc, address), f"correct [{table}] credentials_file or token_file")
        return
    client = PubSubClient(
        address,
        source,
        clock,
        base_url=base_url(os.environ.get(EMULATOR_HOST, "")),
        context=identity.context,
        timeout_s=connection.connect_timeout,
    )
    place = place_of(address)
    topic = place.beside(connection.answer_topic) if isinstance(connection, Broker) else place.topic_path
    name = topics.with_agent(connection.subscription, agent)
    try:
        yield await _topic_finding(client, subject, topic)
        if name:
            async for finding in _subscription_findings(client, table, place.subscription_path(name), agent):
                yield finding
    except UplinkError as exc:
        remedy = f"correct [{table}], or the account's key" if isinstance(exc, Denied) else "see to the network"
        yield fail(subject, _without_address(exc, address), remedy)
        return
    finally:
        await client.aclose()
    if abs(clock.offset_s) > _MAX_SKEW_S:
        found = f"this machine is {abs(clock.offset_s):.0f} s {'behind' if clock.offset_s > 0 else 'ahead of'} Pub/Sub"
        yield warn("clock", found, "have NTP set it; until then tokens are made by the service's clock")


async def _topic_finding(client: PubSubClient, subject: str, topic: str) -> Finding:
    """Whether we may publish to the topic."""
    permission, role = PERMISSIONS["publish"]
    granted = await _granted(client, topic, permission)
    if granted:
        return ok(subject, f"reached, and {topic} may be published to")
    remedy = f"create the topic, or give the account {role} on it"
    if granted is False:
        return fail(subject, f"{topic} does not exist, or the account lacks the permission {permission} on it", remedy)
    looked = await client.look(topic)
    if looked.judged.verdict is Verdict.DONE:
        return ok(subject, f"reached, and {topic} exists; this server tells nothing of permissions")
    return fail(subject, f"{topic} cannot be found or may not be used ({looked.judged.reason})", remedy)


async def _subscription_findings(
    client: PubSubClient, table: str, subscription: str, agent: str
) -> AsyncIterator[Finding]:
    """Whether we may pull from the subscription, and what it brings."""
    subject = f"{table} {subscription}"
    permission, role = PERMISSIONS["pull"]
    granted = await _granted(client, subscription, permission)
    if granted is False:
        found = f"it does not exist, or the account lacks the permission {permission} on it"
        yield fail(subject, found, f"create it (docs/pubsub.md), or give the account {role} on it")
        return
    looked = await client.look(subscription)
    if looked.judged.verdict is Verdict.DONE:
        yield ok(subject, "exists" if granted is None else "may be pulled from")
        for finding in _filter_findings(subject, looked.body, agent):
            yield finding
    elif granted:
        yield ok(subject, "may be pulled from; its filter cannot be seen with this account's permissions")
    else:
        found = f"it cannot be found or may not be used ({looked.judged.reason})"
        yield fail(subject, found, f"create it (docs/pubsub.md), or give the account {role} on it")


def _filter_findings(subject: str, body: bytes, agent: str) -> Iterator[Finding]:
    """Whether the subscription brings an agent what is its own, and nothing of others."""
    try:
        found = msgspec.json.decode(body, type=_Subscription)
    except msgspec.DecodeError:
        return
    if (
        agent
        and f'attributes.agent = "{agent}"' not in found.filter
        and f'attributes.agent="{agent}"' not in found.filter
    ):
        has = f"its filter is {shown(found.filter)}" if found.filter else "it has no filter"
        remedy = f'create it again with the filter attributes.agent = "{agent}" (a filter cannot be changed)'
        yield warn(subject, f"{has}: it brings the answers of other gateways, which are then thrown away", remedy)


async def _granted(client: PubSubClient, resource: str, permission: str) -> bool | None:
    """Whether we have a permission; None if this server cannot tell."""
    answer = await client.call("testIamPermissions", resource, msgspec.json.encode({"permissions": [permission]}))
    if answer.judged.verdict is not Verdict.DONE:
        return None
    try:
        return permission in msgspec.json.decode(answer.body, type=_Granted).permissions
    except msgspec.DecodeError:
        return None


def _without_address(error: UplinkError, address: str) -> str:
    return str(error).removeprefix(f"{address}: ")
