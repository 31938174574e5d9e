"""Which queues a connection needs, and how they are declared and bound. Pure.

An agent's queue outlives its connections, as a session of MQTT does. The dispatchers of a group share one queue for
triggers, and one for requests about workflows, which outlive them all; what waits there too long goes, because the
gateways send it again. What is asked for at QoS 0 comes by a queue that ends with the connection. A message that must
be kept for those who connect later has a queue that only holds it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pamqp import base, commands

from edgeagent.amqp.keys import EXCHANGE, binding_key, routing_key, shared_by
from edgeagent.links.request import LinkRequest
from edgeagent.ports.link import Subscription
from edgeagent.wire import topics

# Where a queue puts what it gave up, so that somebody can look at it.
DEAD = "edgeagent.dead"
_DEAD_MAX_BYTES = 64 << 20
# A gateway sends a trigger again after response_timeout: without a limit, a day's outage would leave many copies.
TRIGGER_TTL_MS = 600_000
_TRIGGERS_MAX_BYTES = 256 << 20
_REQUESTS_MAX_BYTES = 16 << 20
# The largest x-expires.
_EXPIRES_MAX_MS = (1 << 32) - 1


class Binding(NamedTuple):
    """What brings a subscription's messages into a queue."""

    subscription: Subscription
    key: str


class AmqpQueue(NamedTuple):
    """A queue to consume.

    `name`: "" for one that the broker names. `lasts`: it outlives the connection. `shared`: others may consume it too.
    `acknowledged`: deliveries count as acknowledged. `unwanted`: keys that may be bound from before, and must not be.
    """

    name: str
    lasts: bool
    shared: bool
    acknowledged: bool
    arguments: dict[str, Any]
    bindings: tuple[Binding, ...]
    unwanted: tuple[str, ...] = ()

    @property
    def is_own(self) -> bool:
        """Whether nobody else consumes it, now or later."""
        return not self.shared

    def declare(self, *, passive: bool = False) -> base.Frame:
        """Declare it; `passive`: only ask whether it is there."""
        return commands.Queue.Declare(
            queue=self.name,
            passive=passive,
            durable=self.lasts,
            exclusive=not self.lasts,
            auto_delete=not self.lasts,
            arguments=self.arguments,
        )

    def bind(self, key: str) -> base.Frame:
        """Have it get the messages with this key."""
        return commands.Queue.Bind(queue=self.name, exchange=EXCHANGE, routing_key=key)

    def unbind(self, key: str) -> base.Frame:
        """Have it get them no longer."""
        return commands.Queue.Unbind(queue=self.name, exchange=EXCHANGE, routing_key=key)

    def get(self) -> base.Frame:
        """Read its first message, which is then to be given back."""
        return commands.Basic.Get(queue=self.name)

    def consume(self, tag: str) -> base.Frame:
        """Have its messages sent to us. An agent's answers must not be shared with another of the same name."""
        return commands.Basic.Consume(
            queue=self.name, consumer_tag=tag, no_ack=self.acknowledged, exclusive=self.lasts and not self.shared
        )


def queues(request: LinkRequest, nonce: str) -> list[AmqpQueue]:
    """The queues for a connection's subscriptions. `nonce`: makes the name of a queue that ends with it unique."""
    groups: dict[tuple[str, bool], list[Binding]] = {}
    lasting: list[Binding] = []
    live: list[Binding] = []
    for subscription in request.subscriptions:
        group, topic_filter = shared_by(subscription.topic_filter)
        binding = Binding(subscription, binding_key(topic_filter))
        if group:
            groups.setdefault((group, topics.is_manage(topic_filter)), []).append(binding)
        else:
            (lasting if subscription.qos else live).append(binding)
    found = [_of_group(*key, bindings) for key, bindings in groups.items()]
    if lasting:
        found.append(_of_client(request, tuple(lasting)))
    if live:
        group = next((group for group, _ in groups), "")
        name = f"edgeagent.dispatch.{group}.{nonce}" if group else ""
        found.append(AmqpQueue(name, False, False, True, {}, tuple(live)))
    return found


def _of_group(group: str, is_manage: bool, bindings: list[Binding]) -> AmqpQueue:
    """The queue of a group's triggers, or that of its requests about workflows, which must not wait behind those."""
    arguments = {
        "x-queue-type": "quorum",
        "x-message-ttl": TRIGGER_TTL_MS,
        "x-max-length-bytes": _REQUESTS_MAX_BYTES if is_manage else _TRIGGERS_MAX_BYTES,
        "x-overflow": "reject-publish",
        "x-dead-letter-exchange": DEAD,
        "x-dead-letter-strategy": "at-least-once",
    }
    name = f"edgeagent.manage.{group}" if is_manage else f"edgeagent.trigger.{group}"
    return AmqpQueue(name, True, True, False, arguments, tuple(bindings))


def _of_client(request: LinkRequest, bindings: tuple[Binding, ...]) -> AmqpQueue:
    if not request.session_expiry_s or not request.mark:
        return AmqpQueue("", False, False, False, {}, bindings)
    arguments = {"x-expires": min(request.session_expiry_s * 1000, _EXPIRES_MAX_MS)}
    unwanted = tuple(binding_key(shared_by(topic_filter)[1]) for topic_filter in request.unwanted)
    return AmqpQueue(agents_queue(request.mark), True, False, False, arguments, bindings, unwanted)


def kept_queues(request: LinkRequest) -> list[AmqpQueue]:
    """The queues that stand for retained messages: each keeps the last message of one topic, and has its key as name.

    They are read at the beginning of a connection, and never consumed. They are no quorum queues: those count how
    often a message was given back, drop it after some times, and may answer no `Basic.Get` for a minute after a crash.
    """
    arguments = {"x-queue-type": "classic", "x-max-length": 1}
    return [
        AmqpQueue(key, True, True, False, arguments, (Binding(subscription, key),))
        for subscription in request.subscriptions
        for key in map(routing_key, subscription.kept)
    ]


def agents_queue(agent: str) -> str:
    """The name of an agent's queue."""
    return f"edgeagent.agent.{agent}"


def dead_letters() -> list[base.Frame]:
    """What a group's queue needs besides: where its dead letters go."""
    arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-max-length-bytes": _DEAD_MAX_BYTES}
    return [
        commands.Exchange.Declare(exchange=DEAD, exchange_type="fanout", durable=True),
        commands.Queue.Declare(queue=DEAD, durable=True, arguments=arguments),
        commands.Queue.Bind(queue=DEAD, exchange=DEAD),
    ]
