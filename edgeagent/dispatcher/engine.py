"""The engine's interface: what the dispatcher needs of whatever starts workflows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from edgeagent.core.messages import Status
from edgeagent.dispatcher.outcome import Created, Duplicate, Invalid, NameTaken


class Order(msgspec.Struct, frozen=True):
    """A checked trigger: one workflow to start.

    `name` is empty when only `generate_name` is given; then each call starts another workflow. `attempt` is 1 when
    this is known to be the first, 0 when it is not known. `template` is the name of the workflow template referred to,
    empty for an inline workflow. `workflow` carries namespace, name and the labels of agent and correlation id; it is
    shared, not to be changed.
    """

    namespace: str
    name: str
    generate_name: str
    agent: str
    correlation_id: str
    attempt: int
    template: str
    workflow: dict[str, Any]


class Engine(Protocol):
    """Starts workflows and tells how they get on."""

    @property
    def dry_run(self) -> bool:
        """Whether nothing is really started. Every response and status then says so."""

    async def create(self, order: Order) -> Created | Duplicate | NameTaken | Invalid:
        """Start the workflow, or find that it was started before.

        When the call is cancelled the workflow may have been started; the same order again tells.
        """

    async def run(self, report: Callable[[Sequence[Status]], None]) -> None:
        """Report every change of status, in order for each workflow, until cancelled."""

    async def drain(self) -> None:
        """Return when everything that only this process knows has been reported; needs `run` to be running."""
