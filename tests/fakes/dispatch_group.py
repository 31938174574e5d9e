"""Several real dispatchers of one group on an Argo Server, and somebody who hears all that is said on the broker."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from edgeagent.ports.link import Message, Subscription
from edgeagent.wire import topics
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.programs import Program
from tests.fakes.rabbitmq import RabbitMq
from tests.waiting import until

GROUP = "edgeagent"
FINAL = frozenset({"Succeeded", "Failed", "Error"})
# At one message of the broker one dispatcher takes the lead and another one leaves it, each when it reads the message.
# That may be so far apart, and so long both may publish (`edgeagent.dispatcher.presence`).
LEADERS_APART_S = 5.0

_LEADER = re.compile(r"^(\S+) .* event=status_leader .*leading=(True|False)", re.MULTILINE)
_PUBLISH = re.compile(
    rf"^(\d+): Received PUBLISH from edgeagent-dispatch-(\S+) \(.*'{topics.STATUS}', \.\.\. \(\d+ bytes\)\)$",
    re.MULTILINE,
)


class Span(NamedTuple):
    """A time during which one dispatcher led, in Unix seconds."""

    began_s: float
    ended_s: float
    instance: str


def at_once(spans: Iterable[Span]) -> list[tuple[Span, Span]]:
    """Those of two dispatchers at the same time, and not only while one took over from the other."""
    return [
        (one, other)
        for one, other in itertools.combinations(sorted(spans), 2)
        if one.instance != other.instance
        and min(one.ended_s, other.ended_s) - max(one.began_s, other.began_s) > LEADERS_APART_S
    ]


class ArgoDispatcher(Program):
    """`edgeagent dispatch` on an Argo Server, for namespace plant and template inspect.

    Args:
        directory: where everything of it goes; its name is the instance's.
        broker: the broker's URL.
        argo: the server's URL.
        broker_keys: more of `[broker]`, as TOML.
        engine_keys: more of `[engine]`, as TOML.
        allow_keys: more of `[[allow]]`, as TOML.
        tables: more tables, as TOML.
    """

    def __init__(
        self,
        directory: Path,
        broker: str,
        argo: str,
        *,
        broker_keys: str = "",
        engine_keys: str = "",
        allow_keys: str = "",
        tables: str = "",
    ) -> None:
        self.instance = directory.name
        self._ends_s: list[float] = []
        super().__init__(
            "dispatch",
            directory,
            f"""
            [broker]
            url = "{broker}"
            instance = "{self.instance}"
            {broker_keys}
            [engine]
            kind = "argo"
            url = "{argo}"
            {engine_keys}
            [[allow]]
            namespaces = ["plant"]
            templates = ["inspect"]
            {allow_keys}
            [log]
            format = "text"
            {tables}
            """,
        )

    async def start(self) -> None:
        """Start it and wait until it takes triggers."""
        before = self.log.count("event=broker_connected")
        self.spawn()
        await self.logged("broker_connected", before + 1)

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """See `Program`."""
        signalled_s = time.time()
        code = await super().stop(number)
        self._ends_s.append(signalled_s if number == signal.SIGKILL else time.time())
        return code

    async def __aenter__(self) -> Self:
        """Start it and wait until it takes triggers."""
        await self.start()
        return self

    def led(self) -> Iterator[Span]:
        """When it led, until now at the latest."""
        said = [
            (datetime.fromisoformat(text).timestamp(), leads == "True") for text, leads in _LEADER.findall(self.log)
        ]
        began_s: float | None = None
        for at_s, leads in sorted([*said, *((end_s, False) for end_s in self._ends_s), (time.time(), False)]):
            if leads:
                began_s = at_s
            elif began_s is not None:
                yield Span(began_s, at_s, self.instance)
                began_s = None


class Group:
    """Dispatchers d0, d1, ... on one broker and one server: all started, all stopped at the end."""

    def __init__(self, directory: Path, broker: Mosquitto | RabbitMq, argo: str, *, size: int = 2, **keys: str) -> None:
        self.broker = broker
        self.members = [ArgoDispatcher(directory / f"d{number}", broker.url, argo, **keys) for number in range(size)]

    def __getitem__(self, number: int) -> ArgoDispatcher:
        return self.members[number]

    async def start(self) -> None:
        """Start them all and wait until one of them leads."""
        leaderships = self.leaderships
        await asyncio.gather(*(member.start() for member in self.members))
        await until(lambda: self.leaderships > leaderships, "a leader", seen=self.tails)

    @property
    def leaderships(self) -> int:
        """How often one of them has taken the lead."""
        return sum(member.log.count("leading=True") for member in self.members)

    async def logged(self, event: str) -> None:
        """Wait until each has logged an event."""
        for member in self.members:
            await member.logged(event)

    def tails(self) -> str:
        """The ends of their logs."""
        return "\n".join(member.tail() for member in self.members)

    def leaders_at_once(self) -> list[tuple[Span, Span]]:
        """Times in which two led by what they logged."""
        return at_once(span for member in self.members for span in member.led())

    def publishers(self) -> list[Span]:
        """Who published the statuses for monitoring, by the broker's log, each until others did for a while.

        On an agent's own topic whoever answers `duplicate` may publish, too.
        """
        spans: list[Span] = []
        newest: dict[str, int] = {}  # each one's last span, by its place
        before = ""
        for at, instance in _PUBLISH.findall(self.broker.log_file.read_text("utf-8")):
            place, at_s = newest.get(instance), float(at)
            if place is not None and (before == instance or at_s - spans[place].ended_s <= LEADERS_APART_S):
                spans[place] = spans[place]._replace(ended_s=at_s)
            else:
                newest[instance] = len(spans)
                spans.append(Span(at_s, at_s, instance))
            before = instance
        return spans

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self.members:
            await member.__aexit__(kind, error, trace)


class Monitor(MqttClient):
    """Hears triggers, responses, statuses for monitoring and presences, and keeps account of them, not the messages.

    Attributes:
        triggers: how often each correlation id was sent.
        responses: the code of each answer to a correlation id, and whether it said `duplicate`.
        finals: the final statuses of each workflow, with how often each was published.
        last: the newest status of each workflow.
        went_back: the workflows that were told as running after their end.
        present: the instances whose presence the broker has retained.
    """

    def __init__(self, url: str) -> None:
        super().__init__(
            url,
            "monitor",
            f"{topics.TRIGGER}/#",
            f"{topics.RESPONSE}/#",
            topics.STATUS,
            Subscription(topics.presence_filter(GROUP), retained=True),
        )
        self.triggers: Counter[str] = Counter()
        self.responses: dict[str, list[tuple[int, bool]]] = defaultdict(list)
        self.finals: dict[str, Counter[str]] = defaultdict(Counter)
        self.last: dict[str, str] = {}
        self.went_back: set[str] = set()
        self.present: set[str] = set()

    def on_messages(self, messages: Sequence[Message]) -> None:
        """See `LinkOwner`."""
        for message in messages:
            instance = topics.instance_of_presence(GROUP, message.topic)
            if instance is None:
                self._account(message.topic, json.loads(message.payload))
            elif message.payload:
                self.present.add(instance)
            else:
                self.present.discard(instance)
        if self.link is not None:
            self.link.acknowledge(messages)
        self._changed.set()

    def _account(self, topic: str, said: dict[str, Any]) -> None:
        if topic.startswith(topics.TRIGGER):
            self.triggers[said["correlation_id"]] += 1
        elif topic.startswith(topics.RESPONSE):
            self.responses[said["correlation_id"]].append((said["code"], said.get("duplicate", False)))
        else:
            self._account_status(said["workflowId"], said["status"])

    def _account_status(self, name: str, phase: str) -> None:
        if phase in FINAL:
            self.finals[name][phase] += 1
        elif name in self.finals:
            self.went_back.add(name)
        self.last[name] = phase
