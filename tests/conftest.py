from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.mosquitto import Mosquitto
from tests.fakes.mosquitto import free_port as find_free_port


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    """A running Mosquitto that lets everyone in."""
    directory = tmp_path / "mosquitto"
    directory.mkdir()
    async with Mosquitto(directory) as mosquitto:
        yield mosquitto


@pytest.fixture
def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    return find_free_port()
