from __future__ import annotations

import msgspec
import pytest

from edgeagent.errors import StorageFailed
from edgeagent.links.subscribed import SubscribedTopics

pytestmark = pytest.mark.virtual_time

ONE, TWO = "mqtt://one", "mqtt://two"


class Disk:
    """Keeps the last text."""

    def __init__(self) -> None:
        self.text = b""
        self.writes = 0
        self.failing = False

    async def write(self, text: bytes) -> None:
        """Keep it, unless it is `failing`."""
        if self.failing:
            raise StorageFailed("write", "subscriptions", "no space left")
        self.text, self.writes = text, self.writes + 1

    def kept(self) -> SubscribedTopics:
        """As after a restart."""
        return SubscribedTopics(self.text, self.write)


async def test_what_the_configuration_no_longer_has_is_unwanted_until_the_broker_has_given_it_up() -> None:
    disk = Disk()
    assert await disk.kept().begin(ONE, "gw", ["a", "b/#"]) == ()
    assert await disk.kept().begin(ONE, "gw", ["a", "c"]) == ("b/#",)
    kept = disk.kept()  # ended before the broker answered
    assert await kept.begin(ONE, "gw", ["a", "c"]) == ("b/#",)
    await kept.unsubscribed(ONE, "gw", ["a", "c"])
    assert await disk.kept().begin(ONE, "gw", ["a", "c"]) == ()


async def test_each_broker_and_each_client_id_has_a_session_of_its_own() -> None:
    disk = Disk()
    await disk.kept().begin(ONE, "gw", ["a"])
    assert await disk.kept().begin(TWO, "gw", ["b"]) == ()
    assert await disk.kept().begin(ONE, "other", ["b"]) == ()
    assert await disk.kept().begin(ONE, "gw", ["b"]) == ("a",), "back at the first broker"


async def test_nothing_is_written_when_nothing_changed_and_what_is_kept_is_bounded() -> None:
    disk = Disk()
    for _ in range(3):
        await disk.kept().begin(ONE, "gw", ["a"])
    assert disk.writes == 1
    for number in range(100):
        await disk.kept().begin(f"mqtt://{number}", "gw", ["a"])
    assert len(msgspec.json.decode(disk.text)) == 8


@pytest.mark.parametrize("text", [b"{", b"[1]", b'[{"address": 1}]', b"\xff"])
async def test_a_damaged_file_counts_as_none_and_a_failing_disk_stops_no_connection(text: bytes) -> None:
    disk = Disk()
    disk.text = text
    assert await disk.kept().begin(ONE, "gw", ["a"]) == ()
    disk.failing = True
    assert await disk.kept().begin(ONE, "gw", ["b"]) == ("a",)
