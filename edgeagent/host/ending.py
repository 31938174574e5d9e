"""The end of a process, which no thread holds up: a disk that does not answer, a name that is not found, a defect.

Everything that must survive was synced before it was promised, so that the process may leave at any moment. It leaves
by itself if it can. If it cannot, the deadline ends it (`os._exit`): ports and lock are free then, and systemd starts
it again.
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
from typing import Any

from edgeagent.host.supervisor import CANCEL_TIMEOUT_S, DRAIN_TIMEOUT_S

# From the stop or the failure to the end of the process. Less than systemd's TimeoutStopSec (30 s).
EXIT_TIMEOUT_S = DRAIN_TIMEOUT_S + CANCEL_TIMEOUT_S
# The deadline's own last words may find no reader, or no interpreter: then the process ends without them.
_LAST_WORDS_S = 1.0
# For a thread that looks a name up or reads a file to come back. Nobody waits for what it brings.
_ASIDE_S = 1.0

log = logging.getLogger(__name__)


class Deadline:
    """Ends the process so long after `begin`, whatever else still goes on in it."""

    def __init__(self, timeout_s: float = EXIT_TIMEOUT_S) -> None:
        """Nothing is ended yet. Its thread is started here: later there may be no memory for one."""
        self._timeout_s = timeout_s
        self._exit_code = 1
        self._begun = threading.Event()
        threading.Thread(target=self._watch, name="deadline", daemon=True).start()

    def begin(self, exit_code: int = 1) -> None:
        """The process should end from now on, with this code if it has to be made to. Only the first call counts."""
        if not self._begun.is_set():
            self._exit_code = exit_code
            self._begun.set()

    def _watch(self) -> None:
        self._begun.wait()
        silent = open(os.devnull, "w")  # noqa: PTH123, SIM115  open to the end of the process
        # Not by Python code: it ends a process that holds the interpreter's lock, too.
        faulthandler.dump_traceback_later(self._timeout_s + _LAST_WORDS_S, exit=True, file=silent)
        time.sleep(self._timeout_s)
        log.critical(
            "the process did not end within %g s, and is ended now; what was accepted is on disk. Where it stood: %s",
            self._timeout_s,
            _where(),
            extra={"event": "ended_by_force", "exit_code": self._exit_code},
        )
        os._exit(self._exit_code)


def run(serve: Callable[[Deadline], Coroutine[Any, Any, int]]) -> int:
    """Run a command's coroutine to its end and return its exit code. Main thread only.

    As `asyncio.run`, but that waits for each thread that was ever begun, such as one that looks a name up: here it is
    waited for a moment, and then the process ends without it.
    """
    threading.excepthook = _tell_dead_thread
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

    with asyncio.Runner() as runner:
        return runner.run(main())


def _ended(executor: ThreadPoolExecutor) -> bool:
    """Whether its threads have, after a moment."""
    waiting = threading.Thread(target=executor.shutdown, kwargs={"cancel_futures": True}, daemon=True)
    waiting.start()
    waiting.join(_ASIDE_S)
    return not waiting.is_alive()


def _tell_dead_thread(args: threading.ExceptHookArgs) -> None:
    """A thread ended by a defect: one line of the log, with its traceback. Who depends on it ends the process."""
    name = args.thread.name if args.thread is not None else "?"
    error = args.exc_value or args.exc_type()
    log.critical(
        "the thread %s has died of a defect: %s", name, repr(error), extra={"event": "thread_died"}, exc_info=error
    )


def _where() -> str:
    """Where each thread is: its innermost call."""
    frames = sys._current_frames()  # noqa: SLF001  documented, and the only way to know
    told = []
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        if frame is not None and thread is not threading.current_thread():
            code = frame.f_code
            told.append(f"{thread.name} in {code.co_name} ({Path(code.co_filename).name}:{frame.f_lineno})")
    return ", ".join(told)
