"""Sends a file of any size as the data of one event, read as it is sent, and goes on where a connection broke."""

from __future__ import annotations

import mimetypes
import os
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import quote

from edgeagent.cli.client import AgentClient, AgentRefused
from edgeagent.common.foreign import shown
from edgeagent.errors import AgentUnreachable, CommandFailed
from edgeagent.events.artifact import OCTETS

# The agent may have to make room, and syncs all of it before it answers.
_TIMEOUT_S: Final = 300.0
_ATTEMPTS: Final = 5
# Before the second attempt, and twice as long before each other one: the agent may be starting again.
_PAUSE_S: Final = 1.0
_METHOD = "PUT"


def send_file(
    client: AgentClient, source: str, path: Path, content_type: str | None, inline_bytes: int | None
) -> dict[str, Any]:
    """Send it; returns the event as the agent accepted it. A broken connection is made again, and the rest sent.

    `inline_bytes`: a file up to this size goes with its event; None: any file does, and a large one is refused.

    Raises:
        CommandFailed: the file cannot be read, is none, or changed while it was sent; no header can have the type.
        AgentUnreachable, AgentRefused: as for `AgentClient.request`.
    """
    if content_type is not None and not content_type.isascii():
        raise CommandFailed(f"--type: must be ASCII, such as image/jpeg, is {shown(content_type)}")
    target, key = f"/v1/events/{quote(source, safe='')}", str(uuid.uuid4())
    headers = {"Content-Type": content_type or mimetypes.guess_type(path.name)[0] or OCTETS}
    with _opened(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if inline_bytes is None or size <= inline_bytes:
            headers |= {"Idempotency-Key": key, "Content-Length": str(size)}
            answer = client.request("POST", target, stream, headers, _TIMEOUT_S)[1]
        else:
            answer = _upload(client, f"{target}?id={key}", headers, stream, size)
    accepted: dict[str, Any] = answer["accepted"][0]
    return accepted


def _upload(client: AgentClient, target: str, headers: dict[str, str], stream: BinaryIO, size: int) -> dict[str, Any]:
    """Send a file in as many parts as its connection breaks into. What the agent has, it has after a restart too."""
    has_begun = False
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            answer = _part(client, target, headers, None, size)  # how much is there? Would it be taken at all?
            has_begun = True
            if "accepted" not in answer:
                stream.seek(int(answer["received"]))
                answer = _part(client, target, headers, stream, size)
            if "accepted" in answer:
                return answer
        except (AgentUnreachable, AgentRefused) as exc:
            is_ending = isinstance(exc, AgentRefused) and exc.status == HTTPStatus.SERVICE_UNAVAILABLE
            if attempt == _ATTEMPTS or not has_begun or not (is_ending or isinstance(exc, AgentUnreachable)):
                raise
            time.sleep(_PAUSE_S * 2 ** (attempt - 1))
    raise CommandFailed(
        f"the agent took not all of the {size} bytes, {_ATTEMPTS} times; was the file changed meanwhile?"
    )


def _part(
    client: AgentClient, target: str, headers: dict[str, str], stream: BinaryIO | None, size: int
) -> dict[str, Any]:
    """Send the rest of a file from where it is read now; None: ask only."""
    if stream is None:
        ranged = {"Content-Range": f"bytes */{size}", "Content-Length": "0"}
    else:
        first = stream.tell()
        ranged = {"Content-Range": f"bytes {first}-{size - 1}/{size}", "Content-Length": str(size - first)}
    found: dict[str, Any] = client.request(_METHOD, target, stream, headers | ranged, _TIMEOUT_S)[1]
    return found


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        stream = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as exc:
        raise CommandFailed(f"{path}: {exc.strerror or exc}") from exc
    with stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise CommandFailed(f"{path}: is no ordinary file, so that nobody knows its size")
        yield stream
