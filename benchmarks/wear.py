"""What one event a second for an hour writes to the flash (goal G8).

The hour is simulated: every event is a commit of the outbox, as it is when they are a second apart, and the outbox and
the ledger keep what they keep by the clock as often as they would in that time. The journal of the file system is not
counted.
"""

from __future__ import annotations

import asyncio
import functools
import tempfile
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from benchmarks.events import group, open_store, record
from benchmarks.measure import Checked, show_checked, written_bytes
from edgeagent.ledger.ledger import Ledger
from edgeagent.outbox.disk import DiskThread
from edgeagent.outbox.records import NORMAL, SETTLED
from edgeagent.wire.lifecycle import Life, answered, progressed
from edgeagent.wire.messages import Report, Response, State, Status

_EVENTS = 3600
_CHECKPOINT_EVENTS = 5  # the outbox keeps what is released every 5 s
_COMMIT_EVENTS = 2  # the ledger commits what waits every 2 s
_UNTRACKED_LIMIT_KIB = 8.0
_TRACKED_LIMIT_KIB = 16.0
_AT = "2026-03-20T11:00:00Z"


def run(*, long: bool) -> None:
    """Print the bytes written per event. `long` changes nothing: an hour is an hour."""
    del long
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        outbox = _per_event_kib(lambda: _outbox(Path(directory) / "outbox"))
        ledger = _per_event_kib(lambda: asyncio.run(_ledger(Path(directory) / "ledger.db")))
    rows = [
        Checked("track = false: outbox", outbox, "KiB", _UNTRACKED_LIMIT_KIB),
        Checked("the ledger alone", ledger, "KiB"),
        Checked("track = true: outbox and ledger", outbox + ledger, "KiB", _TRACKED_LIMIT_KIB),
    ]
    show_checked("wear, 1 event a second for an hour", rows)


def _per_event_kib(work: Callable[[], None]) -> float:
    before = written_bytes()
    work()
    return (written_bytes() - before) / _EVENTS / 1024


def _outbox(directory: Path) -> None:
    """Each event is appended, sent and settled before the next one comes."""
    store = open_store(directory)
    for number in range(1, _EVENTS + 1):
        outcome = store.append([group([record(number)])])[0]
        if not isinstance(outcome, int):
            raise outcome
        for leased in store.read(NORMAL):
            store.release(NORMAL, leased.seq, SETTLED)
        if number % _CHECKPOINT_EVENTS == 0:
            store.checkpoint()
    store.close()


async def _ledger(path: Path) -> None:
    """Each event is published, answered and told of twice by the engine: three messages, for which commits wait."""
    ledger = Ledger(path, DiskThread("ledger"), relay=False)
    await ledger.open()
    running = asyncio.create_task(ledger.run())
    for number in range(_EVENTS):
        name = blake2b(str(number).encode(), digest_size=16).hexdigest()
        report = Report(name, name, "boiler-1", "r", State.PUBLISHED, _AT)
        ledger.begin(Life(report, accepted_ms=1_774_000_000_000 + number * 1000))
        response = Response(name, 200, "created", f"inspect-{name}", "plant")
        await _change(ledger, name, functools.partial(answered, response=response, at=_AT))
        for word in ("Running", "Succeeded"):
            status = Status("plant", response.workflow_id, word, "1/1", correlation_id=name, started_at=_AT)
            await _change(ledger, name, functools.partial(progressed, status=status, at=_AT))
        if number % _COMMIT_EVENTS == 0:
            await ledger.committed()
    running.cancel()
    await asyncio.wait([running])
    await ledger.close()


async def _change(ledger: Ledger, name: str, step: functools.partial[Life | None]) -> None:
    def carry_on(life: Life | None) -> Life | None:
        if life is None:
            raise AssertionError(f"the ledger does not know {name}")
        return step(life)

    await ledger.change(name, carry_on)
