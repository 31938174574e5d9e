from __future__ import annotations

import asyncio
import asyncio.constants
import gc
import logging
import shutil
import tempfile
import threading
import traceback
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest

from tests import profiles, virtual_time
from tests.fakes.as_user import give
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.mosquitto import free_port as find_free_port
from tests.fakes.programs import children, end_programs

_NOTED_FRAMES = 3

profiles.register()
virtual_time.watch_disk_threads()
# In debug mode asyncio notes where each task, future and callback was made. Where a test made it is in the last frames;
# noting all took a third of the quick tests' time. Tasks and futures are made in C, which knows no other limit.
asyncio.constants.DEBUG_STACK_DEPTH = _NOTED_FRAMES  # type: ignore[misc]
traceback.extract_stack.__defaults__ = (None, _NOTED_FRAMES)
# In debug mode asyncio warns of slow callbacks, which a busy machine has; tests look at what edgeagent logs.
logging.getLogger("asyncio").setLevel(logging.ERROR)


def pytest_collection_finish() -> None:
    """Thousands of tests stay in memory to the end: the garbage collector need not look at them again and again."""
    gc.collect()
    gc.freeze()


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, virtual_time.LoopFactory]:
    """Which loop a test runs in: one with virtual time, if it is marked so."""
    return virtual_time.loop_factories(item)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    """A running Mosquitto that lets everyone in."""
    directory = tmp_path / "mosquitto"
    directory.mkdir()
    async with Mosquitto(directory) as mosquitto:
        yield mosquitto


@pytest.fixture
async def local_broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    """A second broker, the devices' own."""
    directory = tmp_path / "mosquitto-local"
    directory.mkdir()
    async with Mosquitto(directory) as mosquitto:
        yield mosquitto


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that the other user of `tests.fakes.as_user` owns and can reach."""
    directory = Path(tempfile.mkdtemp(prefix="owners-"))
    give(directory)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(autouse=True)
def _no_program_is_left() -> Iterator[None]:
    """A test that fails leaves no program running."""
    before = children()
    yield
    end_programs(before)


@pytest.fixture(autouse=True)
def _nothing_is_about_to_end_this_process() -> Iterator[None]:
    """A command that waits or serves ends its process for certain (`host.ending`): ours, if it is called in it."""
    yield
    assert all(thread.name != "deadline" for thread in threading.enumerate()), "call this command as a process"


@pytest.fixture
def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    return find_free_port()
