"""The event loop of a program: asyncio's, except that it looks names up without tables that they do not need."""

from __future__ import annotations

import asyncio
from typing import Any


class Loop(asyncio.SelectorEventLoop):
    """Looks ASCII names up as bytes, and is asyncio's loop in everything else."""

    async def getaddrinfo(self, host: Any, port: Any, **wanted: Any) -> list[Any]:
        """Look a name up. In bytes it needs no encoding of international ones, whose tables take 0.3 MiB."""
        if isinstance(host, str) and host.isascii():
            host = host.encode()
        return await super().getaddrinfo(host, port, **wanted)
