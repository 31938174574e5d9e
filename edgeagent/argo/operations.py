"""What is done to workflows that exist, through the Argo Server's own calls."""

from __future__ import annotations

from typing import Any

import msgspec

from edgeagent.argo.client import ArgoClient
from edgeagent.argo.failures import not_json
from edgeagent.argo.wire import Workflow, WorkflowList

_WORKFLOWS = "workflows"
_WORKFLOW = msgspec.json.Decoder(Workflow)
_OBJECT = msgspec.json.Decoder(dict[str, Any])


class ArgoOperations:
    """The calls of a client that change or read one workflow. Every method raises as those of `ArgoClient` do."""

    def __init__(self, client: ArgoClient) -> None:
        self._client = client

    async def get(self, namespace: str, name: str) -> Workflow | None:
        """A workflow, in the archive too; None if there is none."""
        return await self._client.get(namespace, name)

    async def labelled(self, namespace: str, labels: str) -> list[Workflow]:
        """The workflows with these labels, newest first."""
        found, _ = await self._client.list(namespace, labels=labels)
        return found

    async def page(self, namespace: str, labels: str, limit: int, continue_: str) -> WorkflowList:
        """A page of the workflows with these labels, from where the page before says that they continue."""
        return await self._client.page(namespace, labels=labels, limit=limit, continue_=continue_)

    async def whole(self, namespace: str, name: str) -> dict[str, Any]:
        """The whole object of a workflow, in the archive too."""
        found: dict[str, Any] = _decoded(await self._client.call("GET", _WORKFLOWS, namespace, name), _OBJECT)
        return found

    async def put(self, namespace: str, name: str, operation: str, message: str = "") -> Workflow:
        """Stop, terminate, suspend, resume or retry a workflow; returns it as it is then.

        `message`: with `stop`, what its status then says.
        """
        asked = {"namespace": namespace, "name": name, **({"message": message} if message else {})}
        answer = await self._client.call("PUT", _WORKFLOWS, namespace, name, operation, body=asked)
        workflow: Workflow = _decoded(answer, _WORKFLOW)
        return workflow

    async def delete(self, namespace: str, name: str) -> None:
        """Delete a workflow; what the archive has of it stays."""
        await self._client.call("DELETE", _WORKFLOWS, namespace, name)


def _decoded(answer: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return decoder.decode(answer)
    except (ValueError, RecursionError) as exc:  # msgspec's errors are ValueErrors
        raise not_json("the engine's answer", answer, str(exc)) from exc
