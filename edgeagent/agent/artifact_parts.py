"""Large data (contract section 10): the uploads of artifacts, and the triggers that wait for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeagent.agent.clock import Clock
from edgeagent.agent.lifetime import Lifetime
from edgeagent.agent.uploading import Uploading
from edgeagent.agent.uploads_ahead import UploadsAhead
from edgeagent.artifacts.making import make_uploader
from edgeagent.config.tables import AgentConfig, ArtifactsTable
from edgeagent.events.artifact import Artifact
from edgeagent.outbox.disk import DiskThread
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import SPOOL
from edgeagent.ports.artifacts import UploadState
from edgeagent.rules.ruleset import RuleSet

if TYPE_CHECKING:
    from edgeagent.agent.metrics import UploadFigures

_DATABASE: Final = "uploads"
_FILES: Final = "artifacts"


class ArtifactParts:
    """The parts for `[artifacts]`; the `tasks` must run. Must be made in the running loop.

    Attributes:
        uploading: the triggers that wait for an upload.
        ahead: asks for uploads before their triggers' turn.
    """

    def __init__(
        self,
        table: ArtifactsTable,
        config: AgentConfig,
        directory: Path,
        outbox: Outbox,
        rules: RuleSet,
        clock: Clock,
        all_noted: Callable[[], Awaitable[None]],
    ) -> None:
        """Connect the parts. `directory`: the state directory. `all_noted`: see `UploadsAhead`."""
        spool = directory / "outbox" / SPOOL
        self._threads = DiskThread(_DATABASE), DiskThread(_FILES)
        self._uploader = make_uploader(table, directory, *self._threads, self._ended)

        def path(artifact: Artifact) -> str:
            return str(spool / artifact.sha256)

        self.uploading = Uploading(self._uploader, path)
        lifetime = Lifetime(config.outbox.max_age, clock.boot)
        self.ahead = UploadsAhead(outbox, self.uploading, rules, lifetime, clock, all_noted)

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What must run, by name."""
        return {"uploads": self._uploader.run(), "uploads ahead": self.ahead.run()}

    def hurry(self) -> None:
        """Try again now what the store did not take."""
        self._uploader.hurry()

    def stats(self) -> dict[str, Any]:
        """Figures for `/v1/stats`, ready for JSON."""
        triggers = len(self.uploading) + self.uploading.untaken
        return {**self._uploader.stats(), "triggers": triggers, "uploads": self.uploading.shown()}

    def figures(self) -> UploadFigures:
        """The same for `/metrics`."""
        from edgeagent.agent.metrics import UploadFigures  # noqa: PLC0415  only for who asks

        stats = self._uploader.stats()
        states = {state.value: stats[state.value] for state in UploadState if state is not UploadState.DONE}
        return UploadFigures(states, stats["waiting_bytes"], stats["uploaded_bytes"], stats["tries_failed"])

    async def close(self) -> None:
        """Close the store's connections and what is kept of uploads, when the tasks have ended."""
        try:
            await self._uploader.close()
        finally:
            for thread in self._threads:
                thread.close()

    def _ended(self, name: str) -> None:
        self.uploading.ended(name)
        self.ahead.ended(name)
