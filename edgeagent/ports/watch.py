"""The interface by which the agent is watched live: what changes, how much came and went, which devices there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec


class StreamUpdate(msgspec.Struct, frozen=True):
    """One thing to tell. `kind`: `trigger`, `stats` or `gap`. `data`: JSON in one line.

    `number`: of the latest change of a trigger that is told with it, from which a later subscription can go on.
    """

    kind: str
    number: int
    data: bytes


class StreamQuery(msgspec.Struct, frozen=True):
    """What to tell: changes of this source's triggers, or of all; those after a number, or only new ones."""

    source: str = ""
    after: int | None = None


class WatchPlace(Protocol):
    """The place of one subscriber. Nothing is kept for it: what it does not take in time is told as a gap."""

    def take(self) -> Sequence[StreamUpdate]:
        """What is to be told now, about 64 KiB at most; empty when that is all for now."""

    def close(self) -> None:
        """Tell nothing more."""


class DeviceSeen(msgspec.Struct, frozen=True, omit_defaults=True):
    """A source. `last_event`: when its latest event was accepted, as far as that is known, RFC 3339 UTC.

    `triggers`: how many of its triggers the ledger keeps.
    """

    source: str
    last_event: str
    triggers: int = 0


class WatchPort(Protocol):
    """What a person who watches the agent sees. Without a subscription nothing is made for it."""

    def subscribe(self, query: StreamQuery, wake: Callable[[], None]) -> WatchPlace:
        """Begin to tell. `wake` is called when there may be something to take; it must neither block nor raise."""

    async def series(self) -> Mapping[str, Any]:
        """Events in, triggers out and what is pending, over the last hour and the last day, ready for JSON.

        `oldest`: when the event of the oldest pending trigger was accepted; None without one, or while the disk hangs.
        """

    async def devices(self) -> Sequence[DeviceSeen]:
        """The sources seen last, newest event first, a thousand at most.

        Raises:
            StorageFailed: the ledger cannot be read now.
        """
