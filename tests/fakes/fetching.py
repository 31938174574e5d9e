"""Claims, and `edgeagent fetch` called with them in this process."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from tests.fakes.artifact_server import ArtifactServer

CONTENT: Final = random.Random(16).randbytes(300_000)  # noqa: S311  no secret

# Calls the command; returns the exit code, what it prints, and what it says on stderr.
Fetch = Callable[..., tuple[int, str, str]]


def claim(url: str, content: bytes = CONTENT, size: int | None = None, **more: str) -> str:
    """The claim of this content, with another size and other members if they are given."""
    size = len(content) if size is None else size
    members = {"url": url, "size": size, "sha256": sha256(content).hexdigest(), "contentType": "image/jpeg"}
    return json.dumps(members | more)


def allow(server: ArtifactServer) -> str:
    """The option that allows what this server has."""
    return f"--allow={server.base}/"
