"""The book of the spool: what is needed by whom, and what is free, compared with a plain model."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.outbox.spool_book import BLOCK_BYTES, SpoolBook, counted_bytes

NAMES = ("a" * 64, "b" * 64, "c" * 64)
LOGS = ("normal", "high", "dead")

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("hold"), st.sampled_from(NAMES)),
        st.tuples(st.just("let_go"), st.sampled_from(NAMES)),
        st.tuples(st.just("refer"), st.sampled_from(NAMES), st.sampled_from(LOGS), st.integers(1, 90)),
        st.tuples(st.just("release"), st.sampled_from(LOGS), st.integers(1, 90)),
        st.tuples(st.just("sweep")),
    ),
    max_size=120,
)


class Plain:
    """A book, and the same in plain sets."""

    def __init__(self) -> None:
        self.book = SpoolBook({})
        self.holds: dict[str, int] = {}
        self.needed: dict[str, set[tuple[str, int]]] = {}
        self.released: set[tuple[str, int]] = set()

    def hold(self, name: str) -> None:
        """Data arrives."""
        self.book.hold(name, 10)
        self.holds[name] = self.holds.get(name, 0) + 1
        self.needed.setdefault(name, set())

    def let_go(self, name: str) -> None:
        """The outcome of its record is known."""
        if self.holds.get(name):
            self.book.let_go(name)
            self.holds[name] -= 1

    def refer(self, name: str, log: str, seq: int) -> None:
        """A record is stored, which somebody holds the data of."""
        if self.holds.get(name) and (log, seq) not in self.released:
            self.book.refer(name, log, seq, 1)
            self.needed[name].add((log, seq))

    def release(self, log: str, seq: int) -> None:
        """A trigger is final."""
        self.released.add((log, seq))

    def sweep(self) -> None:
        """A checkpoint was synced."""
        for free in self.book.free(self.is_released):
            assert not self.holds[free]
            assert self.needed[free] <= self.released
            self.book.remove(free)
            del self.holds[free], self.needed[free]

    def is_released(self, log: str, first: int, end: int) -> bool:
        """Whether all of these are."""
        return all((log, seq) in self.released for seq in range(first, end))


@given(STEPS)
def test_a_file_is_free_only_when_nobody_holds_it_and_no_seq_that_refers_to_it_is_unreleased(
    steps: list[tuple[Any, ...]],
) -> None:
    plain = Plain()
    for name, *rest in steps:
        getattr(plain, name)(*rest)
    assert len(plain.book) == len(plain.needed)
    assert plain.book.used_bytes == len(plain.needed) * BLOCK_BYTES
    plain.released.update((log, seq) for log in LOGS for seq in range(100))
    for sha256, count in plain.holds.items():
        for _ in range(count):
            plain.book.let_go(sha256)
        plain.holds[sha256] = 0
    plain.sweep()
    assert (len(plain.book), plain.book.used_bytes) == (0, 0)


def test_the_places_of_many_records_take_a_bounded_number_of_ranges() -> None:
    book = SpoolBook({})
    book.hold(NAMES[0], 1)
    for seq in range(1, 10_000, 3):
        book.refer(NAMES[0], "normal", seq, 1)
    assert len(book._entries[NAMES[0]].ranges) <= 16
    book.let_go(NAMES[0])
    assert book.free(lambda _log, _first, end: end < 9_998) == []
    assert book.free(lambda _log, _first, _end: True) == [NAMES[0]]


def test_nothing_is_free_before_every_record_was_seen() -> None:
    book = SpoolBook({NAMES[0]: 5, NAMES[1]: 5})
    book.refer(NAMES[1], "normal", 1, 1)
    assert book.free(lambda _log, _first, _end: True) == []
    assert book.unreferred() == [NAMES[0]]


@pytest.mark.parametrize(("size", "counted"), [(0, 4096), (1, 4096), (4096, 4096), (4097, 8192)])
def test_files_count_in_blocks(size: int, counted: int) -> None:
    assert counted_bytes(size) == counted
