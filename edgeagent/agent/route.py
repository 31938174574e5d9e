"""Decides on which topic triggers go: the configured one, or the agent's own, if the engine asks for that.

An agent that is configured with the base topic works with every engine. A dispatcher that binds agents to their topics
(`engine.bind_agent`) starts nothing for an agent that names itself on the base topic, and answers where the real agent
listens: `trigger_topic`. Anybody can provoke that answer, in any agent's name and with the correlation ids of its
triggers. So the answer moves an agent from the base topic to its own and does nothing else; an agent that is there
already ignores it.

A state machine without I/O. Times are seconds of one monotonic clock. What was learned is lost with a restart.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from math import inf

from edgeagent.wire.topics import AGENTS_TRIGGER, TRIGGER, with_agent

# If the broker does not let an agent publish on its own topic, the agent tries again after this time: the access list
# may be right by then. Some brokers end the connection instead of refusing, so this also bounds how often that happens.
RELEARN_S = 300.0
# A line that breaks by chance looks the same. So the first time the agent tries again after this time.
SOON_S = 10.0


class RedirectVerdict(Enum):
    """What an answer with `trigger_topic` means for its trigger."""

    MOVED = "the topic is new: send it again there"
    LATE = "it was sent before the topic was known: send it again there"
    NOT_OURS = "it was not sent on the base topic: the answer is to somebody else's message"
    NOTHING = "an answer like any other"


class Route:
    """The topic on which triggers go out.

    Owns what was learned about it, until the process ends. Promises that an answer moves an agent at most from the base
    topic to its own. Must never lead to a topic that does not follow from the configuration or the agent's name.

    Attributes:
        topic: where triggers go now.
        is_proven: whether the broker has taken something there.
    """

    def __init__(self, configured: str, agent: str) -> None:
        """`configured`: `uplink.trigger_topic`; `{agent}` in it is replaced."""
        self.topic = self._configured = with_agent(configured, agent)
        self._own = with_agent(AGENTS_TRIGGER, agent)
        self._not_before = -inf
        self._ended_there = False  # a connection ended over the own topic, and nothing was taken there since
        self.is_proven = True  # the broker has taken something on `topic`; the configured one needs no proof

    def asked(self, wanted: str, sent_on: str, now: float) -> RedirectVerdict:
        """What it means that an answer wants triggers on topic `wanted`.

        `sent_on`: the topic on which the answered trigger was last sent, "" if it is not in flight.
        """
        if wanted != self._own:
            return RedirectVerdict.NOTHING
        if sent_on != TRIGGER:
            return RedirectVerdict.NOT_OURS
        if self.topic == self._own:
            return RedirectVerdict.LATE
        if now < self._not_before:
            return RedirectVerdict.NOTHING
        self.topic, self.is_proven = self._own, False
        return RedirectVerdict.MOVED

    def taken(self, sent_on: Iterable[str]) -> None:
        """Note that the broker has taken triggers that were sent on these topics."""
        if not self.is_proven and self.topic in sent_on:
            self.is_proven, self._ended_there = True, False

    def refused(self, sent_on: str, now: float) -> bool:
        """Note that the broker refuses triggers on this topic; returns whether to use the configured one instead."""
        if sent_on != self._own or self._own == self._configured:
            return False
        self._back(now + RELEARN_S)
        return True

    def disconnected(self, now: float) -> None:
        """The connection ended; that may be how this broker refuses a topic on which it has taken nothing yet."""
        if not self.is_proven:
            self._back(now + (RELEARN_S if self._ended_there else SOON_S))
            self._ended_there = True

    def _back(self, not_before: float) -> None:
        if self.topic != self._configured:
            self.topic, self.is_proven = self._configured, True
            self._not_before = not_before
