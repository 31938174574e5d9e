"""When each device sent its latest event, as far as this process has seen them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from edgeagent.agent.prepared import Prepared

MAX_DEVICES: Final = 1000


class SeenDevices:
    """Owns the sources seen last, and when: the latest `MAX_DEVICES`, and up to as many others until it tidies up."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def note(self, events: Sequence[Prepared], now_ms: int) -> None:
        """These events were accepted now. Every event comes here: 40 ns each."""
        seen = self._seen
        for event in events:
            seen[event.source] = now_ms
        if len(seen) > 2 * MAX_DEVICES:
            self._seen = dict(sorted(seen.items(), key=lambda one: one[1])[-MAX_DEVICES:])

    @property
    def seen(self) -> Mapping[str, int]:
        """The time of the latest event by source, Unix milliseconds."""
        return self._seen
