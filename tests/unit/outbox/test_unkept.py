"""When a checkpoint is due, and which releases are in it."""

from __future__ import annotations

from edgeagent.outbox import unkept as unkept_module
from edgeagent.outbox.records import NORMAL, SETTLED, Leased
from edgeagent.outbox.runs import ReleasedRun
from edgeagent.outbox.unkept import CHECKPOINT_RELEASES, CHECKPOINT_S, Unkept
from tests.fakes.stores import record


def leased(*seqs: int) -> list[Leased]:
    return [Leased(NORMAL, seq, "r", record(f"e{seq}"), b"") for seq in seqs]


def run(seq: int, triggers: int = 1) -> ReleasedRun:
    return ReleasedRun(NORMAL, seq, triggers, SETTLED)


def test_a_checkpoint_is_due_some_time_after_the_first_release() -> None:
    unkept = Unkept()
    assert (unkept.at, unkept.is_due(1e9)) == (None, False)
    unkept.add(leased(1), SETTLED, 10.0)
    unkept.add(leased(2), SETTLED, 12.0)
    assert unkept.at == 10.0 + CHECKPOINT_S
    assert not unkept.is_due(10.0 + CHECKPOINT_S - 0.01)
    assert unkept.is_due(10.0 + CHECKPOINT_S)


def test_a_checkpoint_is_due_at_once_when_there_are_many_releases() -> None:
    unkept = Unkept()
    unkept.add(leased(*range(CHECKPOINT_RELEASES - 1)), SETTLED, 10.0)
    assert not unkept.is_due(10.0)
    unkept.add(leased(CHECKPOINT_RELEASES), SETTLED, 10.0)
    assert unkept.is_due(10.0)


def test_a_checkpoint_for_which_there_is_another_reason_is_due_at_once() -> None:
    unkept = Unkept()
    unkept.add(leased(1), SETTLED, 10.0)
    unkept.hasten(11.0)
    assert (unkept.at, unkept.is_due(11.0)) == (11.0, True)


def test_what_is_released_while_others_write_what_they_know_is_in_the_next_checkpoint() -> None:
    unkept = Unkept()
    unkept.add(leased(1, 2), SETTLED, 0.0)
    unkept.hold()
    unkept.add(leased(3), SETTLED, 5.0)
    assert not unkept.is_ready
    assert unkept.take() == [run(1, 2)], "a commit in between releases what needs nobody any more"
    unkept.release_hold()
    assert unkept.is_ready
    unkept.add(leased(4), SETTLED, 5.1)
    assert unkept.take_for_checkpoint() == []
    unkept.written(5.2, kept=True)
    assert (unkept.is_held, unkept.is_ready, unkept.at) == (False, False, 5.2 + CHECKPOINT_S)
    assert unkept.take() == [run(3), run(4)]


def test_the_last_checkpoint_waits_for_nobody_and_has_everything() -> None:
    unkept = Unkept()
    unkept.add(leased(1), SETTLED, 0.0)
    unkept.hold()
    unkept.add(leased(2), SETTLED, 5.0)
    assert unkept.all == (run(1), run(2))
    assert unkept.take_for_checkpoint() == [run(1), run(2)]


def test_a_checkpoint_that_failed_is_due_again_and_one_that_holds_everything_is_not() -> None:
    unkept = Unkept()
    unkept.add(leased(1), SETTLED, 0.0)
    unkept.hold()
    unkept.release_hold()
    unkept.take_for_checkpoint()
    unkept.written(5.0, kept=False)
    assert unkept.at == 5.0 + unkept_module.CHECKPOINT_S
    unkept.hold()
    unkept.release_hold()
    assert unkept.take_for_checkpoint() == []
    unkept.written(10.0, kept=True)
    assert unkept.at is None
