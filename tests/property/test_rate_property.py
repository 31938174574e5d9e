"""A rate over anything that may happen: never more than it allows within its time, and nothing waits for ever."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.agent.clock import Moment
from edgeagent.agent.inflight import FlightPhase, InFlight, TriggerInFlight
from edgeagent.agent.lines import MAX_READY, LineKey, RateLines, keys_of
from edgeagent.agent.permits import Permits
from edgeagent.common.elapsed import Instant
from edgeagent.events.event import Record
from edgeagent.outbox.records import LIMITED, NORMAL, Leased, Moved
from edgeagent.rules.rate import Allowance, FirstPublication, PublishedTriggers, SlidingWindow
from tests.profiles import examples

RIGHT_MS = 1_800_000_000_000
ALLOWED = st.builds(Allowance, st.integers(1, 4), st.sampled_from([10, 1000]))


def leased(seq: int, rule: str, high: bool) -> Leased:
    record = Record("gw", "door", str(seq), "event", "", b"", False, (rule,), RIGHT_MS, seq)
    return Leased(LIMITED, seq, rule, record, b"", Moved(NORMAL, seq, record, "", int(high), 0, 0, b""))


class Process:
    """An agent that starts triggers of one rule, through restarts; what a crash leaves is what was `saved`."""

    def __init__(self, allowed: Allowance, *, clock_is_right: bool) -> None:
        self.allowed = allowed
        self.real_ms = 0  # which the machine's clocks may not tell
        self.first_ms: dict[str, int] = {}  # when each trigger was first published
        self.lost: set[str] = set()  # published, and forgotten in a crash
        self._clock_is_right = clock_is_right
        self._uptime_ms, self._boot = 50, b"1"
        self._saved: PublishedTriggers | None = None
        self._newest: PublishedTriggers | None = None
        self._known: set[str] = set()  # as saved
        self._made = 0
        self._waiting: list[Leased] = []  # pending, without a permit
        self._given: list[TriggerInFlight] = []
        self._sent: list[TriggerInFlight] = []  # pending, perhaps answered
        self._begin()

    @property
    def moment(self) -> Moment:
        """By the machine's clocks."""
        wall_ms = RIGHT_MS + self.real_ms if self._clock_is_right else 5
        return Moment(wall_ms, self._uptime_ms, "")

    def later(self, ms: int) -> None:
        """Time passes."""
        self.real_ms, self._uptime_ms = self.real_ms + ms, self._uptime_ms + ms

    def accept(self) -> None:
        """A new trigger waits."""
        self._made += 1
        self._waiting.append(leased(self._made, "r", high=False))

    def give(self) -> None:
        """The first one gets a permit, if there is one."""
        if self._waiting and self._permits.free("r", self.allowed, self.moment):
            self._take_up(self._waiting.pop(0), self._permits.give)

    def publish(self) -> None:
        """The first one with a permit is published."""
        if self._given:
            self._publish(self._given.pop(0))

    def end_unsent(self) -> None:
        """The first one with a permit ends."""
        if self._given:
            self._given.pop(0).phase = FlightPhase.ENDING

    def end(self) -> None:
        """The first one that was published is released, and a checkpoint says so."""
        if self._sent:
            self.save()
            self._sent.pop(0)

    def save(self) -> None:
        """The file is written."""
        self._saved, self._known = self._newest, set(self.first_ms) - self.lost

    def restart(self, *, boots: bool) -> None:
        """After a crash, every pending trigger is leased again: who had a permit goes, and takes none of another."""
        self.lost |= set(self.first_ms) - self._known
        pending = sorted([*self._waiting, *[one.item for one in (*self._given, *self._sent)]], key=lambda one: one.seq)
        self._waiting, self._given, self._sent = [], [], []
        self.real_ms += 7
        self._uptime_ms, self._boot = (3, self._boot + b"+") if boots else (self._uptime_ms + 7, self._boot)
        self._begin()
        for one in pending:
            name = one.record.id
            counts = name in self.first_ms and self.real_ms - self.first_ms[name] < self.allowed.time_ms
            had = self._permits.had(one, self.allowed, self.moment)
            if counts and name not in self.lost:
                assert had, "its permit counts, so it waits for no other one"
            if had:
                assert name in self._known
                free = self._permits.free("r", self.allowed, self.moment)
                self._take_up(one, self._permits.resume)
                self._publish(self._given.pop())
                assert self._permits.free("r", self.allowed, self.moment) == free
            else:
                self._waiting.append(one)

    def _begin(self) -> None:
        now = Instant(self.moment.now_ms, self._uptime_ms, self._boot)
        self._newest = self._saved
        self._permits = Permits(self._saved, now, self._keep)

    def _keep(self, published: PublishedTriggers) -> None:
        self._newest = published

    def _take_up(self, one: Leased, note: Callable[[TriggerInFlight], None]) -> None:
        entry = InFlight(one.seq, "", one, None, 0, 1)
        self._given.append(entry)
        note(entry)

    def _publish(self, entry: TriggerInFlight) -> None:
        resumed = self._newest
        self._permits.published(entry, self.allowed, self.moment)
        if self._newest is not resumed:  # otherwise it goes again
            self.first_ms[entry.item.record.id] = self.real_ms
            self.lost.discard(entry.item.record.id)
        self._sent.append(entry)


