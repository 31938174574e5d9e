"""Who has which place, whatever comes and goes in whatever order."""

from __future__ import annotations

from collections import Counter, deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edgeagent.dispatcher.shares import Shares
from tests.profiles import examples

AGENTS = ["", "gw-1", "gw-2", "gw-3", "gw-4"]


class Site(RuleBasedStateMachine):
    """Gateways that send when they like, an engine that takes its time, and places for what is in hand."""

    def __init__(self) -> None:
        super().__init__()
        self.places = 1
        self.shares = Shares(1)
        self.waiting: dict[str, deque[int]] = {}
        self.in_hand: Counter[str] = Counter()
        self.passed: Counter[tuple[str, str]] = Counter()
        self.number = 0
        self.last: dict[str, int] = {}

    @initialize(places=st.integers(1, 20))
    def begin(self, places: int) -> None:
        """So many places."""
        self.places, self.shares = places, Shares(places)

    @rule(agent=st.sampled_from(AGENTS), count=st.integers(1, 30))
    def send(self, agent: str, count: int) -> None:
        """A gateway sends; what may be taken is taken."""
        for _ in range(count):
            self.number += 1
            self.waiting.setdefault(agent, deque()).append(self.number)
        self.take()

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """The engine has answered one."""
        agent = data.draw(st.sampled_from(sorted(self.in_hand)))
        self.in_hand[agent] -= 1
        if not self.in_hand[agent]:
            del self.in_hand[agent]
        self.shares.give_back(agent)
        self.take()

    def take(self) -> None:
        """As the dispatcher does: whose turn it is, until it is nobody's."""
        while (agent := self.shares.next(self.waiting)) is not None:
            self.shares.served(agent)
            self.shares.take(agent)
            number = self.waiting[agent].popleft()
            assert number > self.last.get(agent, 0), "each agent's own order stays"
            self.last[agent] = number
            for other in self.waiting:
                if other != agent and self.in_hand[other] <= self.in_hand[agent]:
                    self.passed[other, agent] += 1
                    assert self.passed[other, agent] <= 1, f"{agent} passed {other} twice, which had no more in hand"
            for passed in [pair for pair in self.passed if pair[0] == agent]:
                del self.passed[passed]
            self.in_hand[agent] += 1
            if not self.waiting[agent]:
                del self.waiting[agent]
                for pair in [pair for pair in self.passed if pair[0] == agent]:
                    del self.passed[pair]

    @invariant()
    def no_place_is_given_twice_and_none_is_left_without_need(self) -> None:
        """What is kept free is for agents that have nothing in hand, and these never wait beside a free place."""
        taken = sum(self.in_hand.values())
        assert self.shares.taken == taken <= self.places
        if taken < self.places:
            assert all(self.in_hand[agent] for agent in self.waiting)

    @invariant()
    def nobody_has_every_place(self) -> None:
        """However much one sends: another finds a place at once."""
        if self.places > 1:
            assert all(count < self.places for count in self.in_hand.values())


TestSite = Site.TestCase
TestSite.settings = settings(max_examples=examples(200), stateful_step_count=40)
