"""Triggers through one dispatcher to an Argo Server: how many, how soon they are answered, and what that costs.

Four processes share the machine: Mosquitto as it comes (only its queues may be longer), the Argo Server of the tests,
which lets every workflow run and succeed within 0.1 s, `edgeagent dispatch`, and this one, which is the gateway: it
publishes triggers and takes the answers and every status. The others together cost almost as much as the dispatcher:
on two cores it is the machine that is found to be full, and a dispatcher with cores to itself does more.

Of the time to an answer most is the broker's when little goes on: it does not set TCP_NODELAY unless it is told to, and
then holds back a small packet until the one before is acknowledged.

The dispatcher remembers each workflow that finished in the last minute, and some seconds more, in a third of a KiB: its
memory grows with the rate until that time is full (14 MiB at 500/s), and must stand still from then on. Only a long run
comes so far: there the second half tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

from benchmarks.engine_side import ArgoServer, Dispatcher, trigger
from benchmarks.load_processes import Program, mosquitto
from benchmarks.measure import Checked, resident_mib, show_checked
from edgeagent.config.tables import Connection
from edgeagent.errors import UplinkError
from edgeagent.links.session import keep_connected
from edgeagent.ports.link import TAKEN, Ack, Link, Message, Publication, Subscription
from edgeagent.wire import messages, topics
from tests.fakes.mosquitto import free_port

_EVENTS = 10_000
_LONG_EVENTS = 100_000
_MARKS = (0.1, 0.5, 0.75, 1.0)  # of the events: where the memory is looked at
_WARM_UP_EVENTS = 200
_RATE_PER_S = 500
_RATE_EVENTS = 5_000
_OUTSTANDING = 100
_LEAST_PER_S = 500.0
_P99_LIMIT_MS = 100.0
_GROWTH_LIMIT_MIB = 4.0

_DEADLINE_S = 30.0
_AGENT = "gw-042"
_TOPIC = topics.with_agent(topics.AGENTS_TRIGGER, _AGENT)


def run(*, long: bool) -> None:
    """Print speed, answer times, processor time and memory. `long`: 100,000 triggers instead of 10,000."""
    events = _LONG_EVENTS if long else _EVENTS
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory, _started(Path(directory)) as (url, processes):
        rows = asyncio.run(_measured(url, processes, events))
    show_checked(f"dispatcher, {events:,} triggers", rows)
    print(f"  {', '.join(processes)} and the gateway shared {os.cpu_count()} cores")


# What is measured.


async def _measured(url: str, processes: Mapping[str, int], events: int) -> list[Checked]:
    gateway = _Gateway()
    topic_filters = (topics.response_topic(_AGENT), topics.status_topics(_AGENT)[-1])
    session = keep_connected(
        Connection(url=url),
        gateway,
        client_id=_AGENT,
        subscriptions=[Subscription(topic_filter) for topic_filter in topic_filters],
    )
    connected = asyncio.create_task(session)
    try:
        await gateway.until(lambda: gateway.is_up)
        await gateway.keep_outstanding(_WARM_UP_EVENTS)
        await gateway.until(lambda: gateway.is_settled)
        gateway.take_answers()
        return [*await _at_rate(gateway, processes), *await _at_saturation(gateway, processes, events)]
    finally:
        connected.cancel()
        await asyncio.wait([connected])


async def _at_rate(gateway: _Gateway, processes: Mapping[str, int]) -> list[Checked]:
    before = _cpu_s(processes)
    await gateway.keep_rate(_RATE_EVENTS)
    await gateway.until(lambda: gateway.is_settled)
    where = f"{_RATE_PER_S}/s"
    return [
        *_answers(gateway.take_answers(), where, _P99_LIMIT_MS),
        *_cpu(before, _cpu_s(processes), _RATE_EVENTS, where),
    ]


async def _at_saturation(gateway: _Gateway, processes: Mapping[str, int], events: int) -> list[Checked]:
    """As many as go through; in parts, so that the memory is looked at when nothing is on its way."""
    memory: dict[int, float] = {}
    done, busy_s, behind_s = 0, 0.0, 0.0
    before = _cpu_s(processes)
    for until in [round(events * mark) for mark in _MARKS]:
        begun_s = time.perf_counter()
        await gateway.keep_outstanding(until - done)
        answered_s = time.perf_counter()
        await gateway.until(lambda: gateway.is_settled)
        busy_s += answered_s - begun_s
        behind_s = max(behind_s, time.perf_counter() - answered_s)
        memory[until] = resident_mib(processes["dispatcher"])
        done = until
    where = f"{_OUTSTANDING} at once"
    first, half, _, last = memory
    return [
        Checked(f"{where}: triggers answered", events / busy_s, "1/s", least=_LEAST_PER_S),
        *_answers(gateway.take_answers(), where),
        Checked(f"{where}: the last final status after the last answer", behind_s, "s"),
        *_cpu(before, _cpu_s(processes), events, where),
        *(Checked(f"dispatcher after {count:,} triggers", mib, "MiB") for count, mib in memory.items()),
        Checked(f"growth from {first:,} to {last:,} triggers", memory[last] - memory[first], "MiB"),
        # What ended in the last minute is remembered: memory grows until the first of that is forgotten.
        Checked(f"growth from {half:,} to {last:,} triggers", memory[last] - memory[half], "MiB", _GROWTH_LIMIT_MIB),
    ]


def _answers(answers_s: Sequence[float], where: str, p99_limit_ms: float | None = None) -> list[Checked]:
    """The median and the 99th percentile of the times from a trigger to its answer."""
    in_order = sorted(answers_s)
    p50_ms, p99_ms = (in_order[int(len(in_order) * part)] * 1000 for part in (0.50, 0.99))
    return [
        Checked(f"{where}: answered within, half of them", p50_ms, "ms"),
        Checked(f"{where}: answered within, 99 %", p99_ms, "ms", p99_limit_ms),
    ]


def _cpu(before: Mapping[str, float], after: Mapping[str, float], events: int, where: str) -> list[Checked]:
    return [
        Checked(f"{where}: CPU of the {name}, a trigger", (after[name] - before[name]) / events * 1e6, "us")
        for name in before
    ]


def _cpu_s(processes: Mapping[str, int]) -> dict[str, float]:
    """The processor time that each process has used so far, ours too."""
    used = {name: _process_cpu_s(process) for name, process in processes.items()}
    return {**used, "gateway": time.process_time()}


def _process_cpu_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
    user, system = fields[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


# The gateway.


class _Gateway:
    """The `LinkOwner` that publishes triggers and takes their answers and statuses, as a gateway does."""

    def __init__(self) -> None:
        self._link: Link | None = None
        self._numbers = itertools.count(1)
        self._unsent: deque[Publication] = deque()
        self._since_s: dict[bytes, float] = {}  # by correlation id: the triggers that are not answered
        self._unfinished: set[str] = set()  # by correlation id
        self._answers_s: list[float] = []
        self._left = 0
        self._problem = ""
        self._changed = asyncio.Event()

    @property
    def is_up(self) -> bool:
        """Whether there is a connection."""
        return self._link is not None

    @property
    def is_settled(self) -> bool:
        """Whether every trigger is answered, and the final status of each workflow has come."""
        return not self._since_s and not self._unfinished

    def take_answers(self) -> list[float]:
        """The seconds from each trigger to its answer, since the last call."""
        answers_s, self._answers_s = self._answers_s, []
        return answers_s

    async def keep_rate(self, events: int) -> None:
        """Publish so many, one each `1 / _RATE_PER_S`, whatever is answered; return when all are.

        The time to an answer counts from when the trigger was due, so that nobody is spared who had to wait.
        """
        begin_s = time.perf_counter()
        for number in range(events):
            due_s = begin_s + number / _RATE_PER_S
            if (wait_s := due_s - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            self._give(due_s)
            self._publish()
        await self.until(lambda: not self._since_s)

    async def keep_outstanding(self, events: int) -> None:
        """Publish so many, the next when fewer than `_OUTSTANDING` are unanswered; return when all are answered."""
        self._left = events
        self._give_more()
        await self.until(lambda: not self._left and not self._since_s)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition; something must come from the broker every `_DEADLINE_S`."""
        while not condition():
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DEADLINE_S):
                    await self._changed.wait()
            if not self._changed.is_set():
                sys.exit(
                    f"nothing came for {_DEADLINE_S:g} s: {len(self._since_s)} triggers have no answer, "
                    f"{len(self._unfinished)} workflows no final status"
                )
            if self._problem:
                sys.exit(self._problem)

    # What the link tells.

    def on_up(self, link: Link, *, session_present: bool) -> None:
        """See `LinkOwner`."""
        del session_present
        self._link = link
        self._changed.set()

    def on_down(self, error: UplinkError) -> None:
        """See `LinkOwner`."""
        self._fail(str(error))

    def on_messages(self, messages_: Sequence[Message]) -> None:
        """See `LinkOwner`."""
        now_s = time.perf_counter()
        for message in messages_:
            if message.correlation_data is None:
                self._take_status(message)
            else:
                self._take_answer(message, now_s)
        if self._link is not None:
            self._link.acknowledge(messages_)
        self._give_more()
        self._changed.set()

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """See `LinkOwner`."""
        for ack in acks:
            if ack.outcome is not TAKEN:
                self._fail(f"the broker did not deliver a trigger: {ack.outcome}")
        self._publish()

    def on_room(self) -> None:
        """See `LinkOwner`."""
        self._publish()

    def _take_answer(self, message: Message, now_s: float) -> None:
        response = messages.parse_response(message.payload, message.correlation_data)
        if response.code != HTTPStatus.OK or response.duplicate:
            self._fail(f"a trigger was not started: {message.payload!r}")
        since_s = self._since_s.pop(response.correlation_id.encode(), None)
        if since_s is not None:
            self._answers_s.append(now_s - since_s)

    def _take_status(self, message: Message) -> None:
        status = messages.parse_status(message.payload)
        if status.status == "Succeeded":
            self._unfinished.discard(status.correlation_id)

    def _fail(self, problem: str) -> None:
        self._problem = problem
        self._changed.set()

    # Publishing.

    def _give_more(self) -> None:
        while self._left and len(self._since_s) < _OUTSTANDING:
            self._left -= 1
            self._give(time.perf_counter())
        self._publish()

    def _give(self, due_s: float) -> None:
        number = next(self._numbers)
        correlation_id = f"{number:032x}"
        data = correlation_id.encode()
        self._since_s[data] = due_s
        self._unfinished.add(correlation_id)
        self._unsent.append(
            Publication(number, _TOPIC, trigger(_AGENT, correlation_id), correlation_data=data, expiry_s=3600)
        )

    def _publish(self) -> None:
        if self._link is None:
            return
        count = min(self._link.room, len(self._unsent))
        if count:
            self._link.publish([self._unsent.popleft() for _ in range(count)])


# The other processes.


@contextlib.contextmanager
def _started(directory: Path) -> Iterator[tuple[str, dict[str, int]]]:
    """A broker, an Argo Server and a dispatcher between them; gives the broker's URL and the process ids by name."""
    port, log = free_port(), directory / "mosquitto.log"
    file = directory / "mosquitto.conf"
    file.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_dest stderr\nlog_type information\n"
        # By default it throws away what goes beyond 1,000: a machine that is too slow is to be seen as slow.
        "max_queued_messages 0\n",
        "utf-8",
    )
    with (
        Program([mosquitto(), "-c", file], log, lambda: "running" in log.read_text("utf-8")) as broker,
        ArgoServer(directory) as argo,
        Dispatcher(directory, port, argo) as dispatcher,
    ):
        yield f"mqtt://127.0.0.1:{port}", {"dispatcher": dispatcher.pid, "Argo Server": argo.pid, "broker": broker.pid}
