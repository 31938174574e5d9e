"""Does a dispatcher of the group run? What `edgeagent doctor --dispatch` hears of them at the broker."""

from __future__ import annotations

import asyncio
import secrets
import shlex
from collections.abc import Sequence

import msgspec

from edgeagent.common.finding import Finding, ok, warn
from edgeagent.common.foreign import shown
from edgeagent.common.units import Duration
from edgeagent.config.addresses import is_amqp, is_pubsub, virtual_host
from edgeagent.config.tables import DispatcherConfig
from edgeagent.dispatcher.presence import GONE
from edgeagent.errors import UplinkError
from edgeagent.links.session import keep_connected
from edgeagent.ports.link import Ack, Link, Message, Subscription
from edgeagent.wire import topics

# The broker sends what it retains at once. More is listened for a moment after the first.
_LISTEN_S = 5.0
_MORE_S = 0.5
_MAX_SHOWN = 20
# How to see who is there where a broker retains nothing.
_SEE_AMQP = "`rabbitmqctl list_queues -p {vhost} name consumers` shows how many consume edgeagent.trigger.{group}"
_SEE_PUBSUB = "its log, or GET /readyz of [http] listen, shows whether a dispatcher takes triggers"


async def group_finding(config: DispatcherConfig, client_id: str) -> Finding | None:
    """Which dispatchers of the group are connected; None if the broker, of which others tell, cannot be reached.

    `client_id`: that of the dispatcher; the id of the trial begins with it.
    """
    group, address = config.broker.group, config.broker.addresses[0]
    subject = f"group {group}"
    if is_amqp(address) or is_pubsub(address):
        see = (
            _SEE_AMQP.format(vhost=shlex.quote(virtual_host(address)), group=group) if is_amqp(address) else _SEE_PUBSUB
        )
        return ok(subject, f"this broker does not keep who is there: {see}")
    heard = _Heard(group, len(config.broker.addresses))
    async with asyncio.TaskGroup() as tasks:
        session = tasks.create_task(
            keep_connected(
                msgspec.structs.replace(config.broker, session_expiry=Duration(0)),
                heard,
                client_id=f"{client_id}-doctor-{secrets.token_hex(4)}",
                subscriptions=[Subscription(topics.presence_filter(group), qos=0, retained=True)],
            )
        )
        await heard.wait()
        session.cancel()
    if heard.failed:
        return None
    if not heard.instances:
        remedy = (
            "start one: nobody takes the gateways' triggers. If one runs, let this user read "
            f"{topics.presence_filter(group)} in the broker's access list"
        )
        return warn(subject, "no dispatcher of it is connected to the broker", remedy)
    names = sorted(heard.instances)
    listed = ", ".join(shown(name) for name in names[:_MAX_SHOWN])
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    return ok(subject, f"connected to the broker: {listed}{more}; {shown(names[0])} publishes the statuses")


class _Heard:
    """The owner of the trial's connection.

    Attributes:
        instances: the dispatchers that are there.
        failed: whether no connection could be made.
    """

    def __init__(self, group: str, addresses: int) -> None:
        self.instances: set[str] = set()
        self.failed = False
        self._group = group
        self._left = addresses  # each is tried once
        self._done = asyncio.Event()

    async def wait(self) -> None:
        """Wait until it is known who is there."""
        await self._done.wait()

    def on_up(self, link: Link, *, session_present: bool) -> None:
        """Connected and subscribed."""
        del link, session_present
        asyncio.get_running_loop().call_later(_LISTEN_S, self._done.set)

    def on_down(self, error: UplinkError) -> None:
        """No connection by one address."""
        del error
        self._left -= 1
        if not self._left and not self._done.is_set():
            self.failed = True
            self._done.set()

    def on_messages(self, messages: Sequence[Message]) -> None:
        """What the broker retains of each dispatcher; an empty one is a dispatcher that goes."""
        for message in messages:
            instance = topics.instance_of_presence(self._group, message.topic)
            if instance is not None and message.payload != GONE:
                self.instances.add(instance)
        if self.instances:
            asyncio.get_running_loop().call_later(_MORE_S, self._done.set)

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """Ignored: nothing is published."""

    def on_room(self) -> None:
        """Ignored: nothing is published."""
