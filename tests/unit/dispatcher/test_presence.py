from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.dispatcher.presence import GONE, GONE_S, HEARTBEAT_S, Presence


def leading(instance: str) -> Presence:
    """One that is connected and has heard itself."""
    presence = Presence(instance)
    presence.heard(instance, presence.connected("t", 0.0), 0.0)
    return presence


def test_nobody_leads_before_its_own_message_has_come_back() -> None:
    presence = Presence("b")
    assert not presence.leads(0.0)
    own = presence.connected("t", 0.0)
    assert not presence.leads(0.0)
    assert presence.heard("b", own, 0.0) is None
    assert presence.leads(0.0)


def test_a_message_left_from_an_earlier_connection_does_not_let_it_lead() -> None:
    presence = Presence("b")
    old = presence.connected("old", 0.0)
    presence.disconnected()
    new = presence.connected("new", 1.0)
    presence.heard("b", old, 1.0)  # retained
    assert not presence.leads(1.0)
    presence.heard("a", b"x", 1.0)
    presence.heard("b", new, 1.0)
    assert not presence.leads(1.0)
    assert presence.leader(1.0) == "a"


def test_the_lowest_instance_that_is_present_leads() -> None:
    presence = leading("b")
    presence.heard("c", b"x", 0.0)
    assert presence.leads(0.0)
    presence.heard("a", b"x", 0.0)
    assert presence.leader(0.0) == "a"
    presence.heard("a", GONE, 0.0)
    assert presence.leads(0.0)


def test_a_lost_connection_ends_the_lead_at_once_and_forgets_the_others() -> None:
    presence = leading("b")
    presence.heard("a", b"x", 0.0)
    presence.disconnected()
    assert presence.leader(0.0) is None
    presence.heard("b", presence.connected("u", 0.0), 0.0)
    assert presence.leads(0.0)  # a has gone in the meantime: the broker would have told of it


def test_what_a_broker_tells_before_the_connection_counts_as_up_is_kept() -> None:
    presence = Presence("b")
    presence.heard("a", b"x", 0.0)
    presence.heard("b", presence.connected("t", 0.0), 0.0)
    assert presence.leader(0.0) == "a"


def test_a_will_of_an_earlier_connection_that_comes_late_is_answered() -> None:
    presence = Presence("a")
    own = presence.connected("t", 0.0)
    assert presence.heard("a", GONE, 0.0) == own
    presence.heard("a", own, 0.0)
    assert presence.heard("a", GONE, 0.0) == own
    assert presence.leads(0.0)


@pytest.mark.parametrize("end", [Presence.disconnected, Presence.leave])
def test_one_that_is_not_here_answers_to_nothing(end: Callable[[Presence], bytes | None]) -> None:
    presence = leading("a")
    end(presence)
    assert presence.heard("a", GONE, 0.0) is None
    assert not presence.leads(0.0)
    assert presence.due(1e9) is None


def test_leaving_takes_the_presence_back() -> None:
    assert leading("a").leave() == GONE


def test_one_that_never_comes_back_after_a_crash_of_the_broker_does_not_lead_for_ever() -> None:
    presence = leading("b")
    presence.heard("a", b"x", 0.0)
    assert not presence.leads(GONE_S - 1)
    assert presence.leads(GONE_S)


def test_one_that_repeats_its_presence_stays_present() -> None:
    presence = leading("b")
    for beat in range(10):
        presence.heard("a", b"x", beat * HEARTBEAT_S)
    assert not presence.leads(9 * HEARTBEAT_S)


def test_the_own_presence_is_repeated() -> None:
    presence = Presence("a")
    assert presence.due(1000.0) is None
    own = presence.connected("t", 1000.0)
    assert presence.due(1000.0 + HEARTBEAT_S - 1) is None
    assert presence.due(1000.0 + HEARTBEAT_S) == own
    assert presence.due(1000.0 + HEARTBEAT_S + 1) is None


def test_nobody_can_fill_the_memory_with_instances() -> None:
    presence = leading("a")
    for number in range(5000):
        presence.heard(f"x{number}", b"x", 0.0)
    assert len(presence._others) <= 1000


class Group:
    """Dispatchers on one broker, which keeps the retained messages and delivers at once, in order."""

    def __init__(self, count: int) -> None:
        self.members = {name: Presence(name) for name in "abcdef"[:count]}
        self.online: set[str] = set()
        self.retained: dict[str, bytes] = {}
        self.connections = 0

    def publish(self, topic: str, payload: bytes) -> None:
        """Keep it and deliver it to all, and then what they answer."""
        queue = deque([(topic, payload)])
        while queue:
            topic, payload = queue.popleft()
            self.retained[topic] = payload
            for name in sorted(self.online):
                answer = self.members[name].heard(topic, payload, 0.0)
                if answer is not None:
                    queue.append((name, answer))

    def come(self, name: str) -> None:
        """Connect and subscribe."""
        if name in self.online:
            return
        self.connections += 1
        for topic, payload in self.retained.items():
            if payload:
                self.members[name].heard(topic, payload, 0.0)
        self.online.add(name)
        self.publish(name, self.members[name].connected(str(self.connections), 0.0))

    def lose(self, name: str, *, will: bool) -> None:
        """The connection goes; without `will` it comes late, after the next connection."""
        if name in self.online:
            self.online.discard(name)
            self.members[name].disconnected()
        if will:
            self.publish(name, GONE)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["come", "lose", "take over"])), max_size=30))
def test_after_every_step_exactly_the_lowest_one_online_leads(steps: list[tuple[int, str]]) -> None:
    group = Group(4)
    for number, what in steps:
        name = "abcd"[number]
        if what == "come":
            group.come(name)
        elif what == "lose":
            group.lose(name, will=True)
        else:
            group.lose(name, will=False)
            group.come(name)
            group.publish(name, GONE)
        leaders = [member for member in group.members if group.members[member].leads(0.0)]
        assert leaders == sorted(group.online)[:1]
