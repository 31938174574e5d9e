"""When each device sent its latest event, as far as this process has seen them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

MAX_DEVICES: Final = 1000


class SeenDevices:
    """Owns the sources seen last, and when: the latest `MAX_DEVICES`, and up to as many others until it tidies up."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def note(self, sources: Iterable[str], now_ms: int) -> None:
        """Events of these sources were accepted now."""
        seen = self._seen
        seen.update(dict.fromkeys(sources, now_ms))
        if len(seen) > 2 * MAX_DEVICES:
            self._seen = dict(sorted(seen.items(), key=lambda one: one[1])[-MAX_DEVICES:])

    @property
    def seen(self) -> Mapping[str, int]:
        """The time of the latest event by source, Unix milliseconds."""
        return self._seen
