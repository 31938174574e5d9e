"""When a parked trigger is tried."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.agent.parked import ParkedTriggers
from edgeagent.outbox.outbox import Outbox
from tests.fakes.outbox import running_outbox

pytestmark = pytest.mark.virtual_time

ONE: Any = object()  # it is only asked whether it is the same trigger
OTHER: Any = object()


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[Outbox]:
    async with running_outbox(tmp_path) as running:
        running.parked = 2
        yield running


def tried(parked: ParkedTriggers, now: float, *, suspected: bool = False, answered: bool = False) -> float:
    """Try one; after how many seconds the next is due."""
    parked.sent(ONE)
    assert not parked.wanted(now)
    if suspected:
        parked.suspected(ONE)
    parked.ended(OTHER, now, answered=True)
    assert not parked.wanted(now), "another trigger's end is nothing to it"
    parked.ended(ONE, now, answered=answered)
    due = parked.next_deadline()
    assert due is not None
    assert parked.wanted(due)
    return due - now


async def test_the_next_waits_while_nobody_answers_and_follows_at_once_when_somebody_does(outbox: Outbox) -> None:
    parked = ParkedTriggers(outbox)
    assert [tried(parked, 100.0), tried(parked, 200.0)] == [45.0, 45.0]
    assert tried(parked, 300.0, answered=True) == 0.0


async def test_one_over_which_connections_end_is_tried_ever_more_seldom(outbox: Outbox) -> None:
    parked = ParkedTriggers(outbox)
    assert [tried(parked, 0.0, suspected=True) for _ in range(9)] == [90, 180, 360, 720, 1440, 2880, 5760, 5760, 5760]
    assert tried(parked, 0.0) == 45.0, "one that did no harm"
    assert tried(parked, 0.0, suspected=True) == 5760
    assert tried(parked, 0.0, answered=True) == 0.0
    assert tried(parked, 0.0, suspected=True) == 90


async def test_the_next_goes_sooner_when_others_are_answered_but_not_for_one_that_never_is(outbox: Outbox) -> None:
    parked = ParkedTriggers(outbox)
    waits: list[float] = []
    now = 0.0
    for _ in range(6):
        tried(parked, now)
        parked.heard(now + 1.0)
        due = parked.next_deadline()
        assert due is not None
        waits.append(due - now)
        parked.heard(now + 1.5)
        assert parked.next_deadline() == due, "once"
        now = due
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 45.0]
    assert tried(parked, now, answered=True) == 0.0
    tried(parked, now)
    parked.heard(now + 30.0)
    assert parked.next_deadline() == now + 30.0, "an engine that was away for long is heard at once"


async def test_one_over_which_connections_end_is_not_tried_sooner(outbox: Outbox) -> None:
    parked = ParkedTriggers(outbox)
    assert tried(parked, 0.0, suspected=True) == 90.0
    parked.heard(1.0)
    assert parked.next_deadline() == 90.0
