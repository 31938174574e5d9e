"""Makes the parts for large data, if `[artifacts]` is configured: they cost memory, and most agents have none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.agent.clock import Clock
from edgeagent.config.tables import AgentConfig
from edgeagent.outbox.outbox import Outbox
from edgeagent.rules.ruleset import RuleSet

if TYPE_CHECKING:
    from edgeagent.agent.artifact_parts import ArtifactParts
    from edgeagent.agent.spool_parts import SpoolParts


def make_artifacts(
    config: AgentConfig, directory: Path, outbox: Outbox, rules: RuleSet, clock: Clock, spool: SpoolParts | None
) -> ArtifactParts | None:
    """The parts; see `ArtifactParts`. None without the table."""
    if config.artifacts is None or spool is None:
        return None
    from edgeagent.agent.artifact_parts import ArtifactParts  # noqa: PLC0415  as the module says

    return ArtifactParts(config.artifacts, config, directory, outbox, rules, clock, spool.all_noted)


def hurrying(wake: Callable[[], None], artifacts: ArtifactParts | None) -> Callable[[], None]:
    """What a reload does beside `wake`: who reloads may have mended the store, or exchanged its password."""
    if artifacts is None:
        return wake

    def wake_and_hurry() -> None:
        wake()
        artifacts.hurry()

    return wake_and_hurry
