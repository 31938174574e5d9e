"""What surrounds the ConfigMaps of a namespace in tests: ended workflows, and a Kubernetes API that a test holds back.

async with applying(configmaps):
    configmaps.put(ended(), done)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from edgeagent.argo.wire import ArgoParameter, Metadata, Outputs, Workflow, WorkflowStatus
from edgeagent.dispatcher.configmaps import ConfigMaps
from edgeagent.errors import EngineRefused, EngineUnavailable
from tests.ending import end

CORRELATION_ID = "9f2c" * 8
LABELS = {
    "edgeagent.io/agent": "gw-1",
    "edgeagent.io/rule": "overheat",
    "edgeagent.io/correlation-id": CORRELATION_ID,
    "workflows.argoproj.io/phase": "Succeeded",
}
URL = "kubernetes"


def ended(
    phase: str = "Succeeded",
    correlation_id: str = CORRELATION_ID,
    *,
    uid: str = "u-1",
    labels: dict[str, str] | None = None,
    parameters: list[ArgoParameter] | None = None,
    message: str = "",
) -> Workflow:
    """A workflow that has ended, or is in another phase."""
    own = {**LABELS, "edgeagent.io/correlation-id": correlation_id, **(labels or {})}
    outputs = Outputs(parameters) if parameters is not None else None
    return Workflow(
        Metadata(f"overheat-{correlation_id}", "plant", uid, "7", None, own),
        WorkflowStatus(phase, "1/1", message, "2026-03-20T11:59:00Z", "2026-03-20T12:00:00Z", outputs),
    )


class Api:
    """Takes what is applied. `failures` are raised first, by name; `gate` holds requests back."""

    def __init__(self) -> None:
        self.applied: list[tuple[str, dict[str, Any]]] = []
        self.asked: list[str] = []
        self.failures: dict[str, list[EngineRefused | EngineUnavailable]] = {}
        self.gate = asyncio.Event()
        self.gate.set()

    async def apply_configmap(self, namespace: str, name: str, configmap: bytes) -> None:
        """See `Apply`."""
        assert namespace == "plant"
        self.asked.append(name)
        await self.gate.wait()
        if failures := self.failures.get(name):
            raise failures.pop(0)
        self.applied.append((name, msgspec.json.decode(configmap)))


def configmap_name(correlation_id: str) -> str:
    """What the ConfigMap of a correlation id is called."""
    return f"pipeline-status-{correlation_id}"


@asynccontextmanager
async def applying(configmaps: ConfigMaps) -> AsyncIterator[None]:
    """ConfigMaps at work; they must not have ended by themselves."""
    task = asyncio.create_task(configmaps.run())
    try:
        yield
    finally:
        assert not task.done()
        await end(task)
