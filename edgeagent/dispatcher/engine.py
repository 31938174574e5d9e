"""The engine's interface: the operations that the dispatcher needs of anything that starts workflows."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from edgeagent.dispatcher.outcome import Created, Duplicate, Invalid, NameTaken


class Order(msgspec.Struct, frozen=True):
    """A checked trigger: one workflow to start.

    `name` is empty if only `generate_name` is given; each call then starts another workflow. `attempt` is 1 if this is
    known to be the first, 0 if that is not known. `template` is the name of the workflow template referred to, empty
    for an inline workflow; `cluster_scope`: that template belongs to no namespace. `workflow` has the namespace, the
    name, the labels of agent and correlation id, and the annotation with the trace, `traceparent`, if there is one; it
    is shared and must not be changed.
    """

    namespace: str
    name: str
    generate_name: str
    agent: str
    correlation_id: str
    attempt: int
    template: str
    workflow: dict[str, Any]
    cluster_scope: bool = False
    traceparent: str = ""


class Engine(Protocol):
    """Starts workflows: a named one once, however often its order comes."""

    @property
    def dry_run(self) -> bool:
        """Whether nothing is really started. Every response and status then says so."""

    async def create(self, order: Order) -> Created | Duplicate | NameTaken | Invalid:
        """Start the workflow, or find that it was started before.

        If the call is cancelled or raises `EngineUnavailable`, the workflow may have been started; the same order
        again shows whether it was, unless it has no name.

        Raises:
            EngineUnavailable: the engine cannot be reached or cannot answer now.
            EngineRefused: it refused, with a status that `verdict` explains.
        """

    async def probe(self) -> None:
        """Return if the engine is available and accepts our credentials.

        Raises:
            EngineUnavailable: it cannot be reached or cannot answer now.
            EngineRefused: it refuses our credentials (401), or the server is not an engine.
        """

    async def drain(self) -> None:
        """Return when everything known only to this process has been reported."""
