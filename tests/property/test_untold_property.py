"""What devices are not told of yet, with little memory and a database that lags behind: all of it is told, and once."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.ledger import untold as untold_module
from edgeagent.ledger.untold import Untold, UntoldPage
from edgeagent.wire.lifecycle import Life
from tests.fakes.ledgers import life
from tests.profiles import examples

PAGE_ROWS = 3
MAX_KNOWN = 5


class Model:
    """A ledger in memory: what is committed, what is not, and what was told."""

    def __init__(self) -> None:
        self.untold = Untold()
        self.disk: dict[str, tuple[Life, int]] = {}  # in the order of the rows
        self.on_disk: set[tuple[str, int]] = set()
        self.changed: dict[str, tuple[Life, int]] = {}
        self.newest: dict[str, int] = {}
        self.told: list[tuple[str, int]] = []

    def change(self, name: str, accepted_ms: int) -> None:
        """A trigger's next version; an event keeps its time."""
        version = self.newest[name] = self.newest.get(name, 0) + 1
        known = self.changed.get(name) or self.disk.get(name)
        self.changed[name] = (known[0] if known is not None else life(name, accepted_ms=accepted_ms)), version
        self.untold.changed(*self.changed[name])

    def commit(self) -> None:
        """Everything is on the disk."""
        self.disk.update(self.changed)
        self.on_disk |= set(self.told)
        self.changed = {}

    def look(self, count: int) -> list[tuple[str, int]]:
        """What is to be told now, as the ledger finds it."""
        for reads in range(1000):
            if not self.untold.lacks(count):
                assert reads <= 2 + len(self.disk)
                break
            self._read()
        else:
            raise AssertionError("it reads for ever")
        assert len(self.untold.oldest(1000)) <= MAX_KNOWN
        oldest = self.untold.oldest(count)
        assert [known.accepted_ms for known, _ in oldest] == sorted(known.accepted_ms for known, _ in oldest)
        return [(known.report.correlation_id, version) for known, version in oldest]

    def tell(self, name: str, version: int) -> None:
        """Devices were told."""
        self.told.append((name, version))
        self.untold.told(name, version)

    def _read(self) -> None:
        after = self.untold.place
        assert after is not None
        rows = sorted(
            ((known.accepted_ms, row), (known, version))
            for row, (name, (known, version)) in enumerate(self.disk.items(), 1)
            if (name, version) not in self.on_disk
        )
        page = [row for row in rows if row[0] > after][:PAGE_ROWS]
        end = page[-1][0] if len(page) == PAGE_ROWS else None
        self.untold.read(UntoldPage([each for _, each in page], end), self.changed, set(self.told))


steps = st.one_of(
    st.tuples(st.just("change"), st.integers(0, 30), st.integers(1, 6)),
    st.tuples(st.just("commit"), st.just(0), st.just(0)),
    st.tuples(st.just("tell"), st.integers(1, MAX_KNOWN), st.integers(0, MAX_KNOWN)),
)


@settings(max_examples=examples(300))
@given(st.lists(steps, max_size=120))
def test_each_report_is_told_once_in_its_newest_version_however_little_room_there_is(
    taken: list[tuple[str, int, int]],
) -> None:
    with patch.object(untold_module, "MAX_KNOWN", MAX_KNOWN):
        model = Model()
        for step, number, other in taken:
            if step == "change":
                model.change(f"trigger-{number}", other)
            elif step == "commit":
                model.commit()
            else:
                for name, version in model.look(number)[:other]:
                    assert version == model.newest[name], "what is old news is not told"
                    model.tell(name, version)
        while waiting := model.look(MAX_KNOWN):
            for name, version in waiting:
                model.tell(name, version)
    assert len(model.told) == len(set(model.told))
    assert set(model.newest.items()) <= set(model.told)
