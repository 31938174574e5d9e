"""The whole demo: a directory, a display, the stage, the play and the account; nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from edgeagent.demo import configs, series
from edgeagent.demo.child import ChildFailed
from edgeagent.demo.plain import Plain
from edgeagent.demo.play import Play
from edgeagent.demo.scene import Display, Scene, summary
from edgeagent.demo.series import SOURCE
from edgeagent.demo.stage import Stage
from edgeagent.demo.tally import DemoTally
from edgeagent.errors import EdgeAgentError

# Closing the terminal (SIGHUP) must end the programs too.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SIGNALLED = 128  # exit codes of shells: this and the signal's number

_PREFIX = "edgeagent-demo-"
_MAX_SOCKET_PATH_BYTES = 107  # unix(7), without the NUL


class Options(NamedTuple):
    """The options of the command. `broker`: None uses whichever is installed."""

    plain: bool
    keep: bool
    broker: str | None


async def show(options: Options) -> int:
    """Run the demo and return the process's exit code. Main thread only.

    Raises:
        EdgeAgentError: it could not be played to its end.
    """
    loop = asyncio.get_running_loop()
    signals: list[int] = []
    task = asyncio.create_task(_show(options))

    def signalled(number: int) -> None:
        if not signals:  # a second one, while everything is being ended, changes nothing
            task.cancel()
        signals.append(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, signalled, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not signals:
            raise
        _write(["Broken off: everything that was started has ended."])
        return _SIGNALLED + signals[0]
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


async def _show(options: Options) -> int:
    directory = _make_directory()
    keep_directory = False
    try:
        problems = await _perform(options, directory)
        keep_directory = bool(problems)
    except EdgeAgentError as exc:
        keep_directory = _has_logs(directory)
        _write_log_tail(exc)
        raise
    finally:
        if keep_directory:
            sys.stderr.write(f"Logs and state are kept in {directory}\n")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return 1 if problems else 0


def _make_directory() -> Path:
    """Create a directory for everything that the demo writes, with a path short enough for a socket in it."""
    name = f"{_PREFIX}12345678/{configs.SOCKET}"
    too_long = len(os.fsencode(Path(tempfile.gettempdir()) / name)) > _MAX_SOCKET_PATH_BYTES
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir="/tmp" if too_long else None))  # noqa: S108  mkdtemp is safe there


async def _perform(options: Options, directory: Path) -> list[str]:
    """Play between the creation and the removal of the directory; returns what is wrong in the end."""
    readings = series.load()
    tally = DemoTally()
    scene = Scene(readings, series.playing_time_s(readings), tally)
    stage = Stage(directory, options.broker, tally)
    display = choose_display(sys.stdout, plain=options.plain)
    play = Play(stage, display, scene)
    try:
        try:
            play.tell("Starting a broker, a dispatcher and an agent.")
            await stage.open()
            problems = await _beside(play.perform(), play.sense(), play.poll(), play.show(), stage.watch())
        finally:
            await play.close()
            display.close(scene)
        _write(summary(scene, problems))
        if problems:
            _write_log_tail(stage.agent.failed("has not kept every promise"))
        if options.keep:
            await _keep(stage)
    finally:
        await stage.close()
    return problems


async def _beside(main: Coroutine[Any, Any, list[str]], *others: Coroutine[Any, Any, None]) -> list[str]:
    """Run all until `main` returns or one of the others raises; those never return."""
    task = asyncio.create_task(main)
    tasks = [task, *(asyncio.create_task(other) for other in others)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for other in done - {task}:
            other.result()
        return await task
    finally:
        for running in tasks:
            running.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _keep(stage: Stage) -> None:
    """Leave everything running until a signal comes.

    Raises:
        EdgeAgentError: one of the programs has ended.
    """
    reading = '{"flow_l_s": 30}'
    _write(
        [
            "",
            "Everything keeps running, until Ctrl-C:",
            f"  the status page       http://127.0.0.1:{stage.http_port}/",
            f"  the agent's figures   curl http://127.0.0.1:{stage.http_port}/v1/stats",
            f"  one more reading      edgeagent emit -c {stage.agent_config} --wait {SOURCE} '{reading}'",
            f"  the broker            mqtt://127.0.0.1:{stage.broker_port} (argo/workflows/#)",
            f"  the agent's listener  mqtt://127.0.0.1:{stage.mqtt_port} (readings on {SOURCE})",
            f"  the agent's log       {stage.agent.log}",
        ]
    )
    with contextlib.suppress(asyncio.CancelledError):  # the signal cancels the wait
        await stage.watch()


def choose_display(stream: TextIO, *, plain: bool) -> Display:
    """The picture if a person's terminal can show it, otherwise plain lines."""
    if plain or not stream.isatty():
        return Plain(stream)
    try:
        from edgeagent.demo import screen  # noqa: PLC0415  needs an extra, which plain lines do without
    except ModuleNotFoundError:
        stream.write("For a live picture: pip install 'edgeagent[demo]'\n")
        return Plain(stream)
    picture = screen.Screen(stream)
    if picture.usable:
        return picture
    stream.write(f"For a live picture: a terminal of {screen.MIN_WIDTH}x{screen.MIN_HEIGHT} with UTF-8\n")
    return Plain(stream)


def _write_log_tail(error: EdgeAgentError) -> None:
    """Write the end of the log of the program at fault."""
    if isinstance(error, ChildFailed):
        sys.stderr.write(f"The end of {error.log}:\n" + "".join(f"  {line}\n" for line in error.tail))


def _has_logs(directory: Path) -> bool:
    return any(directory.glob("*.log"))


def _write(lines: Sequence[str]) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()
