"""What the tests of the Argo client share: a workflow, and a server that is none of Argo's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.fakes.listener import Listener

CORRELATION_ID = "9f2c" * 8
LABEL = "edgeagent.io/correlation-id"
_READ_BYTES = 65536
_TLS_HANDSHAKE = b"\x16"


def workflow(name: str = "overheat", namespace: str = "plant", **labels: str) -> dict[str, Any]:
    """A workflow as the dispatcher makes it."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name, "namespace": namespace, "labels": {LABEL: CORRELATION_ID, **labels}},
        "spec": {
            "workflowTemplateRef": {"name": "inspect"},
            "arguments": {"parameters": [{"name": "temp", "value": "97.1"}]},
        },
    }


@asynccontextmanager
async def answering(*parts: bytes) -> AsyncIterator[str]:
    """A server that gives these bytes to every request and ends the connection; its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.read(1) != _TLS_HANDSHAKE:
                await reader.readuntil(b"\r\n\r\n")
            for part in parts:
                writer.write(part)
                await writer.drain()
            writer.write_eof()
            while await reader.read(_READ_BYTES):
                pass  # closed with something unread, the connection is reset and the answer may be lost
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with Listener(serve) as listener:
        yield f"http://127.0.0.1:{listener.port}"
