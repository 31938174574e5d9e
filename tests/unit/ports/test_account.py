from __future__ import annotations

import msgspec
import pytest

from edgeagent.ports.account import Account, EventCounts, event_problems

BALANCED = Account(
    accepted=39,
    imported=6,
    settled=1,
    pending=2,
    dead=3,
    discarded=4,
    expired=5,
    dropped=6,
    merged=9,
    exported=7,
    damaged=8,
)


def test_an_account_that_adds_up_has_no_problems() -> None:
    assert list(BALANCED.problems()) == []
    assert list(event_problems(EventCounts(21, 1, 2, 3, 4, 5, 6))) == []
    assert list(event_problems(EventCounts())) == []


@pytest.mark.parametrize("member", Account.__struct_fields__)
def test_every_member_of_the_account_counts(member: str) -> None:
    wrong = msgspec.structs.replace(BALANCED, **{member: getattr(BALANCED, member) + 1})
    [problem] = wrong.problems()
    assert problem.startswith("accepted + imported = 4")


@pytest.mark.parametrize("member", EventCounts.__struct_fields__)
def test_every_counter_in_events_counts(member: str) -> None:
    counts = EventCounts(21, 1, 2, 3, 4, 5, 6)
    setattr(counts, member, getattr(counts, member) + 1)
    [problem] = event_problems(counts)
    assert problem.startswith("received 2")
