"""Which deliveries were lost last, so that who asks after one trigger is told. Pure; nothing of it is on the disk."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from edgeagent.ports.deliveries import LostReport

# About 300 bytes each. Older ones are in the log, one by one or by their range.
MAX_LOST: Final = 1000


class LostReports:
    """Owns the last `MAX_LOST` losses, by the key that they are about."""

    def __init__(self) -> None:
        self._lost: OrderedDict[tuple[str, str, str], LostReport] = OrderedDict()

    def add(self, key: str, lost: LostReport) -> None:
        """Note a loss; the oldest is forgotten when there are too many."""
        place = key, lost.webhook, lost.state
        self._lost[place] = lost
        self._lost.move_to_end(place)
        if len(self._lost) > MAX_LOST:
            self._lost.popitem(last=False)

    def of(self, key: str) -> Sequence[LostReport]:
        """The losses of one key, oldest first."""
        return tuple(lost for (about, _, _), lost in self._lost.items() if about == key)
