"""When the listener looks at what the time brings: not every second while there is nothing to look at."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from edgeagent.listener.packets import Connect
from edgeagent.listener.reasons import Reason
from edgeagent.listener.traffic import DeviceTraffic
from edgeagent.ports.event_topics import EventTopics
from tests.fakes.device_broker import EVERYTHING, Devices

pytestmark = pytest.mark.virtual_time


class HangingStore:
    """A disk that takes for ever."""

    def look(self) -> None:
        """Nothing is written."""

    def when_kept(self, kept: Any) -> None:
        """It never is."""


def traffic_of(devices: Devices) -> DeviceTraffic:
    return DeviceTraffic(devices.broker, cast("Any", HangingStore()), cast("Any", None), EventTopics([], ()))


class QuietDevice:
    """A connection of which only this is asked."""

    is_over = False

    def __init__(self, *, waits: bool) -> None:
        self.waits_for_more = waits
        self.session: Any = None
        self.rights: Any = None


def device(*, waits: bool = False) -> Any:
    return QuietDevice(waits=waits)


async def rest_s(traffic: DeviceTraffic) -> float:
    loop = asyncio.get_running_loop()
    start = loop.time()
    await traffic.until_tick()
    return loop.time() - start


async def test_without_devices_it_rests_for_ten_seconds_and_with_quiet_ones_for_two() -> None:
    traffic = traffic_of(Devices())
    assert await rest_s(traffic) == pytest.approx(10, abs=0.01)
    traffic.clients.add(device())
    assert await rest_s(traffic) == pytest.approx(2, abs=0.01)


async def test_while_a_device_waits_for_room_it_looks_each_second() -> None:
    traffic = traffic_of(Devices())
    traffic.clients.update((device(), device(waits=True)))
    assert await rest_s(traffic) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("due_in_s", "rest"), [(4.0, 4.0), (0.2, 1.0), (-5.0, 1.0), (60.0, 10.0)])
async def test_what_is_due_is_late_by_a_second_at_most(
    due_in_s: float, rest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = Devices()
    due_at = asyncio.get_running_loop().time() + due_in_s
    monkeypatch.setattr(devices.broker, "due_at", lambda: due_at)
    assert await rest_s(traffic_of(devices)) == pytest.approx(rest, abs=0.01)


async def test_who_comes_in_while_it_rests_has_its_second_from_then_on() -> None:
    traffic = traffic_of(Devices())
    resting = asyncio.create_task(rest_s(traffic))
    await asyncio.sleep(3)
    client = device()
    connect = Connect(5, "pump-1", False, session_expiry_s=3600)
    assert traffic.admit(client, connect, None, EVERYTHING, "t") is Reason.SUCCESS
    assert await resting == pytest.approx(4, abs=0.01)
    assert await rest_s(traffic) == pytest.approx(1, abs=0.01), "its session is not on disk yet"
