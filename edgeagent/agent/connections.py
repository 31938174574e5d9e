"""The connections that an agent keeps: what each asks of its broker (a part of the composition root, `agent.agent`)."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from edgeagent.agent.addressing import first_wait_s, uplink_subscriptions
from edgeagent.agent.state import subscribed_topics
from edgeagent.agent.uplink_parts import UplinkParts
from edgeagent.config.tables import Local, Uplink
from edgeagent.links.rotation import Rotation
from edgeagent.links.session import keep_connected
from edgeagent.outbox.files import Filesystem
from edgeagent.ports.link import Subscription
from edgeagent.wire.topics import with_agent

if TYPE_CHECKING:
    from edgeagent.agent.local import LocalBroker

# No answer and no status may be larger than `messages.MAX_MESSAGE_BYTES`. One that is a little larger is still
# received, so that it can be logged; the broker discards anything larger than this limit.
_MAX_PACKET_BYTES = 2 << 20
_EXACTLY_ONCE = 2


def uplink_connection(
    uplink: Uplink,
    agent: str,
    parts: UplinkParts,
    rotation: Rotation,
    *,
    filesystem: Filesystem,
    directory: Path,
    uptime_s: float,
) -> Coroutine[None, None, NoReturn]:
    """Keep the uplink connected; the state `directory` remembers what was subscribed to. `uptime_s`: the machine's."""
    return keep_connected(
        uplink,
        parts.owner,
        client_id=with_agent(uplink.client_id, agent),
        subscriptions=uplink_subscriptions(uplink, agent),
        exactly_once=uplink.qos == _EXACTLY_ONCE,
        needs_acks=uplink.settle == "broker",
        mark=agent,
        subscribed=subscribed_topics(filesystem, directory / "uplink-subscriptions"),
        will=parts.announcer.will,
        rotation=rotation,
        max_packet_bytes=_MAX_PACKET_BYTES,
        first_wait_s=first_wait_s(uplink, agent, uptime_s),
    )


def local_connection(
    local: Local, agent: str, broker: LocalBroker, rotation: Rotation, *, filesystem: Filesystem, directory: Path
) -> Coroutine[None, None, NoReturn]:
    """Keep the agent connected to the gateway's own broker; see `uplink_connection`."""
    return keep_connected(
        local,
        broker,
        client_id=with_agent(local.client_id, agent),
        subscriptions=[Subscription(entry.topic) for entry in local.subscribe],
        mark=agent,
        subscribed=subscribed_topics(filesystem, directory / "local-subscriptions"),
        rotation=rotation,
    )
