"""Argo Workflows as an engine, through its server.

What is created once, and what is not:

* A workflow with a name is started once, however often its order arrives: the name is the identity, and Kubernetes
  assigns each name once. An order that may not be the first is looked up before it is created, because the first one's
  workflow may have finished and been deleted, and then only the archive knows it. If the lookup finds another order's
  workflow, the creation is tried all the same: the name may be free again, and only the creation shows that.
* 409 does not prove that the workflow exists: a quota's write conflict has the same status. So the workflow is looked
  up, and its labels say whose it is.
* A workflow with `generateName` alone is started at least once: Argo gives each request another name, so a request
  whose answer was lost, and is repeated, starts a second workflow. The request is therefore made once for each arrival
  of the trigger, and repeated only after a 409, which proves that nothing was created.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from edgeagent.argo.wire import Workflow
from edgeagent.dispatcher import verdict
from edgeagent.dispatcher.engine import Order
from edgeagent.dispatcher.outcome import Created, Duplicate, NameTaken
from edgeagent.dispatcher.progress import status_of
from edgeagent.errors import EngineRefused, EngineUnavailable
from edgeagent.wire.messages import LABEL_AGENT, LABEL_CORRELATION_ID

# A quota against which many workflows count at once settles within a second.
_CONFLICT_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8)
# The name of no workflow: looking it up needs a valid token and Kubernetes behind the server, and nothing else.
_PROBED_NAME = "edgeagent-probe"


class ArgoApi(Protocol):
    """The part of `edgeagent.argo.client.ArgoClient` that this engine uses."""

    async def create(self, namespace: str, workflow: Mapping[str, Any]) -> Workflow:
        """Create a workflow and return it as created."""

    async def get(self, namespace: str, name: str) -> Workflow | None:
        """The workflow of this name, in the archive too; None if there is none."""

    async def check(self) -> str:
        """The server's version."""


class ArgoEngine:
    """An `Engine` that starts workflows on an Argo Server. Orders may be created concurrently."""

    dry_run = False

    def __init__(self, client: ArgoApi, *, probe_namespace: str, token_file: str = "") -> None:
        """An engine over a client that the caller opens and closes.

        Args:
            client: the connection to the server.
            probe_namespace: where `probe` tests the token: a namespace in which the dispatcher has rights.
            token_file: named to the operator if the server refuses the token.
        """
        self._client = client
        self._probe_namespace = probe_namespace
        self._token_file = token_file

    async def create(self, order: Order) -> Created | Duplicate | NameTaken:
        """See `Engine`; the module's docstring says what is created once."""
        try:
            return await self._create(order)
        except EngineRefused as exc:
            self._explain(exc)
            raise

    async def probe(self) -> None:
        """See `Engine`. A 403 for the namespace is as good as success: the token was accepted."""
        try:
            await self._client.check()
            try:
                await self._client.get(self._probe_namespace, _PROBED_NAME)
            except EngineRefused as exc:
                if exc.status != verdict.FORBIDDEN:
                    raise
        except EngineRefused as exc:
            self._explain(exc)
            raise

    async def drain(self) -> None:
        """Do nothing: Argo keeps the workflows, and the next dispatcher finds them."""

    async def _create(self, order: Order) -> Created | Duplicate | NameTaken:
        if order.attempt != 1 and isinstance(known := await self._known(order), Duplicate):
            return known
        conflicts = 0
        while True:
            try:
                return _created(order, await self._client.create(order.namespace, order.workflow))
            except EngineRefused as exc:
                if exc.status != verdict.CONFLICT:
                    raise
                if known := await self._known(order):
                    return known
                if conflicts == len(_CONFLICT_PAUSES_S):
                    reason = f"{conflicts + 1} conflicts in a row, and no such workflow: {exc.message}"
                    raise EngineUnavailable(exc.what, reason) from exc
            await asyncio.sleep(_CONFLICT_PAUSES_S[conflicts])
            conflicts += 1

    async def _known(self, order: Order) -> Duplicate | NameTaken | None:
        """How an existing workflow of this name relates to the order; None if there is none, or no fixed name."""
        if not order.name:
            return None
        workflow = await self._client.get(order.namespace, order.name)
        if workflow is None:
            return None
        if not _is_of(workflow, order):
            return NameTaken(order.name)
        return Duplicate(order.name, status_of(order.namespace, workflow))

    def _explain(self, error: EngineRefused) -> None:
        """Raise a refusal of the token again, naming the token's file for the operator."""
        if error.status == verdict.UNAUTHORIZED:
            token = f"the token in {self._token_file}" if self._token_file else "a request without a token_file"
            raise EngineRefused(error.url, error.status, f"{token} was refused: {error.message}") from error


def _created(order: Order, workflow: Workflow) -> Created:
    """The result for a workflow that the server reports as created.

    Raises:
        EngineUnavailable: the answer is about something else; perhaps a proxy answered.
    """
    name = workflow.metadata.name
    if not name or (order.name and name != order.name):
        raise EngineUnavailable("engine.url", f"the answer to a creation is about another workflow: {name!r}")
    return Created(name)


def _is_of(workflow: Workflow, order: Order) -> bool:
    """Whether an existing workflow was started for this order.

    A sender without an agent and without correlation data is known by the workflow's name alone. So if a workflow of
    that name exists, whoever created it, the order is done.
    """
    if workflow.metadata.is_copy:
        return False
    labels = workflow.metadata.labels or {}
    found = labels.get(LABEL_AGENT, ""), labels.get(LABEL_CORRELATION_ID, "")
    if found == (order.agent, order.correlation_id):
        return True
    known_by_name = not order.agent and order.correlation_id in {"", order.name}
    return known_by_name and found == ("", "")
