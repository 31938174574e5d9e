"""Gathering over any events: each is in one window, and when they are leased does not matter."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.common.elapsed import Instant
from edgeagent.common.units import Duration
from edgeagent.rules.gathering import Gathering
from edgeagent.rules.spec import Window
from tests.profiles import examples

MAX_DATA_BYTES = 200
MAX_HELD_BYTES = 8_000
MEMBER_BYTES = 512
RIGHT_MS = 1_800_000_000_000
WINDOWS = {
    "quick": Window(Duration(0.1), 4),
    "slow": Window(Duration(30), 5),
    "all": Window(Duration(1), 1000, "rule"),
}


class Event(NamedTuple):
    """One member: which, whose, how large, and when it was accepted."""

    number: int
    rule: str
    source: str
    size: int
    at: Instant


@st.composite
def event_lists(draw: st.DrawFn) -> list[Event]:
    """Events in the order of acceptance, on both sides of a restart; the clock was wrong before it, or right."""
    gaps_ms = st.sampled_from([0, 1, 40, 99, 100, 101, 999, 1000, 5_000, 29_999, 30_000])
    whose = st.tuples(st.sampled_from(sorted(WINDOWS)), st.sampled_from("abc"))
    sizes = st.one_of(st.integers(1, 60), st.integers(1, 3 * MAX_DATA_BYTES))
    drawn = draw(st.lists(st.tuples(gaps_ms, whose, sizes), max_size=60))
    restart_at = draw(st.one_of(st.none(), st.integers(0, len(drawn))))
    events: list[Event] = []
    boot, wall_ms, uptime_ms = b"1", draw(st.sampled_from([0, RIGHT_MS])), 1_000_000
    for number, (gap_ms, (rule, source), size) in enumerate(drawn):
        if number == restart_at:
            boot, wall_ms, uptime_ms = b"2", max(wall_ms, RIGHT_MS) + 50, 10
        wall_ms, uptime_ms = wall_ms + gap_ms, uptime_ms + gap_ms
        events.append(Event(number, rule, source, size, Instant(wall_ms, uptime_ms, boot)))
    return events


def fed(events: list[Event], late_ms: list[int], *, looks: bool) -> list[tuple[str, tuple[Event, ...]]]:
    """The windows of events that are leased so much later each. `looks`: somebody asks what is due in between."""
    gathering: Gathering[Event] = Gathering(MAX_DATA_BYTES, max_held_bytes=MAX_HELD_BYTES)
    windows: list[tuple[str, tuple[Event, ...]]] = []
    left = dict.fromkeys(events)
    for event, late in zip(events, late_ms, strict=True):
        at = event.at
        now = Instant(at.wall_ms + late, at.uptime_ms + late, at.boot)
        if at.boot != events[-1].at.boot:  # it is leased after the restart, in the last boot
            end = events[-1].at
            now = Instant(end.wall_ms + late, end.uptime_ms + late, end.boot)
        closed = gathering.add(event.rule, WINDOWS[event.rule], event.source, event, event.size, at, now)
        if looks and now.boot == at.boot:
            closed += gathering.due(at.uptime_ms)
        windows += [(one.rule, tuple(one.members)) for one in closed]
        for _, members in windows:
            for member in members:
                left.pop(member, None)
        held = [other for other in left if other.number <= event.number]
        assert sum(other.size + MEMBER_BYTES for other in held) <= MAX_HELD_BYTES
        assert (len(gathering) == 0) == (not held)
    windows += [(one.rule, tuple(one.members)) for one in gathering.due(float("inf"))]
    assert len(gathering) == 0
    assert gathering.next_deadline_ms() is None
    return windows


@settings(max_examples=examples(150))
@given(event_lists())
def test_every_event_is_in_one_window_that_keeps_its_limits(events: list[Event]) -> None:
    windows = fed(events, [0] * len(events), looks=False)
    assert sorted(member.number for _, members in windows for member in members) == list(range(len(events)))
    for rule, members in windows:
        window = WINDOWS[rule]
        assert members
        assert {member.rule for member in members} == {rule}
        assert len({member.source for member in members}) == 1 or window.by == "rule"
        assert [member.number for member in members] == sorted(member.number for member in members)
        assert len(members) <= window.count
        assert members[-1].at.wall_ms - members[0].at.wall_ms < (window.time or 0) * 1000
        data_bytes = sum(member.size for member in members) + len(members) + 1
        assert data_bytes <= MAX_DATA_BYTES or len(members) == 1
    for rule in WINDOWS:
        for source in "abc":
            order = [
                member.number
                for own, members in windows
                if own == rule
                for member in members
                if member.source == source
            ]
            assert order == sorted(order), "windows of a rule and source close in the order of their events"


@settings(max_examples=examples(150))
@given(event_lists(), st.data())
def test_windows_do_not_depend_on_when_their_events_are_leased(events: list[Event], data: st.DataObject) -> None:
    waits_ms = st.lists(st.integers(0, 10**8), min_size=len(events), max_size=len(events))
    late = fed(events, data.draw(waits_ms), looks=data.draw(st.booleans()))
    assert sorted(late) == sorted(fed(events, [0] * len(events), looks=False))
