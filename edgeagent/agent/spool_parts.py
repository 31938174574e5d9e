"""The parts that take in large data, if the configuration has a store for it, or an earlier one had."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from edgeagent.config.tables import AgentConfig
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.spool import Spool
from edgeagent.outbox.spooler import Spooler
from edgeagent.outbox.unreadable import anything_aside
from edgeagent.ports.device import EventPort
from edgeagent.ports.large import LargeDataPort


class SpoolParts:
    """Owns the spooler. Without `[artifacts]` it takes nothing in, and only looks after what is there."""

    def __init__(self, config: AgentConfig, outbox: Outbox, spool: Spool, state: Path) -> None:
        """`state`: the state directory."""
        artifacts = config.artifacts
        self._spooler = Spooler(
            outbox,
            spool,
            inline_bytes=int(artifacts.inline_max) if artifacts is not None else 0,
            max_bytes=int(artifacts.max_bytes) if artifacts is not None else 0,
            is_unreadable=lambda: anything_aside(state),
        )
        self._takes = artifacts is not None
        for incoming in spool.adopt() if artifacts is None else ():
            spool.drop(incoming)  # nobody can bring the rest

    @property
    def large(self) -> LargeDataPort | None:
        """What takes large data in; None if none is taken."""
        return self._spooler if self._takes else None

    def events(self, events: EventPort) -> EventPort:
        """A port of events from messages whose large data goes to the spool."""
        if not self._takes:
            return events
        from edgeagent.agent.spooled_events import SpooledEvents  # noqa: PLC0415  only for those who use it

        return SpooledEvents(events, self._spooler)

    async def all_noted(self) -> None:
        """Return when it is known which records refer to files."""
        await self._spooler.all_noted.wait()

    def stats(self) -> dict[str, Any]:
        """What is in the spool, ready for JSON."""
        return self._spooler.stats()

    def figures(self) -> tuple[int, int]:
        """How many files are in the spool, and the bytes that they count for."""
        figures = self._spooler.spool.figures()
        return figures.files, figures.used_bytes

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What runs as long as the agent does, by name."""
        return {"spool": self._spooler.run()}

    def close(self) -> None:
        """End the thread."""
        self._spooler.close()
