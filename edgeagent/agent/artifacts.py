"""Makes the parts for large data, if `[artifacts]` is configured: they cost memory, and most agents have none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.config.tables import ArtifactsTable

if TYPE_CHECKING:
    from edgeagent.agent.artifact_parts import ArtifactParts


def make_artifacts(table: ArtifactsTable | None, directory: Path) -> ArtifactParts | None:
    """The parts; see `ArtifactParts`. None without the table."""
    if table is None:
        return None
    from edgeagent.agent.artifact_parts import ArtifactParts  # noqa: PLC0415  as the module says

    return ArtifactParts(table, directory)