@given(
    ALLOWED,
    st.lists(st.tuples(st.sampled_from([0, 1, 5, 9, 10, 400, 999, 1000]), st.sampled_from("aaggppeEsRB")), max_size=80),
    st.booleans(),
)
@settings(max_examples=examples(300))
def test_whatever_restarts_no_more_different_ones_go_than_allowed_and_none_needs_a_second_permit(
    allowed: Allowance, steps: list[tuple[int, str]], clock_is_right: bool
) -> None:
    """a: accept one, g: give a permit, p: publish, e: end unsent, E: end, s: save, R: crash, B: power cut."""
    process = Process(allowed, clock_is_right=clock_is_right)
    do: dict[str, Callable[[], None]] = {
        "a": process.accept,
        "g": process.give,
        "p": process.publish,
        "e": process.end_unsent,
        "E": process.end,
        "s": process.save,
        "R": lambda: process.restart(boots=False),
        "B": lambda: process.restart(boots=True),
    }
    for gap_ms, step in steps:
        process.later(gap_ms)
        do[step]()
        kept = [at_ms for name, at_ms in process.first_ms.items() if name not in process.lost]
        for at_ms in kept:
            assert sum(at_ms <= other < at_ms + allowed.time_ms for other in kept) <= allowed.triggers


@given(ALLOWED, st.integers(0, 4), st.integers(0, 30), st.lists(st.integers(0, 300), max_size=4))
@settings(max_examples=examples(200))
def test_a_wait_that_is_told_is_the_one_that_comes(
    allowed: Allowance, permits: int, ahead: int, before_ms: list[int]
) -> None:
    now_ms = 1000
    before = [FirstPublication(now_ms - ms, b"") for ms in sorted(before_ms, reverse=True)]
    window = SlidingWindow(before[-allowed.triggers :])
    permits = min(permits, window.free(allowed, 0, now_ms))
    told = window.wait_ms(allowed, permits, ahead, now_ms)
    for _ in range(permits):
        window.published(allowed, b"", now_ms)
    at_ms = now_ms
    for _ in range(ahead + 1):
        at_ms += window.wait_ms(allowed, 0, 0, at_ms)
        assert window.free(allowed, 0, at_ms) > 0
        window.published(allowed, b"", at_ms)
    assert at_ms - now_ms == told


class Played:
    """Lines, and the log that they are read from."""

    def __init__(self, triggers: list[tuple[str, bool]]) -> None:
        self.log = [leased(seq, *each) for seq, each in enumerate(triggers, 1)]
        self.lines = RateLines()
        self.taken: dict[LineKey, list[int]] = {key: [] for rule in "ab" for key in keys_of(rule)}
        self._unread = deque(self.log)

    def of(self, key: LineKey) -> list[Leased]:
        """All of a line, in order."""
        return [one for one in self.log if LineKey(one.rule, one.is_high) == key]

    def join(self, most: int) -> None:
        """So many more are read of the log."""
        for _ in range(min(most, len(self._unread))):
            self.lines.join(self._unread.popleft())

    def read_on(self, meanwhile: int) -> None:
        """A line is read on; meanwhile so many more join theirs."""
        part = self.lines.short()
        self.join(meanwhile)
        if part is not None:
            wanted = [one for one in self.of(part.key) if part.seq <= one.seq <= part.until]
            found, more = wanted[: part.most], wanted[part.most :]
            self.lines.read(part, found, more[0].seq if more else part.until + 1)

    def take(self, most: int) -> None:
        """So many of each line go."""
        for key, seqs in self.taken.items():
            for _ in range(most):
                line = self.lines.get(key)
                if line is not None and line.ready:
                    seqs.append(self.lines.take(key, 0).seq)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=400),
    st.lists(st.tuples(st.sampled_from("jrt"), st.integers(0, 70)), max_size=120),
)
@settings(max_examples=examples(100))
def test_each_line_comes_in_order_and_whole_however_it_is_read(
    triggers: list[tuple[str, bool]], steps: list[tuple[str, int]]
) -> None:
    """j: join, r: read on, t: take."""
    played = Played(triggers)
    for step, count in [*steps, ("j", len(triggers)), *[("t", 70), *[("r", 0)] * 4] * 10, ("t", 70)]:
        {"j": played.join, "r": played.read_on, "t": played.take}[step](count)
        assert all(len(line.ready) <= MAX_READY for key in played.taken if (line := played.lines.get(key)) is not None)
    assert played.taken == {key: [one.seq for one in played.of(key)] for key in played.taken}
    assert not played.lines
