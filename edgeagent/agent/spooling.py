"""Makes what takes in large data, if there is a spool; most agents have none, and do not load any of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.config.tables import AgentConfig
from edgeagent.outbox.outbox import Outbox

if TYPE_CHECKING:
    from edgeagent.agent.spool_parts import SpoolParts


def make_spool(config: AgentConfig, outbox: Outbox, state: Path) -> SpoolParts | None:
    """The parts; see `SpoolParts`. None if there is no spool."""
    if outbox.spool is None:
        return None
    from edgeagent.agent.spool_parts import SpoolParts  # noqa: PLC0415  only for those who use it

    return SpoolParts(config, outbox, outbox.spool, state)
