"""The bytes of an upload, as a store takes them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from edgeagent.artifacts.sending import CHUNK_BYTES
from tests.fakes.artifact_store import sending


async def test_who_is_cancelled_while_it_gives_up_reading_does_not_go_on(tmp_path: Path) -> None:
    async def give_up() -> None:
        async with sending(tmp_path, "gw/cam/1", b"x" * (2 * CHUNK_BYTES)) as one:
            chunks = one.chunks(one.artifact.size)
            await anext(chunks)
            task.cancel()  # the next wait is the one of the end of reading
            await chunks.aclose()

    task = asyncio.create_task(give_up())
    await asyncio.wait([task])
    assert task.cancelled()
