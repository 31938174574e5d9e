from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Coroutine
from typing import Any

import pytest

from edgeagent.errors import ConfigError, OutboxLocked, Problem
from edgeagent.host import supervisor
from edgeagent.host.supervisor import supervise

pytestmark = pytest.mark.virtual_time


class Recorder:
    """Tasks that write down what happens to them, and one event to wait for each."""

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.started = asyncio.Event()

    async def forever(self, name: str) -> None:
        """Run until cancelled."""
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.happened.append(f"{name} ended")

    async def drain(self) -> None:
        """Drain at once."""
        self.happened.append("drained")


async def no_drain() -> None:
    raise AssertionError("there must be no drain after a failure")


async def fail(error: BaseException) -> None:
    raise error


def critical(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]


async def test_a_stop_drains_first_and_then_cancels_the_last_task_first() -> None:
    recorder, stop = Recorder(), asyncio.Event()
    tasks = {"outbox": recorder.forever("outbox"), "uplink": recorder.forever("uplink")}
    supervised = asyncio.create_task(supervise(tasks, stop=stop, drain=recorder.drain))
    await recorder.started.wait()
    stop.set()
    assert await supervised == 0
    assert recorder.happened == ["drained", "uplink ended", "outbox ended"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_cleanly_and_the_handlers_are_given_back(number: signal.Signals) -> None:
    recorder, stop = Recorder(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(None)
    supervised = asyncio.create_task(supervise({"uplink": recorder.forever("uplink")}, stop=stop, drain=recorder.drain))
    await recorder.started.wait()
    os.kill(os.getpid(), number)
    assert await supervised == 0
    assert stop.is_set()
    assert recorder.happened == ["drained", "uplink ended"]
    assert not loop.remove_signal_handler(number), "the loop still handles the signal"
    assert loop.get_exception_handler() is None


async def test_a_second_signal_ends_the_drain_at_once(caplog: pytest.LogCaptureFixture) -> None:
    recorder, stop, draining = Recorder(), asyncio.Event(), asyncio.Event()

    async def endless_drain() -> None:
        draining.set()
        await recorder.forever("drain")

    tasks = {"uplink": recorder.forever("uplink")}
    supervised = asyncio.create_task(supervise(tasks, stop=stop, drain=endless_drain, drain_timeout_s=3600))
    await recorder.started.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await draining.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await supervised == 0
    assert recorder.happened == ["drain ended", "uplink ended"]
    assert "drain_cut_short" in {record.__dict__.get("event") for record in caplog.records}


async def test_the_drain_ends_at_its_deadline_and_that_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    recorder, stop = Recorder(), asyncio.Event()
    stop.set()
    tasks = {"uplink": recorder.forever("uplink")}
    assert await supervise(tasks, stop=stop, drain=lambda: recorder.forever("drain"), drain_timeout_s=0.01) == 0
    assert recorder.happened == ["drain ended", "uplink ended"]
    assert "drain_cut_short" in {record.__dict__.get("event") for record in caplog.records}
    assert not critical(caplog)


async def test_a_failing_task_stops_the_rest_and_is_named_with_its_error(caplog: pytest.LogCaptureFixture) -> None:
    recorder, stop = Recorder(), asyncio.Event()
    tasks: dict[str, Coroutine[Any, Any, None]] = {
        "uplink": recorder.forever("uplink"),
        "relay": fail(ZeroDivisionError("division by zero")),
    }
    assert await supervise(tasks, stop=stop, drain=no_drain) == 1
    assert recorder.happened == ["uplink ended"]
    assert critical(caplog) == ["task relay failed: division by zero"]
    assert "ZeroDivisionError" in caplog.text, "a fault of the program comes with its traceback"


async def test_an_error_of_our_own_tree_decides_the_exit_code_and_needs_no_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = OutboxLocked("/var/lib/edgeagent", "process 17")
    assert await supervise({"outbox": fail(error)}, stop=asyncio.Event(), drain=no_drain) == 75
    assert critical(caplog) == [f"task outbox failed: {error}"]
    assert "Traceback" not in caplog.text


async def test_a_task_that_returns_before_the_stop_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def done() -> None:
        pass

    assert await supervise({"ingest": done()}, stop=asyncio.Event(), drain=no_drain) == 1
    assert critical(caplog) == ["task ingest returned, although it should run until the stop"]


async def test_a_task_that_is_cancelled_from_within_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    assert await supervise({"ingest": fail(asyncio.CancelledError())}, stop=asyncio.Event(), drain=no_drain) == 1
    assert critical(caplog) == ["task ingest was cancelled by itself"]


async def test_a_task_may_return_once_the_stop_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    recorder, stop = Recorder(), asyncio.Event()

    async def until_stop() -> None:
        recorder.started.set()
        await stop.wait()

    supervised = asyncio.create_task(supervise({"http": until_stop()}, stop=stop, drain=recorder.drain))
    await recorder.started.wait()
    stop.set()
    assert await supervised == 0
    assert not critical(caplog)


async def test_a_failing_drain_is_told_and_decides_the_exit_code(caplog: pytest.LogCaptureFixture) -> None:
    recorder, stop = Recorder(), asyncio.Event()
    stop.set()
    error = ConfigError("config.toml", [Problem("uplink.url", "is gone")])
    tasks = {"uplink": recorder.forever("uplink")}
    assert await supervise(tasks, stop=stop, drain=lambda: fail(error)) == 78
    assert critical(caplog) == [f"the drain failed: {error}"]
    assert recorder.happened == ["uplink ended"]


async def test_a_task_that_fails_during_the_drain_ends_the_drain(caplog: pytest.LogCaptureFixture) -> None:
    recorder, stop, draining = Recorder(), asyncio.Event(), asyncio.Event()

    async def endless_drain() -> None:
        draining.set()
        await recorder.forever("drain")

    async def fails_when_drained() -> None:
        await draining.wait()
        raise RuntimeError("out of luck")

    stop.set()
    tasks = {"uplink": fails_when_drained()}
    assert await supervise(tasks, stop=stop, drain=endless_drain, drain_timeout_s=3600) == 1
    assert critical(caplog) == ["task uplink failed: out of luck"]
    assert recorder.happened == ["drain ended"]


async def test_the_first_failure_decides_the_exit_code_and_later_ones_are_still_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fails_when_cancelled() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("cannot close")

    tasks: dict[str, Coroutine[Any, Any, None]] = {
        "ledger": fails_when_cancelled(),
        "outbox": fail(OutboxLocked("state", "process 17")),
    }
    assert await supervise(tasks, stop=asyncio.Event(), drain=no_drain) == 75
    assert [text.partition(":")[0] for text in critical(caplog)] == ["task outbox failed", "task ledger failed"]


async def test_a_task_that_refuses_to_be_cancelled_does_not_hold_the_end_and_is_a_failure(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "CANCEL_TIMEOUT_S", 0.01)
    recorder, stop, release = Recorder(), asyncio.Event(), asyncio.Event()
    stubborn_task: list[asyncio.Task[Any] | None] = []

    async def stubborn() -> None:
        stubborn_task.append(asyncio.current_task())
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                recorder.happened.append("refused")

    stop.set()
    tasks = {"uplink": recorder.forever("uplink"), "disk": stubborn()}
    assert await supervise(tasks, stop=stop, drain=recorder.drain) == 1
    assert critical(caplog) == ["task disk did not end when it was cancelled"]
    assert recorder.happened == ["drained", "refused", "uplink ended"]
    release.set()
    assert stubborn_task[0] is not None
    await stubborn_task[0]


async def test_a_task_that_does_not_end_leaves_the_others_time_to_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "CANCEL_TIMEOUT_S", 0.5)
    recorder, stop, release = Recorder(), asyncio.Event(), asyncio.Event()
    stubborn_task: list[asyncio.Task[Any] | None] = []

    async def stubborn() -> None:
        stubborn_task.append(asyncio.current_task())
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    async def tidies_up(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(20):  # as a last commit, which is not there in the next turn of the loop
                await asyncio.sleep(0)
            recorder.happened.append(f"{name} ended")

    stop.set()
    tasks = {"outbox": tidies_up("outbox"), "ledger": tidies_up("ledger"), "uplink": stubborn()}
    assert await supervise(tasks, stop=stop, drain=recorder.drain) == 1
    release.set()
    assert critical(caplog) == ["task uplink did not end when it was cancelled"]
    assert recorder.happened == ["drained", "ledger ended", "outbox ended"]
    assert stubborn_task[0] is not None
    await stubborn_task[0]


async def test_a_callback_that_raises_stops_the_process(caplog: pytest.LogCaptureFixture) -> None:
    recorder, stop = Recorder(), asyncio.Event()

    def broken() -> None:
        raise KeyError("packet")

    supervised = asyncio.create_task(supervise({"uplink": recorder.forever("uplink")}, stop=stop, drain=no_drain))
    await recorder.started.wait()
    asyncio.get_running_loop().call_soon(broken)
    assert await supervised == 1
    assert "Exception in callback" in critical(caplog)[0]
    assert "KeyError" in caplog.text


@pytest.mark.parametrize(
    "context",
    [
        {
            "message": "socket.accept() out of system resource",
            "exception": OSError(24, "Too many open files"),
            "socket": 0,
        },
        {"message": "Task was destroyed but it is pending!"},
    ],
)
async def test_what_the_loop_survives_by_itself_is_logged_and_stops_nothing(
    caplog: pytest.LogCaptureFixture, context: dict[str, Any]
) -> None:
    recorder, stop = Recorder(), asyncio.Event()
    supervised = asyncio.create_task(supervise({"http": recorder.forever("http")}, stop=stop, drain=recorder.drain))
    await recorder.started.wait()
    asyncio.get_running_loop().call_exception_handler(context)
    stop.set()
    assert await supervised == 0
    assert "loop_error" in {record.__dict__.get("event") for record in caplog.records}


async def test_cancelling_the_supervision_itself_leaves_no_task_behind() -> None:
    recorder = Recorder()
    before = asyncio.all_tasks()
    tasks = {"outbox": recorder.forever("outbox"), "uplink": recorder.forever("uplink")}
    supervised = asyncio.create_task(supervise(tasks, stop=asyncio.Event(), drain=no_drain))
    await recorder.started.wait()
    supervised.cancel()
    with pytest.raises(asyncio.CancelledError):
        await supervised
    assert recorder.happened == ["uplink ended", "outbox ended"]
    assert asyncio.all_tasks() == before


async def test_cancelling_the_supervision_during_the_drain_leaves_no_task_behind() -> None:
    recorder, stop, draining = Recorder(), asyncio.Event(), asyncio.Event()
    before = asyncio.all_tasks()

    async def endless_drain() -> None:
        draining.set()
        await recorder.forever("drain")

    stop.set()
    tasks = {"uplink": recorder.forever("uplink")}
    supervised = asyncio.create_task(supervise(tasks, stop=stop, drain=endless_drain, drain_timeout_s=3600))
    await draining.wait()
    supervised.cancel()
    with pytest.raises(asyncio.CancelledError):
        await supervised
    assert recorder.happened == ["drain ended", "uplink ended"]
    assert asyncio.all_tasks() == before
