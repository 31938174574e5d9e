"""A link to Pub/Sub with an owner that notes all it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from edgeagent.config.tables import Broker, Uplink
from edgeagent.errors import UplinkError
from edgeagent.links.session import keep_connected
from edgeagent.ports.link import Ack, Link, Message, Publication, Subscription
from edgeagent.wire import topics
from tests.ending import end
from tests.fakes.pubsub import PROJECT, Asked, Fault, Garbage
from tests.waiting import until

URL = f"pubsub://{PROJECT}/triggers"
RESPONSE = topics.response_topic("gw-1")


class Owner:
    """Notes what it is told; the newest link is `link`."""

    def __init__(self, *, acknowledges: bool = True) -> None:
        self.link: Link | None = None
        self.ups = 0
        self.downs: list[UplinkError] = []
        self.acks: list[Ack] = []
        self.messages: list[Message] = []
        self.acknowledges = acknowledges

    def on_up(self, link: Link, *, session_present: bool) -> None:  # noqa: ARG002
        """Connected."""
        self.link = link
        self.ups += 1

    def on_down(self, error: UplinkError) -> None:
        """Not connected."""
        self.link = None
        self.downs.append(error)

    def on_messages(self, messages: Sequence[Message]) -> None:
        """Note and, if so asked, acknowledge them."""
        self.messages += messages
        if self.acknowledges and self.link is not None:
            self.link.acknowledge([message for message in messages if message.receipt is not None])

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """Note them."""
        self.acks += acks

    def on_room(self) -> None:
        """Nothing waits for room."""

    def outcomes(self) -> dict[int, object]:
        """The outcomes by token."""
        return {ack.token: ack.outcome for ack in self.acks}


@asynccontextmanager
async def connected(
    owner: Owner, connection: Uplink | Broker | None = None, *wanted: Subscription
) -> AsyncIterator[Owner]:
    connection = connection or Uplink(url=URL, subscription="edgeagent-{agent}")
    wanted = wanted or (Subscription(RESPONSE), Subscription("argo/workflows/status/gw-1", required=False))
    session = asyncio.create_task(
        keep_connected(connection, owner, client_id="c", subscriptions=wanted, mark="gw-1", base_s=0.05, cap_s=0.05)
    )
    try:
        await until(lambda: owner.ups or owner.downs)
        yield owner
    finally:
        await end(session)


def trigger(token: int, payload: bytes = b"{}", key: str = "") -> Publication:
    return Publication(token, topics.TRIGGER, payload, ordering_key=key)


def publish(owner: Owner, *publications: Publication) -> None:
    assert owner.link is not None
    owner.link.publish(publications)


def faults(verb: str, *answers: Fault | Garbage | None) -> Callable[[Asked], None]:
    """A judge that gives these answers to the calls of a verb, one after the other; None: as it should be."""
    left = list(answers)

    def judge(asked: Asked) -> None:
        if asked.verb == verb and left and (fault := left.pop(0)) is not None:
            raise fault

    return judge
