"""When a parked trigger is tried."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.agent.parking import ParkedLane
from edgeagent.outbox.outbox import Outbox
from tests.fakes.outbox import running_outbox

ONE: Any = object()  # the lane only asks whether it is the same trigger
OTHER: Any = object()


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[Outbox]:
    async with running_outbox(tmp_path) as running:
        running.parked = 2
        yield running


def tried(lane: ParkedLane, now: float, *, suspected: bool = False, answered: bool = False) -> float:
    """Try one; after how many seconds the next is due."""
    lane.sent(ONE)
    assert not lane.wanted(now)
    if suspected:
        lane.suspected(ONE)
    lane.ended(OTHER, now, answered=True)
    assert not lane.wanted(now), "another trigger's end is nothing to it"
    lane.ended(ONE, now, answered=answered)
    due = lane.next_deadline()
    assert due is not None
    assert lane.wanted(due)
    return due - now


async def test_the_next_waits_while_nobody_answers_and_follows_at_once_when_somebody_does(outbox: Outbox) -> None:
    lane = ParkedLane(outbox)
    assert [tried(lane, 100.0), tried(lane, 200.0)] == [45.0, 45.0]
    assert tried(lane, 300.0, answered=True) == 0.0


async def test_one_over_which_connections_end_is_tried_ever_more_seldom(outbox: Outbox) -> None:
    lane = ParkedLane(outbox)
    assert [tried(lane, 0.0, suspected=True) for _ in range(9)] == [90, 180, 360, 720, 1440, 2880, 5760, 5760, 5760]
    assert tried(lane, 0.0) == 45.0, "one that did no harm"
    assert tried(lane, 0.0, suspected=True) == 5760
    assert tried(lane, 0.0, answered=True) == 0.0
    assert tried(lane, 0.0, suspected=True) == 90


async def test_the_next_goes_sooner_when_others_are_answered_but_not_for_one_that_never_is(outbox: Outbox) -> None:
    lane = ParkedLane(outbox)
    waits: list[float] = []
    now = 0.0
    for _ in range(6):
        tried(lane, now)
        lane.heard(now + 1.0)
        due = lane.next_deadline()
        assert due is not None
        waits.append(due - now)
        lane.heard(now + 1.5)
        assert lane.next_deadline() == due, "once"
        now = due
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 45.0]
    assert tried(lane, now, answered=True) == 0.0
    tried(lane, now)
    lane.heard(now + 30.0)
    assert lane.next_deadline() == now + 30.0, "an engine that was away for long is heard at once"


async def test_one_over_which_connections_end_is_not_tried_sooner(outbox: Outbox) -> None:
    lane = ParkedLane(outbox)
    assert tried(lane, 0.0, suspected=True) == 90.0
    lane.heard(1.0)
    assert lane.next_deadline() == 90.0
