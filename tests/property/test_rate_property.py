"""A rate over anything that may happen: never more than it allows within its time, and nothing waits for ever."""

from __future__ import annotations

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.agent.lines import MAX_READY, LineKey, RateLines, keys_of
from edgeagent.common.elapsed import Instant
from edgeagent.events.event import Record
from edgeagent.outbox.records import LIMITED, NORMAL, Leased, Moved
from edgeagent.rules.rate import Allowance, PublishedTimes, SlidingWindow, in_this_boot
from tests.profiles import examples

RIGHT_MS = 1_800_000_000_000
ALLOWED = st.builds(Allowance, st.integers(1, 4), st.sampled_from([10, 1000]))


@given(
    ALLOWED,
    st.lists(st.tuples(st.sampled_from([0, 1, 5, 9, 10, 400, 999, 1000]), st.sampled_from("gpeR")), max_size=80),
    st.booleans(),
)
@settings(max_examples=examples(300))
def test_within_any_time_no_more_are_published_than_allowed(
    allowed: Allowance, steps: list[tuple[int, str]], clock_is_right: bool
) -> None:
    """g: give a permit, p: publish one of those, e: one ends unsent, R: the machine starts again."""
    window, given_permits, real_ms, uptime_ms, boot = SlidingWindow(), 0, 0, 50, b"1"
    published: list[int] = []
    for gap_ms, step in steps:
        real_ms, uptime_ms = real_ms + gap_ms, uptime_ms + gap_ms
        if step == "g" and window.free(allowed, given_permits, uptime_ms):
            given_permits += 1
        elif step == "p" and given_permits:
            given_permits -= 1
            window.published(allowed, uptime_ms)
            published.append(real_ms)
        elif step == "e" and given_permits:
            given_permits -= 1
        elif step == "R":
            wall_ms = RIGHT_MS + real_ms if clock_is_right else 5
            kept = PublishedTimes(wall_ms, uptime_ms, boot, {"r": window.times_ms})
            real_ms, uptime_ms, boot, given_permits = real_ms + 7, 3, boot + b"+", 0
            now = Instant(RIGHT_MS + real_ms if clock_is_right else 5, uptime_ms, boot)
            window = SlidingWindow(in_this_boot(kept, now)["r"])
        for at_ms in published:
            assert sum(at_ms <= other < at_ms + allowed.time_ms for other in published) <= allowed.triggers


@given(ALLOWED, st.integers(0, 4), st.integers(0, 30), st.lists(st.integers(0, 300), max_size=4))
@settings(max_examples=examples(200))
def test_a_wait_that_is_told_is_the_one_that_comes(
    allowed: Allowance, permits: int, ahead: int, before_ms: list[int]
) -> None:
    now_ms = 1000
    window = SlidingWindow(sorted(now_ms - ms for ms in before_ms)[-allowed.triggers :])
    permits = min(permits, window.free(allowed, 0, now_ms))
    told = window.wait_ms(allowed, permits, ahead, now_ms)
    for _ in range(permits):
        window.published(allowed, now_ms)
    at_ms = now_ms
    for _ in range(ahead + 1):
        at_ms += window.wait_ms(allowed, 0, 0, at_ms)
        assert window.free(allowed, 0, at_ms) > 0
        window.published(allowed, at_ms)
    assert at_ms - now_ms == told


def leased(seq: int, rule: str, high: bool) -> Leased:
    record = Record("gw", "door", str(seq), "event", "", b"", False, (rule,), RIGHT_MS, seq)
    return Leased(LIMITED, seq, rule, record, b"", Moved(NORMAL, seq, record, "", int(high), 0, 0, b""))


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
