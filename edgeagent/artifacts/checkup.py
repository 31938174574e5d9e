"""The checks of `edgeagent doctor` on the store: an object of a few bytes is put, read back and removed."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from edgeagent.artifacts.bandwidth import BandwidthSchedule
from edgeagent.artifacts.making import make_store
from edgeagent.artifacts.sending import Pacer, Sending
from edgeagent.artifacts.store import ArtifactStore
from edgeagent.artifacts.upload_queue import Upload
from edgeagent.common.finding import Finding, fail, ok, warn
from edgeagent.config.addresses import is_loopback
from edgeagent.config.tables import ArtifactsTable
from edgeagent.errors import StoreError, StoreFailed
from edgeagent.events.artifact import Artifact
from edgeagent.ports.threads import JobThread

_TIMEOUT_S: Final = 30.0
_CONTENT_BYTES: Final = 64
_MIB: Final = 1 << 20


# What is large waits meanwhile. The first: for what stays as it is until somebody changes something.
_MEND_OURS: Final = "mount it, or correct the keys of [artifacts], or what the store allows; then run edgeagent reload"
_MEND_ITS_OWN: Final = "start it, or see its own log for the reason; large data waits, and is tried again"


async def store_findings(
    table: ArtifactsTable, agent: str, thread: JobThread, timeout_s: float = _TIMEOUT_S
) -> AsyncIterator[Finding]:
    """What is found about the store of a table without problems.

    Args:
        table: `[artifacts]`.
        agent: the agent's id, below which its objects lie.
        thread: for files.
        timeout_s: how long each step may take.
    """
    store = make_store(table, thread)
    subject = f"artifacts.store {store.shown}"
    name = f"{agent}/.edgeagent-check-{secrets.token_hex(8)}"
    try:
        yield await _tried(store, subject, name, thread, timeout_s)
        if (finding := await _room(store, table, subject, timeout_s)) is not None:
            yield finding
    finally:
        await store.aclose()
    if _sends_credentials_openly(table):
        found = "has no TLS, and everybody on the way reads the credentials that are sent to it"
        yield warn(subject, found, "use https://")


async def _tried(store: ArtifactStore, subject: str, name: str, thread: JobThread, timeout_s: float) -> Finding:
    content = secrets.token_bytes(_CONTENT_BYTES)
    try:
        async with asyncio.timeout(timeout_s):
            await _put(store, name, content, thread)
    except TimeoutError:
        return fail(subject, f"took no object within {timeout_s:g} s", "start it, or correct store")
    except StoreError as exc:
        needs_us = isinstance(exc, StoreFailed) and exc.needs_somebody
        return fail(subject, exc.reason, _MEND_OURS if needs_us else _MEND_ITS_OWN)
    problems = [problem async for problem in _returned(store, name, content, timeout_s)]
    return problems[0] if problems else ok(subject, "takes an object, returns it unchanged, and removes it")


async def _returned(store: ArtifactStore, name: str, content: bytes, timeout_s: float) -> AsyncIterator[Finding]:
    subject = f"artifacts.store {store.shown}"
    try:
        async with asyncio.timeout(timeout_s):
            found = await store.read(name, _CONTENT_BYTES)
        if found != content:
            yield fail(subject, "returns another content than it was given", "see what stands between us and it")
    except TimeoutError:
        yield warn(subject, f"takes objects, but returned none within {timeout_s:g} s", "see whether readers reach it")
    except StoreError as exc:
        remedy = "see that the workflows' credentials may read"
        yield warn(subject, f"takes objects, and does not let this agent read them: {exc.reason}", remedy)
    try:
        async with asyncio.timeout(timeout_s):
            await store.remove(name)
    except (TimeoutError, StoreError) as exc:
        reason = exc.reason if isinstance(exc, StoreError) else "it did not answer in time"
        found_there = f"takes objects, but does not let this agent remove them: {name} stays there ({reason})"
        yield warn(subject, found_there, "remove it; the agent itself removes no objects")


async def _put(store: ArtifactStore, name: str, content: bytes, thread: JobThread) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        artifact = Artifact(hashlib.sha256(content).hexdigest(), len(content), "application/octet-stream")
        pacer = Pacer(
            BandwidthSchedule(ArtifactsTable(store="")),  # at any time of day
            now_s=asyncio.get_running_loop().time,
            now=lambda: datetime.now(UTC),
        )
        async with Sending(Upload(name, artifact, file.name), store.shown, thread, pacer) as sending:
            await store.put(sending)


async def _room(store: ArtifactStore, table: ArtifactsTable, subject: str, timeout_s: float) -> Finding | None:
    try:
        async with asyncio.timeout(timeout_s):
            room = await store.room()
    except (TimeoutError, StoreError):  # told above
        return None
    if room is None:
        return None
    text = f"has {room // _MIB:,} MiB free"
    if room < table.max_bytes:
        return warn(subject, f"{text}, less than artifacts.max_bytes", "free space there")
    return ok(subject, text)


def _sends_credentials_openly(table: ArtifactsTable) -> bool:
    if not (table.token_file or table.password_file):
        return False
    parts = urlsplit(table.presign_url or table.store)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")
