"""The end of a process, in processes of their own."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.waiting import DEADLINE_S

BEGIN = """
import asyncio, logging, os, sys, threading, time

from edgeagent.host import ending, log
log.configure("info", "text", sys.stderr)
"""


def run(program: str, stderr: int = subprocess.PIPE) -> tuple[int, str]:
    process = subprocess.Popen([sys.executable, "-c", BEGIN + program], stderr=stderr)
    try:
        error = process.communicate(timeout=DEADLINE_S)[1] or b""
    finally:
        process.kill()
    return process.returncode, error.decode()


@pytest.mark.slow
def test_a_process_that_does_not_end_is_ended_and_says_where_it_stood() -> None:
    code, error = run("""
from edgeagent.outbox.disk import DiskThread
async def stuck_on_the_disk():
    DiskThread("disk").begin(threading.Event().wait, lambda _result, _error: None)
asyncio.run(stuck_on_the_disk())
deadline = ending.Deadline(0.2)
deadline.begin(5)
deadline.begin(0)
threading.Event().wait()
""")
    assert code == 5
    (line,) = error.splitlines()
    assert " CRITICAL host.ending: the process did not end within 0.2 s" in line
    assert re.search(r"disk in wait \(threading\.py:\d+\) for _work \(disk\.py:\d+\)", line)
    assert "event=ended_by_force exit_code=5" in line


@pytest.mark.slow
def test_a_log_that_nobody_reads_does_not_keep_it() -> None:
    reader = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdin=subprocess.PIPE)
    assert reader.stdin is not None
    try:
        code, _ = run(
            """
os.set_blocking(2, False)
try:
    while os.write(2, b"x" * 4096):
        pass
except BlockingIOError:
    os.set_blocking(2, True)
ending.Deadline(0.2).begin(5)
threading.Event().wait()
""",
            reader.stdin.fileno(),
        )
    finally:
        reader.kill()
        reader.communicate()
    assert code == 1


@pytest.mark.slow
def test_a_thread_that_looks_something_up_is_not_waited_for_when_everything_else_has_ended() -> None:
    code, error = run("""
ending.Deadline.__init__.__defaults__ = (600.0,)
async def serve(deadline):
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    return 7
sys.exit(ending.run(serve))
""")
    assert (code, error) == (7, "")


@pytest.mark.slow
def test_a_failure_before_everything_runs_ends_in_time_too_and_is_told() -> None:
    code, error = run("""
ending.Deadline.__init__.__defaults__ = (0.2,)
async def serve(deadline):
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    raise ValueError("no such thing")
sys.exit(ending.run(serve))
""")
    assert code == 1
    assert "event=ended_by_force" in error


def test_a_thread_that_dies_is_one_line_of_the_log() -> None:
    code, error = run("""
async def serve(deadline):
    thread = threading.Thread(target=lambda: 1 / 0, name="disk")
    thread.start()
    thread.join()
    return 0
sys.exit(ending.run(serve))
""")
    assert code == 0
    (line,) = error.splitlines()
    assert "the thread disk died of a defect: ZeroDivisionError('division by zero') event=thread_died" in line
