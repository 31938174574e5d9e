"""Ways to ask a fake Argo Server as it is asked by HTTP: what is sent, and a watch as its client sees it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec

from tests.fakes.argo_rules import Json
from tests.fakes.argo_server import FakeArgo
from tests.waiting import DEADLINE_S, until

WORKFLOWS = "/api/v1/workflows/plant"
EVENTS = "/api/v1/workflow-events/plant"
EVENT_STREAM = {"Accept": "text/event-stream"}

_RESULT = re.compile(rb'\{"result":\{.*?\}\}(?= ?\n)')


def workflow(name: str) -> Json:
    """A workflow in `plant` that needs no template."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name, "namespace": "plant", "labels": {"edgeagent.io/agent": "gw-1"}},
        "spec": {"entrypoint": "main", "templates": [{"name": "main", "container": {"image": "alpine"}}]},
    }


def creating(name: str) -> Json:
    """The body of a request to create it."""
    return {"namespace": "plant", "workflow": workflow(name)}


def asking(url: str, **options: Any) -> httpx.AsyncClient:
    """A client of the server at this URL."""
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=DEADLINE_S, **options)


class Watching:
    """A watch of `plant` by a client: what has come of it, and how it ended."""

    def __init__(self, client: httpx.AsyncClient, headers: dict[str, str], **query: str) -> None:
        self.status = 0
        self.headers = httpx.Headers()
        self.data = b""
        self.error: httpx.HTTPError | None = None
        self._task = asyncio.ensure_future(self._follow(client, headers, query))

    async def _follow(self, client: httpx.AsyncClient, headers: dict[str, str], query: dict[str, str]) -> None:
        try:
            async with client.stream("GET", EVENTS, headers=headers, params=query) as response:
                self.status, self.headers = response.status_code, response.headers
                async for part in response.aiter_raw():
                    self.data += part
        except httpx.HTTPError as error:
            self.error = error

    async def has(self, data: bytes) -> None:
        """Wait until this has come, and the end of its line."""
        await until(lambda: data in self.data[: self.data.rfind(b"\n") + 1])

    async def ended(self) -> None:
        """Wait for the end."""
        async with asyncio.timeout(DEADLINE_S):
            await self._task

    def cancel(self) -> None:
        """Go away."""
        self._task.cancel()

    @property
    def events(self) -> list[tuple[str, str]]:
        """Type and name of each event."""
        results = [msgspec.json.decode(item)["result"] for item in _RESULT.findall(self.data)]
        return [(event["type"], event["object"]["metadata"]["name"]) for event in results]


@asynccontextmanager
async def watching(
    argo: FakeArgo, client: httpx.AsyncClient, headers: dict[str, str] | None = None, **query: str
) -> AsyncIterator[Watching]:
    """A watch that the server has taken up, of server-sent events if the headers do not say otherwise."""
    before = argo.watches
    watch = Watching(client, EVENT_STREAM if headers is None else headers, **query)
    await until(lambda: argo.watches > before)
    yield watch
    watch.cancel()
    await until(lambda: argo.watches == before)
