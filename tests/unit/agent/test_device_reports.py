from __future__ import annotations

from collections.abc import Callable
from typing import cast

from edgeagent.agent.device_reports import DeviceReports
from edgeagent.listener.packets import Publish
from edgeagent.listener.server import MqttListener
from edgeagent.listener.store import ListenerStore
from edgeagent.ports.link import Publication


class Listener:
    """Takes messages."""

    def __init__(self) -> None:
        self.published: list[Publish] = []

    def publish(self, publish: Publish) -> None:
        """See `MqttListener`."""
        self.published.append(publish)


class Store:
    """Writes when it is told to; `at_once`: how often somebody could not wait."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []
        self.at_once = 0

    def when_kept(self, kept: Callable[[], None]) -> None:
        """See `ListenerStore`."""
        self.at_once += 1
        self.waiting.append(kept)

    def when_written(self, kept: Callable[[], None]) -> None:
        """See `ListenerStore`."""
        self.waiting.append(kept)

    def write(self) -> None:
        """All is on disk."""
        waiting, self.waiting = self.waiting, []
        for kept in waiting:
            kept()


class Devices:
    """The reports, with a listener and a store around them."""

    def __init__(self) -> None:
        self.listener, self.store = Listener(), Store()
        self.acknowledged: list[int] = []
        self.reports = DeviceReports(
            cast("MqttListener", self.listener),
            cast("ListenerStore", self.store),
            lambda acks: self.acknowledged.extend(ack.token for ack in acks),
        )


def report(token: int, *, retain: bool) -> Publication:
    return Publication(token, "edgeagent/status/boiler", b"{}", retain=retain, content_type="application/json")


def test_only_a_retained_report_waits_for_the_disk() -> None:
    devices = Devices()
    devices.reports.publish([report(1, retain=False), report(2, retain=True), report(3, retain=False)])
    assert devices.acknowledged == [1, 3]
    devices.store.write()
    assert devices.acknowledged == [1, 3, 2]


def test_reports_that_are_not_retained_write_nothing_and_take_no_room() -> None:
    devices = Devices()
    room = devices.reports.room
    for token in range(10 * room):
        devices.reports.publish([report(token, retain=False)])
    assert (devices.reports.room, devices.store.at_once, devices.store.waiting) == (room, 0, [])
    assert len(devices.listener.published) == 10 * room


def test_many_retained_reports_are_written_at_once_and_give_their_room_back() -> None:
    devices = Devices()
    room = devices.reports.room
    devices.reports.publish([report(token, retain=True) for token in range(room // 2)])
    assert (devices.reports.room, devices.store.at_once) == (room - room // 2, 1)
    devices.store.write()
    assert devices.reports.room == room
