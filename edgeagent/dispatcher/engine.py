"""The engine's interface: what the dispatcher needs of whatever starts workflows."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from edgeagent.dispatcher.outcome import Created, Duplicate, Invalid, NameTaken


class Order(msgspec.Struct, frozen=True):
    """A checked trigger: one workflow to start.

    `name` is empty when only `generate_name` is given; then each call starts another workflow. `attempt` is 1 when
    this is known to be the first, 0 when it is not known. `template` is the name of the workflow template referred to,
    empty for an inline workflow; `cluster_scope`: it belongs to no namespace. `workflow` carries namespace, name and
    the labels of agent and correlation id; it is shared, not to be changed.
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


class Engine(Protocol):
    """Starts workflows."""

    @property
    def dry_run(self) -> bool:
        """Whether nothing is really started. Every response and status then says so."""

    async def create(self, order: Order) -> Created | Duplicate | NameTaken | Invalid:
        """Start the workflow, or find that it was started before.

        When the call is cancelled, or raises `EngineUnavailable`, the workflow may have been started; the same order
        again tells, unless it has no name.

        Raises:
            EngineUnavailable: the engine cannot be reached or cannot answer now.
            EngineRefused: it refused, with a status that `verdict` explains.
        """

    async def probe(self) -> None:
        """Return when the engine is there and lets us in.

        Raises:
            EngineUnavailable: it cannot be reached or cannot answer now.
            EngineRefused: it does not let us in (401), or what answers is no engine.
        """

    async def drain(self) -> None:
        """Return when everything that only this process knows has been reported."""
