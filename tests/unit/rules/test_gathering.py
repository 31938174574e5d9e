"""`rules.gathering`: events that a rule's window makes into one trigger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest

from edgeagent.common.elapsed import Instant
from edgeagent.common.units import Duration
from edgeagent.rules.gathering import Closed, Gathering
from edgeagent.rules.spec import Window

RIGHT_MS = 1_800_000_000_000
BOOT, OLD_BOOT = b"boot-2", b"boot-1"
NOW_MS = 100_000
INFINITY = float("inf")


def window(time_s: float = 10, count: int = 1000, by: Literal["source", "rule"] = "source") -> Window:
    return Window(Duration(time_s), count, by)


def at(uptime_ms: int, boot: bytes = BOOT, wall_ms: int = RIGHT_MS) -> Instant:
    return Instant(wall_ms + uptime_ms, uptime_ms, boot)


class Fed:
    """A gathering, and the windows that it closed, as (rule, members)."""

    def __init__(self, max_data_bytes: int = 1000, max_held_bytes: int = 1 << 20) -> None:
        self.gathering: Gathering[str] = Gathering(max_data_bytes, max_held_bytes=max_held_bytes)
        self.closed: list[tuple[str, str]] = []

    def add(
        self,
        item: str,
        accepted: Instant,
        its: Window,
        *,
        rule: str = "r",
        source: str = "s",
        size: int = 1,
        now: Instant | None = None,
    ) -> list[tuple[str, str]]:
        """Add a member; returns what closed by it."""
        return self._took(self.gathering.add(rule, its, source, item, size, accepted, now or at(NOW_MS)))

    def due(self, uptime_ms: float = INFINITY) -> list[tuple[str, str]]:
        """Close what is due; returns it."""
        return self._took(self.gathering.due(uptime_ms))

    def _took(self, closed: Sequence[Closed[str]]) -> list[tuple[str, str]]:
        told = [(one.rule, "".join(one.members)) for one in closed]
        self.closed += told
        return told


def test_a_window_closes_with_its_last_member() -> None:
    fed = Fed()
    for number, item in enumerate("abcdefg"):
        fed.add(item, at(number), window(count=3))
    assert fed.closed == [("r", "abc"), ("r", "def")]
    assert len(fed.gathering) == 1
    assert fed.due() == [("r", "g")]
    assert len(fed.gathering) == 0


def test_a_window_of_one_closes_at_once() -> None:
    fed = Fed()
    assert fed.add("a", at(0), window(count=1)) == [("r", "a")]
    assert fed.gathering.next_deadline_ms() is None


@pytest.mark.parametrize(
    ("second_ms", "closed"),
    [(9_999, [("r", "ab")]), (10_000, [("r", "a"), ("r", "b")]), (10_001, [("r", "a"), ("r", "b")])],
)
@pytest.mark.parametrize("in_time", [True, False])
def test_a_window_closes_when_its_time_has_passed_since_its_first_event(
    second_ms: int, closed: list[tuple[str, str]], in_time: bool
) -> None:
    """The same whether events are leased as they come (`in_time`) or long after."""
    fed = Fed()
    fed.add("a", at(0), window(), now=at(0) if in_time else at(NOW_MS))
    assert fed.gathering.next_deadline_ms() == 10_000
    if in_time:
        fed.due(second_ms)
    fed.add("b", at(second_ms), window(), now=at(second_ms) if in_time else at(NOW_MS))
    fed.due()
    assert fed.closed == closed


def test_windows_whose_time_is_over_close_by_the_event_of_another_source_too() -> None:
    fed = Fed()
    fed.add("a", at(0), window(10), source="1")
    fed.add("b", at(5_000), window(10), source="2")
    assert fed.add("c", at(10_000), window(10), source="3") == [("r", "a")]
    assert fed.due(14_999) == []
    assert fed.due(15_000) == [("r", "b")]


def test_each_source_has_its_window_or_all_of_a_rule_have_one() -> None:
    by_source, by_rule = Fed(), Fed()
    for number, (item, source) in enumerate([("a", "1"), ("b", "2"), ("c", "1"), ("d", "2")]):
        by_source.add(item, at(number), window(), source=source)
        by_rule.add(item, at(number), window(by="rule"), source=source)
    assert by_source.due() == [("r", "ac"), ("r", "bd")]
    assert by_rule.due() == [("r", "abcd")]


def test_rules_do_not_share_windows() -> None:
    fed = Fed()
    fed.add("a", at(0), window(10, by="rule"), rule="one")
    fed.add("b", at(1), window(5, by="rule"), rule="two")
    assert fed.due() == [("two", "b"), ("one", "a")], "the one that is due first comes first"


def test_a_window_closes_before_its_data_is_larger_than_one_event_may_be() -> None:
    fed = Fed(max_data_bytes=10)
    for item, size in [("a", 3), ("b", 4), ("c", 1)]:  # "[xxx,xxxx]" has ten bytes
        fed.add(item, at(0), window(), size=size)
    assert fed.closed == [("r", "ab")]
    assert fed.add("d", at(0), window(), size=50) == [("r", "c")]
    assert fed.add("e", at(0), window(), size=1) == [("r", "d")], "one that is too large alone stays alone"


def test_together_they_hold_so_much_then_the_one_that_opened_first_closes_early() -> None:
    fed = Fed(max_held_bytes=3_000)
    for number, item in enumerate("abcd"):
        fed.add(item, at(number), window(), source=item, size=100)
    assert fed.closed == []
    assert fed.add("e", at(5), window(), source="e", size=100) == [("r", "a")]
    assert fed.add("B", at(6), window(), source="b", size=300) == [("r", "bB")]
    assert fed.add("x", at(7), window(), source="x", size=5_000) == [("r", "c"), ("r", "d"), ("r", "e"), ("r", "x")]
    assert len(fed.gathering) == 0


def test_windows_that_were_full_leave_nothing_behind() -> None:
    fed = Fed()
    for number in range(5_000):
        fed.add("a", at(number), window(86_400, count=1))
    assert fed.add("b", at(5_000), window(10)) == []
    assert fed.gathering.next_deadline_ms() == 15_000
    assert len(fed.gathering._deadlines) < 200


def test_a_window_goes_on_over_a_restart_while_its_time_lasts() -> None:
    fed = Fed()
    before, after = at(50_000, OLD_BOOT), Instant(RIGHT_MS + 57_000, 4_000, BOOT)  # seven seconds later
    fed.add("a", before, window(), now=after)
    assert fed.gathering.next_deadline_ms() == 7_000
    assert fed.add("b", Instant(RIGHT_MS + 59_999, 6_999, BOOT), window(), now=after) == []
    assert fed.due(7_000) == [("r", "ab")]


def test_a_window_that_ended_while_the_machine_was_off_closes_at_once() -> None:
    fed = Fed()
    fed.add("a", at(50_000, OLD_BOOT), window(), now=Instant(RIGHT_MS + 3_600_000, 4_000, BOOT))
    assert fed.due(4_000) == [("r", "a")]


def test_with_a_wrong_clock_the_windows_of_another_boot_take_up_nothing_of_this_one() -> None:
    fed = Fed()
    now = Instant(5_000, 5_000, BOOT)
    for item, uptime_ms in (("a", 50_000), ("b", 59_000), ("c", 61_000)):
        fed.add(item, at(uptime_ms, OLD_BOOT, wall_ms=0), window(), now=now)
    assert fed.closed == [("r", "ab")], "within their boot its own clock says what belongs together"
    assert fed.add("d", Instant(5_000, 5_000, BOOT), window(), now=now) == [("r", "c")]


def test_a_reload_changes_what_closes_a_window_that_is_open() -> None:
    fed = Fed()
    fed.add("a", at(0), window(10))
    fed.add("b", at(1), window(10, count=2))
    assert fed.closed == [("r", "ab")]
    fed.add("c", at(2), window(10))
    assert fed.add("d", at(1_002), window(1)) == [("r", "c")]
