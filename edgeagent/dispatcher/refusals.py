"""How soon a trigger that the engine forbade (403) is to be sent again. Pure: takes values and a time, returns seconds.

An API server that has just started answers 403 for a second, until it has read its rules; rights and admission rules
that somebody must change stay as they are for hours. The two look the same, except that what was allowed a moment ago
is most likely allowed again a moment later. So refusals that begin after a success are answered with a short wait;
those later than `SOON_WINDOW_S` after the first of them, with a long one.
"""

from __future__ import annotations

from collections import OrderedDict

from edgeagent.dispatcher.outcome import SLOW_S

SOON_S = 5.0
SOON_WINDOW_S = 15.0
# Refusals are remembered for so many pairs of namespace and template; the oldest pair is forgotten first, and its next
# refusal counts as a first one.
_MAX_KEYS = 1000

Key = tuple[str, str]


class Refusals:
    """Owns, for each kind of order, the time since when it is refused. A kind is a namespace and a template in it."""

    def __init__(self) -> None:
        self._since_s: OrderedDict[Key, float] = OrderedDict()

    def allowed(self, key: Key) -> None:
        """Note that the engine has started such an order: the next refusal is a first one again."""
        self._since_s.pop(key, None)

    def refused(self, key: Key, now_s: float) -> float:
        """Note that the engine has forbidden such an order; returns after how many seconds to send it again."""
        since_s = self._since_s.setdefault(key, now_s)
        self._since_s.move_to_end(key)
        if len(self._since_s) > _MAX_KEYS:
            self._since_s.popitem(last=False)
        return SOON_S if now_s - since_s < SOON_WINDOW_S else SLOW_S
