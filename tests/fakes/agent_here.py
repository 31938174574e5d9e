"""An agent in the test's own process, over a disk with a switch."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from edgeagent.agent.agent import serve
from edgeagent.cli.client import AgentRefused
from edgeagent.config import load_agent
from edgeagent.errors import AgentUnreachable
from tests.fakes.faulty_filesystem import FaultyFilesystem
from tests.fakes.programs import Agent
from tests.waiting import until_answer

HOT = {"temp": 97.1}
FILLER = "x" * 9000  # seven of these fill a segment
SMALL = {"outbox": 'max_bytes = "4MiB"\nsegment_bytes = "64KiB"\nmax_event_bytes = "16KiB"'}


class AgentHere(Agent):
    """An agent in this process, over a disk that the test may let fail. Its log is what pytest captured."""

    def __init__(self, directory: Path, caplog: pytest.LogCaptureFixture, uplink: str, **options: Any) -> None:
        super().__init__(directory, uplink, tables=SMALL, **options)
        self.filesystem = FaultyFilesystem()
        self._caplog = caplog
        self._stop = asyncio.Event()
        self._serving: asyncio.Task[int] | None = None

    @property
    def log(self) -> str:
        """Everything that was logged."""
        return "\n".join(
            f"event={vars(entry).get('event')} {entry.levelname} {entry.getMessage()}" for entry in self._caplog.records
        )

    def told(self) -> Counter[str]:
        """How often which event was logged as a warning or an error."""
        return Counter(
            vars(entry)["event"]
            for entry in self._caplog.records
            if entry.levelno >= logging.WARNING and entry.name.startswith("edgeagent")
        )

    async def ready(self) -> None:
        """Wait until it accepts events."""
        await self.answers("/readyz")

    async def answers(self, path: str) -> None:
        """Wait until it answers to a path, and does not refuse."""
        serving = self._serving
        assert serving is not None

        async def refusal() -> object:
            assert not serving.done(), f"the agent has ended: {self.log}"
            try:
                await self.get(path)
            except (AgentUnreachable, AgentRefused) as exc:
                return exc
            return None

        await until_answer(refusal, lambda refused: refused is None, f"{path} to be good")

    async def refused(self, method: str, path: str, body: bytes | None = None) -> AgentRefused:
        """A request that is refused: how."""
        with pytest.raises(AgentRefused) as refusal:
            await self.request(method, path, body)
        return refusal.value

    async def fill(self, promised: set[str]) -> AgentRefused:
        """Post events until one is refused; the workflows' names of the others are added."""
        for number in range(100):
            try:
                correlation = await self.triggered("boiler-1", {**HOT, "n": f"fill-{number}", "filler": FILLER})
            except AgentRefused as exc:
                return exc
            promised.add(f"overheat-{correlation}")
        raise AssertionError("the disk refused nothing")

    def running(self) -> bool:
        """Whether it has not ended."""
        return self._serving is not None and not self._serving.done()

    async def __aenter__(self) -> Self:
        """Start it."""
        self._stop.clear()
        config = load_agent(self.config_file)
        serving = serve(config, self.config_file, stop=self._stop, filesystem=self.filesystem)
        self._serving = asyncio.create_task(serving)
        await self.ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it; it ends well."""
        assert self._serving is not None
        self._stop.set()
        assert await self._serving == 0
