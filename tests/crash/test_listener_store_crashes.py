"""Killed in the middle: what was said to be kept is there."""

from __future__ import annotations

import asyncio
import itertools
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgeagent.listener.changes import Changes, StoredSession
from edgeagent.listener.packets import NEVER_EXPIRES, Publish, TopicSubscription
from edgeagent.listener.parcels import Kept
from edgeagent.listener.store import ListenerStore
from edgeagent.outbox.disk import DiskThread
from tests.architecture.source import ROOT
from tests.waiting import until_line

# Runs in another process: writes messages and sessions for ever, and says each number that is on disk.
_WRITER = """
import asyncio, sys
from pathlib import Path
from tests.crash.test_listener_store_crashes import write_for_ever
asyncio.run(write_for_ever(Path(sys.argv[1])))
"""


async def write_for_ever(path: Path) -> None:
    """Write message after message, each twice, and session after session; never returns."""
    changes = Changes()
    store = ListenerStore(path, DiskThread("listener"), changes)
    await store.load()
    running = asyncio.ensure_future(store.run())
    for number in itertools.count():
        for payload in (b"old", b"new"):
            changes.message(Kept(Publish(f"t/{number}", payload, 1, retain=True), None), is_new=payload == b"old")
        subscription = TopicSubscription(f"t/{number}", 1)
        changes.session(StoredSession(f"s{number}", None, 4, NEVER_EXPIRES, ((subscription, 0),)), is_new=True)
        kept = asyncio.Event()
        store.when_kept(kept.set)
        await kept.wait()
        sys.stdout.write(f"kept {number}\n")
        sys.stdout.flush()
    await running


@pytest.mark.parametrize("last", [0, 7, 40])
async def test_what_was_said_to_be_kept_survives_a_kill(last: int, tmp_path: Path) -> None:
    path = tmp_path / "listener.db"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _WRITER, str(path), cwd=ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    await until_line(process.stdout, f"kept {last}$")
    process.send_signal(signal.SIGKILL)
    said = (await process.stdout.read()).decode().split()
    await process.wait()
    kept = max(last, *(int(word) for word in said if word.isdecimal()), 0)
    changes = Changes()
    store = ListenerStore(path, DiskThread("listener"), changes)
    stored = await store.load()
    await store.close(())
    payloads = {message.publish.topic: message.publish.payload for message in stored.messages}
    assert {f"t/{number}": b"new" for number in range(kept + 1)}.items() <= payloads.items()
    assert {f"s{number}" for number in range(kept + 1)} <= {session.client_id for session in stored.sessions}
    assert len(payloads) <= kept + 2
