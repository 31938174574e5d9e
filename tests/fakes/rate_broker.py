"""A rule with a `rate`, and a broker that notes when it is given what of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec

from edgeagent.common.units import Duration
from edgeagent.ports.link import Publication
from edgeagent.rules.spec import Rate, RuleSpec
from tests.fakes.link import FakeLink
from tests.fakes.sender_scene import Scene
from tests.waiting import until_told

MINUTE_S, HOUR_S = 60.0, 3600.0
SLOW = RuleSpec(
    "slow",
    "plant",
    template="t",
    source="slow-*",
    arguments={"n": "body.n"},
    rate=Rate(3, Duration(MINUTE_S)),
)


def slow(**fields: Any) -> RuleSpec:
    """The rule with other fields."""
    return msgspec.structs.replace(SLOW, **fields)


class RateBroker(FakeLink):
    """Takes whatever is published at once, and notes when: (seconds, number) for each trigger.

    `acknowledges`: whether it says so; it may be changed.
    """

    def __init__(self, made: Scene, *, acknowledges: bool = True) -> None:
        super().__init__()
        self.acknowledges = acknowledges
        self.taken: list[tuple[float, int]] = []
        self._made = made
        self._changed = asyncio.Event()
        made.link = self
        made.up()

    def publish(self, publications: Sequence[Publication]) -> None:
        """Take them; they are acknowledged in the next turn."""
        super().publish(publications)
        loop = asyncio.get_running_loop()
        self.taken += [(loop.time(), number(one.payload)) for one in publications]
        self._changed.set()
        if self.acknowledges:
            loop.call_soon(self._made.take)

    async def has(self, count: int) -> None:
        """Wait until it has taken so many."""
        await until_told(
            lambda: len(self.taken) >= count,
            self._changed,
            f"{count} triggers",
            seen=lambda: (self.numbers, self._made.limited.stats()),
            deadline_s=24 * HOUR_S,
        )

    @property
    def numbers(self) -> list[int]:
        """In the order in which it took them."""
        return [n for _, n in self.taken]


def number(payload: bytes) -> int:
    """Which event a trigger is of."""
    workflow = json.loads(payload)["workflow"]
    return int(json.loads(workflow["spec"]["arguments"]["parameters"][0]["value"]))


def most_within(times: Sequence[float], span_s: float) -> int:
    """How many of these times are in one span, wherever it begins."""
    return max((sum(at <= other < at + span_s for other in times) for at in times), default=0)


async def accepted(made: Scene, start: int, count: int, source: str = "slow-1") -> None:
    """Take so many events, numbered from `start`."""
    for first in range(start, start + count, 50):
        await made.accept(*range(first, min(first + 50, start + count)), source=source)
