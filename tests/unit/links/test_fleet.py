"""A fleet that lost its broker in one second, by the backoff that the session uses."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from pathlib import Path

import pytest

from edgeagent.common.backoff import boot_spread, full_jitter
from edgeagent.links.session import BACKOFF_BASE_S, BACKOFF_CAP_S

AGENTS = 1000
DOCUMENT = Path(__file__).parents[3] / "docs" / "operations.md"
BIN_S = 10


def attempts_per_second(away_s: float, seed: int) -> Counter[int]:
    """All lose the broker at 0; each attempt before `away_s` fails at once, each later one succeeds."""
    fractions = random.Random(seed)  # noqa: S311  a simulation
    waiting = [(_wait_s(0, fractions), 0) for _ in range(AGENTS)]
    heapq.heapify(waiting)
    attempts: Counter[int] = Counter()
    while waiting:
        at_s, failures = heapq.heappop(waiting)
        attempts[int(at_s)] += 1
        if at_s < away_s:
            heapq.heappush(waiting, (at_s + _wait_s(failures + 1, fractions), failures + 1))
    return attempts


def _wait_s(failures: int, fractions: random.Random) -> float:
    return full_jitter(failures, fractions.random(), base_s=BACKOFF_BASE_S, cap_s=BACKOFF_CAP_S)


def plot(attempts: Counter[int]) -> str:
    """The busiest second of every ten, and a bar for it."""
    lines = []
    for start_s in range(0, max(attempts) + 1, BIN_S):
        peak = max(attempts[second] for second in range(start_s, start_s + BIN_S))
        lines.append(f"{start_s:4d} s  {peak:4d} a second  {'#' * round(peak / 5)}".rstrip())
    return "\n".join(lines)


def test_a_thousand_agents_cut_off_together_do_not_come_back_together() -> None:
    for seed in range(5):
        attempts = attempts_per_second(0.0, seed)
        assert attempts.total() == AGENTS
        assert max(attempts.values()) <= 1.3 * AGENTS / BACKOFF_BASE_S


@pytest.mark.slow
def test_a_thousand_agents_never_knock_together_on_a_broker_that_is_away() -> None:
    for seed in range(5):
        attempts = attempts_per_second(1800.0, seed)
        assert max(attempts.values()) <= 400
        # Once all wait as long as they ever do, on average half of the cap.
        assert max(attempts[second] for second in range(300, 1800)) <= 2 * AGENTS / (BACKOFF_CAP_S / 2)


def test_when_a_broker_is_back_the_fleet_comes_one_by_one_and_within_the_cap() -> None:
    for seed in range(5):
        away_s = 600
        back = {second: count for second, count in attempts_per_second(away_s, seed).items() if second >= away_s}
        assert sum(back.values()) == AGENTS
        assert max(back.values()) <= 2 * AGENTS / (BACKOFF_CAP_S / 2)
        assert max(back) <= away_s + BACKOFF_CAP_S


def test_the_operators_plot_is_what_the_code_does() -> None:
    assert plot(attempts_per_second(120.0, seed=1)) in DOCUMENT.read_text("utf-8")


def test_agents_that_get_power_together_are_spread_over_ten_seconds() -> None:
    waits_s = [boot_spread(f"gw-{number:04d}", uptime_s=30) for number in range(AGENTS)]
    a_second = Counter(int(wait_s) for wait_s in waits_s)
    assert sorted(a_second) == list(range(10))
    assert max(a_second.values()) <= 1.3 * AGENTS / 10


def test_an_agent_waits_the_same_at_each_boot_and_not_at_all_when_it_is_started_by_hand() -> None:
    assert boot_spread("gw-042", uptime_s=10) == boot_spread("gw-042", uptime_s=299) > 0
    assert boot_spread("gw-042", uptime_s=300) == 0
