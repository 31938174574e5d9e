"""A card that loses its last seconds although it had synced them: what is lost is told, as far as anything tells it."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from edgeagent.outbox.cursor import Checkpoint, CursorFile
from edgeagent.outbox.records import COPY_LOGS, EVENT_LOGS, LOGS, NORMAL, Loss
from edgeagent.outbox.segment import number_of
from edgeagent.outbox.store import Store
from tests.crash.firings import REMEMBERED
from tests.crash.model import LIMITS, Model, State, Trigger
from tests.crash.test_store_crashes import live
from tests.fakes.crash_filesystem import CrashFilesystem, Fate
from tests.fakes.stores import DIRECTORY, everything, group, open_store, record

STEPS = 40
Place = tuple[str, int]  # a log and a seq of it


class Card:
    """A store's life on a card, what the card has left of its segments, and what the store makes of it."""

    def __init__(self, seed: int) -> None:
        random = Random(seed)  # noqa: S311  chance for tests
        self.model = Model(Random(seed))  # noqa: S311  chance for tests
        live(self.model, random, STEPS)
        lost = {path: forgets(path, random) for path in sorted(self.model.filesystem.files())}
        self.filesystem = self.model.filesystem.forgetful(lambda path: lost.get(path, 0))
        for path in newest_segments(self.filesystem):
            hurt(self.filesystem, path, random)
        self.checkpoint = checkpoint_of(self.filesystem)
        numbers = [(path.parent.name, number_of(path.name)) for path in self.filesystem.files()]
        self.numbers = {log: max((number or 0 for name, number in numbers if name == log), default=0) for log in LOGS}
        self.store = open_store(self.filesystem, LIMITS, REMEMBERED)

    def lost(self) -> dict[Trigger, list[Place]]:
        """Triggers that were acknowledged, came to no end, and are nowhere; with every place that they ever had."""
        found = {(entry.record.id, entry.rule) for log in LOGS for entry in everything(self.store, log)}
        members = {(event, rule) for (_, rule), events in windows_of(self.store).items() for event in events}
        owed = [trigger for trigger, state in self.model.states.items() if state in {State.PENDING, State.DEAD}]
        places: dict[Trigger, list[Place]] = {
            trigger: [] for trigger in owed if trigger not in found and trigger not in members
        }
        for place, trigger in self.model.given.items():
            if trigger in places:
                places[trigger].append(place)
        return places

    def nobody_can_know(self, log: str, seq: int) -> bool:
        """Whether nothing that is left shows that this seq was given: it is beyond the checkpoint, with its segment."""
        state = self.checkpoint.logs[log]
        return seq >= state.next_seq and self.numbers[log] >= state.active_number


def forgets(path: Path, random: Random) -> int:
    """How many of its last syncs the card loses of a file."""
    return random.choice([0, 0, 1, 2, 5, 99]) if path.suffix == ".seg" else 0


def hurt(filesystem: CrashFilesystem, path: Path, random: Random) -> None:
    """Now and then cut a file, or empty the end of it."""
    data = filesystem.files()[path]
    place = random.randrange(len(data) + 1)
    kind = random.choice(["", "", "", "cut", "zeros"])
    if kind == "cut":
        filesystem.replace(path, data[:place])
    elif kind == "zeros":
        filesystem.replace(path, data[:place] + bytes(len(data) - place))


def newest_segments(filesystem: CrashFilesystem) -> list[Path]:
    return sorted({path.parent: path for path in sorted(filesystem.files()) if path.suffix == ".seg"}.values())


def checkpoint_of(filesystem: CrashFilesystem) -> Checkpoint:
    _, checkpoint = CursorFile.open(filesystem, DIRECTORY / "cursor")
    assert checkpoint is not None
    return checkpoint


def windows_of(store: Store) -> dict[Trigger, tuple[str, ...]]:
    return {
        (entry.record.id, entry.rule): entry.record.events
        for log in LOGS
        for entry in everything(store, log)
        if entry.record.events
    }


def tells(losses: list[Loss], log: str, seq: int) -> bool:
    """Whether one of the losses names this seq: exactly, or as one from which on nothing is known."""
    return any(
        loss.log == log and loss.first_seq <= seq and (loss.last_seq is None or seq <= loss.last_seq) for loss in losses
    )


@pytest.mark.parametrize("part", range(4))
def test_what_a_card_forgets_is_told_exactly_or_from_where_on_and_no_seq_is_given_again(part: int) -> None:
    lost = untold = open_ends = 0
    for seed in range(part, 120, 4):
        card = Card(seed)
        store, gone = card.store, card.lost()  # which reads everything: damage between segments is found by reading
        account = store.account()
        losses = list(store.losses.last)
        assert list(account.problems()) == []
        assert account.damaged == sum(loss.count for loss in losses)
        assert all(loss.log in EVENT_LOGS for loss in losses if loss.last_seq is None)
        open_ends += sum(loss.last_seq is None for loss in losses)
        for log in LOGS:
            assert store.log(log).next_seq >= card.checkpoint.logs[log].next_seq
            for entry in everything(store, log):
                exact = [loss for loss in losses if loss.last_seq is not None and loss.last_seq - loss.first_seq < 1]
                assert not tells(exact, log, entry.seq), f"{log} {entry.seq} is told as lost, and is there"
        for trigger, places in gone.items():
            lost += 1
            if any(tells(losses, *place) for place in places):
                continue
            untold += 1
            assert all(card.nobody_can_know(*place) for place in places if place[0] not in COPY_LOGS), (
                f"seed {seed}: {trigger}, once at {places}, is lost and nobody is told: {losses}"
            )
        ends = {log: store.log(log).next_seq for log in LOGS}
        [seq] = store.append([group(NORMAL, record("later"))])
        assert seq == ends[NORMAL]
        again = open_store(card.filesystem.survivor(Fate.LOST), LIMITS, REMEMBERED)
        assert (again.account().damaged, list(again.account().problems())) == (account.damaged, [])
        assert "later" in {entry.record.id for entry in everything(again)}
    assert (lost > 10, open_ends > 5) == (True, True), "the test tests something"
    assert untold < lost / 2
