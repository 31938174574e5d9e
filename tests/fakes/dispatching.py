"""A dispatcher between a scripted engine and a link without a broker."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from edgeagent.dispatcher.dispatcher import Dispatcher
from edgeagent.dispatcher.engine import Order
from edgeagent.dispatcher.outcome import Created, Duplicate, NameTaken
from edgeagent.dispatcher.policy import EVERYTHING, Policy
from edgeagent.errors import EngineError, Unavailable
from edgeagent.mqtt.reason_codes import answer
from edgeagent.ports.link import Abilities, Message, Publication
from edgeagent.wire.messages import Status

DOWN = Unavailable("mqtt://broker.example", "the connection failed")


class FakeLink:
    """Keeps what is published and acknowledged."""

    max_packet_bytes = 1 << 20
    carried: frozenset[int] = frozenset()
    abilities = Abilities()
    blocked = ""

    def __init__(self, room: int = 100) -> None:
        self.room = room
        self.published: list[Publication] = []
        self.acknowledged: list[int] = []

    def publish(self, publications: Sequence[Publication]) -> None:
        """See `Link`."""
        assert len(publications) <= self.room
        self.room -= len(publications)
        self.published += publications

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """See `Link`."""
        self.acknowledged += [message.delivery_id for message in messages]


class FakeEngine:
    """Creates each name once, as Kubernetes does.

    Attributes:
        orders: every order that came, in order.
        created: how many workflows there are of each name; more than one is a fault.
        gate: while it is cleared each creation waits for it, before it is done.
        failures: what the next creations and probes raise instead; the last one stays until it is taken away.
        turns: how often a creation lets others run, before and after it is done.
        statuses: how the workflow of a name is, as a duplicate of it tells.
    """

    dry_run = False

    def __init__(self, turns: int = 0) -> None:
        self.orders: list[Order] = []
        self.probes = 0
        self.created: Counter[str] = Counter()
        self.owners: dict[str, tuple[str, str]] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures: list[EngineError] = []
        self.turns = turns
        self.statuses: dict[str, Status] = {}

    async def create(self, order: Order) -> Created | Duplicate | NameTaken:
        """See `Engine`."""
        self.orders.append(order)
        for _ in range(self.turns):
            await asyncio.sleep(0)
        await self.gate.wait()
        self._fail()
        name = order.name or f"{order.generate_name}{len(self.created)}"
        owner = (order.agent, order.correlation_id)
        known = self.owners.setdefault(name, owner)
        if known != owner:
            return NameTaken(name)
        duplicate = name in self.created
        self.created[name] += not duplicate
        for _ in range(self.turns):
            await asyncio.sleep(0)
        return Duplicate(name, self.statuses.get(name)) if duplicate else Created(name)

    def as_it_is(self) -> FakeEngine:
        """Another one with the workflows that this one has now."""
        copy = FakeEngine(self.turns)
        copy.created.update(self.created)
        copy.owners.update(self.owners)
        return copy

    async def probe(self) -> None:
        """See `Engine`."""
        self.probes += 1
        self._fail()

    async def drain(self) -> None:
        """Nothing is held back."""

    def _fail(self) -> None:
        if self.failures:
            raise self.failures[0] if len(self.failures) == 1 else self.failures.pop(0)


class Stage:
    """A dispatcher between an engine and a link."""

    def __init__(self, engine: FakeEngine | None = None, **options: Any) -> None:
        self.engine = engine or FakeEngine()
        self.dispatcher = Dispatcher(self.engine, Policy([EVERYTHING]), **options)
        self.link = FakeLink()

    def connect(self, room: int = 100) -> FakeLink:
        """The link comes up."""
        self.link = FakeLink(room)
        self.dispatcher.on_up(self.link, session_present=True)
        return self.link

    def answer(self, publication: Publication, reason_code: int = 0) -> None:
        """The broker answers one publication."""
        self.link.room += 1
        self.dispatcher.on_acks([answer(publication.token, reason_code)])

    def contents(self) -> list[dict[str, Any]]:
        """What was published, decoded."""
        return [msgspec.json.decode(publication.payload) for publication in self.link.published]

    def names(self) -> list[str]:
        """What was published, by the workflow it is about."""
        return [content["workflowId"] for content in self.contents()]


def trigger(
    name: str,
    packet_id: int,
    *,
    namespace: str = "plant",
    agent: str = "gw-1",
    attempt: int = 1,
    template: str = "inspect",
    **fields: Any,
) -> Message:
    """A trigger of an agent; `fields` are the message's."""
    workflow = {"metadata": {"name": name}, "spec": {"workflowTemplateRef": {"name": template}}}
    content = {"namespace": namespace, "agent": agent, "attempt": attempt, "workflow": workflow}
    return Message(f"argo/workflows/trigger/{agent}", msgspec.json.encode(content), packet_id, packet_id, **fields)
