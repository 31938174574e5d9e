"""The end of a process, which no thread can delay: not by a disk that hangs, a slow name lookup, or a defect.

Everything that must survive was synced before it was promised, so the process may exit at any moment. Normally it exits
by itself. If it cannot, the deadline ends it (`os._exit`): then ports and lock are free, and systemd starts it again.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

from edgeagent.host.loop import Loop
from edgeagent.host.supervisor import CANCEL_TIMEOUT_S, DRAIN_TIMEOUT_S

# From the stop or the failure to the end of the process; less than systemd's TimeoutStopSec (30 s).
EXIT_TIMEOUT_S = DRAIN_TIMEOUT_S + CANCEL_TIMEOUT_S
# How long the deadline's own log line may take; after that the process ends without it.
_LAST_WORDS_S = 1.0
# How long to wait for a thread that resolves a name or reads a file. Its result is not needed any more.
_ASIDE_S = 1.0

_PACKAGE = Path(__file__).parents[1]

log = logging.getLogger(__name__)


class Deadline:
    """Ends the process a fixed time after `begin`, whatever it is still doing. It never ends it before `begin`."""

    def __init__(self, timeout_s: float = EXIT_TIMEOUT_S) -> None:
        """Create a deadline, not begun. Its thread starts here: later there may be no memory for one."""
        self._timeout_s = timeout_s
        self._exit_code = 1
        self._begun = threading.Event()
        threading.Thread(target=self._watch, name="deadline", daemon=True).start()

    def begin(self, exit_code: int = 1) -> None:
        """Start the time, after which the process is ended with this code. Only the first call counts."""
        if not self._begun.is_set():
            self._exit_code = exit_code
            self._begun.set()

    def _watch(self) -> None:
        self._begun.wait()
        silent = open(os.devnull, "w")  # noqa: PTH123, SIM115  stays open until the process ends
        # Not in Python: so it also ends a process that is holding the interpreter's lock.
        faulthandler.dump_traceback_later(self._timeout_s + _LAST_WORDS_S, exit=True, file=silent)
        time.sleep(self._timeout_s)
        log.critical(
            "the process did not end within %g s, and is ended now; what was accepted is on disk. Threads: %s",
            self._timeout_s,
            _where(),
            extra={"event": "ended_by_force", "exit_code": self._exit_code},
        )
        os._exit(self._exit_code)


def run(serve: Callable[[Deadline], Coroutine[Any, Any, int]]) -> int:
    """Run a command's coroutine to its end and return its exit code. Main thread only.

    Unlike `asyncio.run`, which waits for every thread ever begun, such as one that resolves a name, this waits only a
    moment, and then the process ends without the thread.
    """
    threading.excepthook = _log_dead_thread
    aside = ThreadPoolExecutor(thread_name_prefix="aside")
    deadline = Deadline()

    async def main() -> int:
        asyncio.get_running_loop().set_default_executor(aside)
        try:
            code = await serve(deadline)
        finally:
            deadline.begin()
        if not _ended(aside):
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        return code

    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(main())


def _ended(executor: ThreadPoolExecutor) -> bool:
    """Whether the executor's threads have ended, after at most a moment."""
    waiting = threading.Thread(target=executor.shutdown, kwargs={"cancel_futures": True}, daemon=True)
    waiting.start()
    waiting.join(_ASIDE_S)
    return not waiting.is_alive()


def _log_dead_thread(args: threading.ExceptHookArgs) -> None:
    """Log a thread that died of a defect, with its traceback. The code that depends on it ends the process."""
    name = args.thread.name if args.thread is not None else "?"
    error = args.exc_value or args.exc_type()
    log.critical(
        "the thread %s died of a defect: %s", name, repr(error), extra={"event": "thread_died"}, exc_info=error
    )


def _where() -> str:
    """Each thread's innermost call, and where it left our own code for it."""
    frames = sys._current_frames()  # noqa: SLF001  documented, and the only way to know
    calls = []
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        if frame is not None and thread is not threading.current_thread():
            calls.append(f"{thread.name} in {_call(frame)}{_for_whom(frame)}")
    return ", ".join(calls)


def _call(frame: FrameType) -> str:
    return f"{frame.f_code.co_name} ({Path(frame.f_code.co_filename).name}:{frame.f_lineno})"


def _for_whom(frame: FrameType) -> str:
    ours: FrameType | None = frame
    while ours is not None and not Path(ours.f_code.co_filename).is_relative_to(_PACKAGE):
        ours = ours.f_back
    return f" for {_call(ours)}" if ours not in (None, frame) else ""
