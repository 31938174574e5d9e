"""A fleet of simulated gateways in this process, and everything that they talk to: broker, dispatchers, Argo Server."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.engine_side import NAMESPACE, ArgoServer, Dispatcher
from benchmarks.fleet_gateway import Gateway, Tally
from benchmarks.load_processes import Broker
from edgeagent.argo.client import ArgoClient, ArgoSettings
from edgeagent.common.backoff import boot_spread
from edgeagent.wire.messages import LABEL_CORRELATION_ID

SILENCE_S = 400.0  # so long without any progress ends the measurement: silent triggers are asked about again after 300
_POLL_S = 0.02
_STEP_S = 2.5  # of each workflow: when the broker goes, those of the last seconds are unfinished
_FILES_BESIDE = 200  # beside one socket for each gateway: of the process, and of the broker's


class EngineSide(NamedTuple):
    """The processes that the gateways' triggers go through."""

    broker: Broker
    dispatchers: list[Dispatcher]
    argo: ArgoServer

    @property
    def url(self) -> str:
        """The broker's."""
        return f"mqtt://127.0.0.1:{self.broker.port}"


@contextlib.contextmanager
def engine_side(directory: Path, dispatchers: int, *, step_s: float = _STEP_S) -> Iterator[EngineSide]:
    """A broker, so many dispatchers and an Argo Server. The broker's sessions outlive a clean stop, and no kill -9.

    `step_s`: see `ArgoServer`.
    """
    with contextlib.ExitStack() as stack:
        # What a broker for a fleet needs: no limit of waiting messages, or the flood after a restart is thrown away.
        broker = stack.enter_context(Broker(directory / "broker", "max_inflight_messages 1000"))
        argo = stack.enter_context(ArgoServer(directory, step_s))
        running = [
            stack.enter_context(Dispatcher(directory, broker.port, argo, number)) for number in range(dispatchers)
        ]
        yield EngineSide(broker, running, argo)


def allow_files(gateways: int) -> None:
    """Raise this process's limit of open files, and so that of the broker, as far as it must be; exit if it may not."""
    wanted = gateways + _FILES_BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and wanted > hard:
        sys.exit(f"{gateways:,} gateways need {wanted:,} open files, and {hard:,} are allowed: ulimit -Hn {wanted}")
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Fleet:
    """So many gateways. Owns them and the numbers of their triggers."""

    def __init__(self, gateways: int) -> None:
        self.tally = Tally()
        self.gateways = [Gateway(f"gw-{number:05d}", self.tally) for number in range(gateways)]
        self._given = 0

    @contextlib.asynccontextmanager
    async def connecting(self, url: str, *, uptime_s: float = 0.0) -> AsyncIterator[None]:
        """Keep all of them connected; at the end they disconnect.

        `uptime_s`: of their machines. Those that have just started connect each at its own moment of ten seconds.
        """
        tasks = [
            asyncio.create_task(each.session(url, first_wait_s=boot_spread(each.agent, uptime_s)))
            for each in self.gateways
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for gateway in self.gateways:
                gateway.stop()

    def give(self, due_s: float | None = None) -> None:
        """Give the next gateway in turn a trigger. `due_s`: see `Given`; now, if there is none."""
        number = self._given
        self._given += 1
        gateway = self.gateways[number % len(self.gateways)]
        gateway.give(f"{number:032x}", time.perf_counter() if due_s is None else due_s)

    def give_each(self, triggers: int) -> None:
        """Give all gateways so many triggers at once."""
        for _ in range(triggers * len(self.gateways)):
            self.give()

    async def keep_outstanding(self, triggers: int, outstanding: int) -> float:
        """Give so many, the next when fewer than `outstanding` are unanswered; returns after how long all were."""
        last = self.tally.given + triggers

        def is_over() -> bool:
            while self.tally.given < last and self.tally.given - self.tally.answered < outstanding:
                self.give()
            return self.is_answered

        return await self.until(is_over)

    async def give_at(self, rate_per_s: float) -> None:
        """Give triggers at this rate until cancelled, however many are unanswered."""
        begin_s, number = time.perf_counter(), 0
        while True:
            due_s = begin_s + number / rate_per_s
            if (wait_s := due_s - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            self.give(due_s)
            number += 1

    @property
    def is_up(self) -> bool:
        """Whether all are connected."""
        return self.tally.up == len(self.gateways)

    @property
    def is_answered(self) -> bool:
        """Whether every trigger was answered."""
        return self.tally.answered == self.tally.given

    @property
    def is_finished(self) -> bool:
        """Whether the final status of every workflow has come."""
        return self.is_answered and self.tally.finished == self.tally.given

    async def until(self, condition: Callable[[], bool]) -> float:
        """Wait for a condition; returns how many seconds that took. Without progress the measurement ends."""
        tally, begin_s = self.tally, time.perf_counter()
        progress, since_s = (0, 0, 0), begin_s
        while not condition():
            await asyncio.sleep(_POLL_S)
            now, now_s = (tally.ups, tally.answered, tally.finished), time.perf_counter()
            if now != progress:
                progress, since_s = now, now_s
            if tally.problem or now_s - since_s > SILENCE_S:
                sys.exit(
                    f"{tally.problem or f'nothing came for {SILENCE_S:g} s'}: {tally.up:,} of {len(self.gateways):,} "
                    f"gateways are connected, {tally.answered:,} of {tally.given:,} triggers answered, "
                    f"{tally.finished:,} finished, {tally.sent_again:,} sent again; put off: {tally.again}"
                )
        return time.perf_counter() - begin_s


async def workflows_of(argo: ArgoServer) -> list[str]:
    """The names of all workflows that the engine has."""
    async with ArgoClient(ArgoSettings(argo.url)) as client:
        workflows, _ = await client.list(NAMESPACE, labels=LABEL_CORRELATION_ID)
    return [workflow.metadata.name for workflow in workflows]
