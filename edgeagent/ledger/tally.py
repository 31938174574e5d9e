"""What happened to triggers in a day, as numbers that can be added up: pure.

Times are kept as counts in fixed buckets, each a quarter of an octave wide, so that the median and the 95th percentile
of any number of days can be told from their sums. They are right within 9 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from edgeagent.common.times import instant
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import State

_FIRST_S: Final = 0.01
_IN_OCTAVE: Final = 4
# The last bucket begins at about 33 days; everything longer is in it.
_LAST: Final = 112

_SETTLED: Final = frozenset({State.TRIGGERED, State.RUNNING, State.SUCCEEDED, State.FAILED, State.ERROR})
_ENDED: Final = frozenset({State.SUCCEEDED, State.FAILED, State.ERROR})
# Under which name a trigger in this state is counted; others are on their way.
_COUNTED: Final = {
    State.SUCCEEDED: "succeeded",
    State.FAILED: "failed",
    State.ERROR: "failed",
    State.UNKNOWN: "unknown",
    State.REJECTED: "rejected",
    State.EXPIRED: "expired",
    State.DROPPED: "dropped",
    State.MERGED: "merged",
}


class Tally(msgspec.Struct, omit_defaults=True):
    """The sums of a day, a rule or a source. `answer`, `end`: how many times fell into each bucket.

    A trigger whose state changes after its end is taken back where it was counted, so a number of one day may be below
    0. `account`: by how much the counters of the account rose (`ports.account`). `offline_s`, `online_s`: for how long
    the agent ran without and with its uplink.
    """

    triggers: int = 0
    succeeded: int = 0
    failed: int = 0
    unknown: int = 0
    rejected: int = 0
    expired: int = 0
    dropped: int = 0
    merged: int = 0
    answer: dict[int, int] = {}
    end: dict[int, int] = {}
    account: dict[str, int] = {}
    offline_s: float = 0.0
    online_s: float = 0.0

    def add(self, other: Tally) -> None:
        """Add the sums of another one."""
        for name in self.__struct_fields__:
            mine, more = getattr(self, name), getattr(other, name)
            if isinstance(mine, dict):
                _add_up(mine, more)
            elif more:
                setattr(self, name, mine + more)

    def note(self, before: Life | None, now: Life) -> None:
        """Count a change of a trigger. `before`: None if it is new."""
        self.triggers += before is None
        was, state = before.report.state if before is not None else State.BUFFERED, now.report.state
        if was is state and before is not None:
            return
        for each, change in ((was, -1), (state, 1)):
            if name := _COUNTED.get(each):
                setattr(self, name, getattr(self, name) + change)
        if state in _SETTLED and was not in _SETTLED:
            _count(self.answer, now)
        if state in _ENDED and was not in _ENDED:
            _count(self.end, now)


def percentile(times: Mapping[int, int], part: float) -> float | None:
    """The time in seconds that this part (0 to 1) of the times does not exceed; None if there are none."""
    total = sum(times.values())
    if total <= 0:
        return None
    left = math.ceil(part * total)
    for bucket in sorted(times):
        left -= times[bucket]
        if left <= 0:
            return float(f"{_FIRST_S * 2 ** ((bucket + 0.5) / _IN_OCTAVE):.3g}")
    return None


def bucket_of(seconds: float) -> int:
    """The bucket of a time. One that a clock which was set back made negative is in the first."""
    if seconds <= _FIRST_S:
        return 0
    return min(int(math.log2(seconds / _FIRST_S) * _IN_OCTAVE), _LAST)


def _count(times: dict[int, int], life: Life) -> None:
    try:
        reached_ms = instant(life.report.at).timestamp() * 1000
    except (ValueError, OverflowError):  # a text from a file that something else wrote
        return
    bucket = bucket_of((reached_ms - life.accepted_ms) / 1000)
    times[bucket] = times.get(bucket, 0) + 1


def _add_up(mine: dict[object, int], more: Mapping[object, int]) -> None:
    for key, count in more.items():
        mine[key] = mine.get(key, 0) + count
