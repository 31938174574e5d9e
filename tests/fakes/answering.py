"""What hears the engine's answers and statuses: answers, sender and queries over a real outbox and a real ledger.

async with scene(tmp_path) as here:
    [correlation_id] = await here.published(1)
    await here.hear(here.response(correlation_id, code=200))
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from edgeagent.agent.chores import Chores
from edgeagent.agent.intake import EventIntake
from edgeagent.agent.uplink_parts import make_uplink
from edgeagent.common.units import Duration, Size
from edgeagent.config.tables import AgentConfig, OutboxTable, Relay, Uplink
from edgeagent.events.dedupe import Dedupe
from edgeagent.events.event import Draft
from edgeagent.ledger.ledger import Ledger
from edgeagent.outbox.disk import DiskThread
from edgeagent.outbox.outbox import Outbox
from edgeagent.ports.link import Ack, Message
from edgeagent.rules.ruleset import RuleSet
from edgeagent.rules.spec import RuleSpec
from edgeagent.wire.messages import Report
from tests.fakes.link import FakeLink
from tests.fakes.outbox import running_outbox
from tests.fakes.turned_clock import TurnedClock
from tests.waiting import until

AGENT = "gw-1"
RESPONSE = f"argo/workflows/response/{AGENT}"
STATUS = f"argo/workflows/status/{AGENT}"
_RULE = RuleSpec("all", "plant", template="t", arguments={"n": "body.n"})


class Scene:
    """Owns the parts of an uplink, over the outbox and the ledger that it is given.

    The link only keeps what is published; the test says what the broker does. `until` fails once a part has ended.
    """

    def __init__(
        self,
        outbox: Outbox,
        ledger: Ledger,
        *,
        status_timeout_s: float,
        give_up_after_s: float,
        max_unanswered: int,
    ) -> None:
        self.clock = TurnedClock()
        self.outbox = outbox
        self.ledger = ledger
        self.chores = Chores()
        self.failed: list[BaseException] = []  # what ended a task
        rules = RuleSet([_RULE])
        self._intake = EventIntake(AGENT, rules, outbox, Dedupe(1000), self.clock, max_event_bytes=16 << 10)
        config = AgentConfig(
            uplink=Uplink(max_unanswered=max_unanswered),
            outbox=OutboxTable(max_age=Duration(1e9), max_event_bytes=Size(16 << 10)),
            relay=Relay(status_timeout=Duration(status_timeout_s), give_up_after=Duration(give_up_after_s)),
        )
        parts = make_uplink(
            config,
            AGENT,
            rules=rules,
            outbox=outbox,
            ledger=ledger,
            chores=self.chores,
            clock=self.clock,
            rule_counts=self._intake.rule_counts,
            firing_limits=self._intake.firing_limits,
            identity=lambda: "",
        )
        self.triggers, self.sender, self.answers, self.queries = (
            parts.triggers,
            parts.sender,
            parts.answers,
            parts.queries,
        )
        self.stats = parts.stats
        self.link = FakeLink()
        self._numbers = itertools.count(1)
        self._packets = itertools.count(1)

    def up(self, *, session_present: bool = True) -> FakeLink:
        """The uplink is there."""
        self.link = FakeLink(room=1 << 20)  # the broker keeps up with whatever comes
        self.sender.up(self.link)
        self.queries.up(self.link, session_present=session_present)
        return self.link

    async def accept(self, count: int) -> list[str]:
        """Take events; returns the correlation ids of their triggers."""
        drafts = [
            Draft(source="boiler-1", data=b'{"n": %d}' % number, is_json=True, id=f"e-{number}")
            for number in itertools.islice(self._numbers, count)
        ]
        return [one.triggers[0].correlation_id for one in await self._intake.accept(drafts)]

    async def published(self, count: int) -> list[str]:
        """Take events, and let the broker take their triggers; returns the correlation ids."""
        names = await self.accept(count)
        await self.until(lambda: self.take() >= {*names}, "the triggers")
        await self.chores.idle()
        return names

    def take(self) -> set[str]:
        """Let the broker take the triggers that it was sent; returns which those are."""
        triggers = self.of("argo/workflows/trigger")
        self.sender.acknowledged([Ack(publication.token) for publication in triggers])
        return {publication.correlation_data.decode() for publication in triggers}

    def of(self, topic: str) -> list[Any]:
        """What was published on a topic."""
        return [publication for publication in self.link.published if publication.topic == topic]

    def asked(self) -> list[list[str]]:
        """The correlation ids of each query."""
        return [json.loads(query.payload)["correlation_ids"] for query in self.of("argo/workflows/status/query")]

    def message(self, topic: str, payload: bytes | Mapping[str, Any], **members: Any) -> Message:
        """A message of the broker at QoS 1."""
        text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        number = next(self._packets)
        return Message(topic, text, number, number, **members)

    def response(self, correlation_id: str, **members: Any) -> Message:
        """The engine's answer to a trigger."""
        return self.message(RESPONSE, {"correlation_id": correlation_id, **members})

    def status(self, correlation_id: str, status: str = "Running", **members: Any) -> Message:
        """A status of a trigger's workflow."""
        told = {"namespace": "plant", "workflowId": f"all-{correlation_id}", "status": status}
        return self.message(STATUS, {**told, "correlation_id": correlation_id}, **members)

    async def hear(self, *messages: Message) -> None:
        """The broker brings messages in one read; returns when they are acknowledged."""
        self.answers.received(self.link, messages)
        await self.chores.idle()
        await self.ledger.committed()
        await self.until(lambda: all(message in self.link.acknowledged for message in messages), "acknowledgements")

    async def report(self, correlation_id: str) -> Report:
        """Where a trigger stands."""
        life = await self.ledger.get(correlation_id)
        assert life is not None
        return life.report

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for it; nothing may end meanwhile."""

        def holds() -> bool:
            assert not self.failed, self.failed
            return condition()

        await until(holds, what, seen=lambda: self.link.published)


@asynccontextmanager
async def scene(
    directory: Path,
    *,
    status_timeout_s: float = 3600.0,
    give_up_after_s: float = 86400.0,
    max_unanswered: int = 100,
) -> AsyncIterator[Scene]:
    """A scene that runs. A task that ends before it is told to fails the test."""
    ledger = Ledger(directory / "ledger.db", DiskThread("ledger"), relay=True)
    await ledger.open()
    async with running_outbox(directory) as outbox:
        made = Scene(
            outbox,
            ledger,
            status_timeout_s=status_timeout_s,
            give_up_after_s=give_up_after_s,
            max_unanswered=max_unanswered,
        )
        running = (ledger.run(), made.chores.run(), made.sender.run(), made.queries.run())
        tasks = [asyncio.create_task(run) for run in running]
        for task in tasks:
            task.add_done_callback(
                lambda done: None if done.cancelled() else made.failed.append(done.exception() or EOFError())
            )
        try:
            yield made
            assert not made.failed, made.failed
        finally:
            made.queries.down()
            made.sender.down()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await ledger.close()
