from __future__ import annotations

from edgeagent.agent.prepared import Prepared
from edgeagent.agent.seen_devices import MAX_DEVICES, SeenDevices


def of(*sources: str) -> list[Prepared]:
    return [Prepared("e-1", source, (), None, b"", b"", high=False, duplicate=False) for source in sources]


def test_the_latest_event_of_each_source_counts() -> None:
    devices = SeenDevices()
    devices.note(of("a", "b", "a"), 1)
    devices.note(of("b"), 2)
    assert devices.seen == {"a": 1, "b": 2}


def test_however_many_names_come_only_the_latest_stay() -> None:
    devices = SeenDevices()
    for number in range(5 * MAX_DEVICES):
        devices.note(of(f"device-{number}"), number)
    assert MAX_DEVICES <= len(devices.seen) <= 2 * MAX_DEVICES
    newest = {f"device-{number}" for number in range(4 * MAX_DEVICES, 5 * MAX_DEVICES)}
    assert newest <= devices.seen.keys()
