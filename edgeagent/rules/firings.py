"""Firings: a rule's last trigger for each source, on which `throttle`, `rearm` and `coalesce` depend.

The outbox keeps them with the records (docs/format.md), so that they are right after a restart.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator

import msgspec

from edgeagent.common.elapsed import Instant

# A device that invents new sources must not fill the memory. A forgotten firing fires again, so nothing is lost.
MAX_FIRINGS = 10_000


class Firing(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A rule's last trigger for a source: its event, and when that was accepted.

    `armed`: whether the rule's `rearm` filters have held since then.
    """

    rule: str
    source: str
    event_id: str
    wall_ms: int
    uptime_ms: int
    boot: bytes
    armed: bool = False

    @property
    def at(self) -> Instant:
        """When its event was accepted."""
        return Instant(self.wall_ms, self.uptime_ms, self.boot)


class Firings:
    """The last firing of each rule and source, at most `MAX_FIRINGS`: beyond that, the least recently changed goes.

    It owns them in memory only: the outbox writes them, and restores them after a start.
    """

    def __init__(self, known: Iterable[Firing] = ()) -> None:
        self._last: OrderedDict[tuple[str, str], Firing] = OrderedDict()
        for firing in known:
            self.fired(firing)

    def __iter__(self) -> Iterator[Firing]:
        """The least recently changed first."""
        return iter(self._last.values())

    def get(self, rule: str, source: str) -> Firing | None:
        """The last firing, None if there was none."""
        return self._last.get((rule, source))

    def fired(self, firing: Firing) -> None:
        """Note that a rule made a trigger for a source, or that what is known of the last one changed."""
        key = firing.rule, firing.source
        self._last[key] = firing
        self._last.move_to_end(key)
        if len(self._last) > MAX_FIRINGS:
            self._last.popitem(last=False)

    def armed(self, rule: str, source: str) -> None:
        """Note that the rule's `rearm` filters held for this source."""
        firing = self.get(rule, source)
        if firing is not None:
            self.fired(msgspec.structs.replace(firing, armed=True))
