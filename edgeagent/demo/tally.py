"""What the demo itself observed, counted independently of the agent, and the verdict. Pure.

Promises come from the acknowledgements to the sensor: each reading of a loss is one workflow, whose correlation id
follows from the event and the rule. Everything else comes from the broker, on which the demo listens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from edgeagent.demo.series import SOURCE, Reading
from edgeagent.ports.account import Account, EventCounts, event_problems
from edgeagent.rules.trigger import correlation_id
from edgeagent.wire import topics
from edgeagent.wire.messages import parse_response, parse_status, parse_trigger

AGENT, RULE = "demo", "leak"
# What the demo subscribes to.
TRIGGERS = topics.with_agent(topics.AGENTS_TRIGGER, AGENT)
RESPONSES, STATUSES = topics.response_topic(AGENT), topics.STATUS

_CREATED = 200


def promised_for(reading: Reading) -> list[str]:
    """The correlation ids of the triggers that an acknowledgement of this reading promises."""
    return [correlation_id(AGENT, SOURCE, reading.time, RULE)] if reading.is_loss else []


class Counted(msgspec.Struct):
    """One trigger, by its correlation id: what passed over the broker about it.

    `created`: how often the dispatcher said that it started this workflow, rather than that it existed already.
    `pending`: how often the workflow began. `started_at`: when its runs began; a second time means a second run.
    """

    sent: int = 0
    answered: int = 0
    created: int = 0
    pending: int = 0
    started_at: set[str] = msgspec.field(default_factory=set)
    status: str = ""

    @property
    def doubled(self) -> bool:
        """Whether its workflow was started twice."""
        return self.created > 1 or self.pending > 1 or len(self.started_at) > 1


class DemoTally:
    """Owns the demo's counts of promises, messages and results. It relies on nothing that the agent counts."""

    def __init__(self) -> None:
        self.events = 0
        self.filtered = 0
        self.promised: set[str] = set()
        self.seen: dict[str, Counted] = {}

    def accepted(self, correlation_ids: Iterable[str]) -> None:
        """Note that the agent acknowledged one event and promised these triggers."""
        ids = set(correlation_ids)
        self.events += 1
        self.filtered += not ids
        self.promised |= ids

    def heard(self, topic: str, payload: bytes, correlation_data: bytes | None, *, duplicate: bool) -> None:
        """Note a message that the broker delivered; `duplicate`: it may have been delivered before.

        Raises:
            MessageError: the message is malformed, which neither agent nor dispatcher may send.
        """
        if topic == TRIGGERS:
            trigger = parse_trigger(payload)
            self._counted(trigger.correlation_id).sent += not duplicate
        elif topic == RESPONSES:
            response = parse_response(payload, correlation_data)
            counted = self._counted(response.correlation_id)
            if response.code == _CREATED and not duplicate:
                counted.answered += 1
                counted.created += not response.duplicate
        elif topic == STATUSES:
            status = parse_status(payload)
            counted = self._counted(status.correlation_id)
            counted.pending += status.status == "Pending" and not duplicate
            if status.started_at:
                counted.started_at.add(status.started_at)
            counted.status = status.status

    def _counted(self, correlation_id: str) -> Counted:
        return self.seen.setdefault(correlation_id, Counted())

    @property
    def sent(self) -> int:
        """Triggers that reached the broker."""
        return sum(counted.sent > 0 for counted in self.seen.values())

    @property
    def sent_again(self) -> int:
        """How many times a trigger was published again."""
        return sum(counted.sent - 1 for counted in self.seen.values() if counted.sent)

    @property
    def answers(self) -> int:
        """How many answers the dispatcher gave."""
        return sum(counted.answered for counted in self.seen.values())

    @property
    def known_before(self) -> int:
        """How many of the answers said that the workflow had been started before."""
        return sum(counted.answered - counted.created for counted in self.seen.values())

    @property
    def started(self) -> int:
        """Workflows that the dispatcher started."""
        return sum(counted.created > 0 for counted in self.seen.values())

    @property
    def waiting(self) -> int:
        """Promised triggers for which no workflow has been started yet."""
        return sum(not self.was_created(one) for one in self.promised)

    def was_created(self, correlation_id: str) -> bool:
        """Whether a workflow was started for this trigger."""
        return correlation_id in self.seen and self.seen[correlation_id].created > 0

    @property
    def on_their_way(self) -> int:
        """Workflows that have begun and not ended."""
        return sum(counted.status in {"Pending", "Running"} for counted in self.seen.values())

    @property
    def succeeded(self) -> set[str]:
        """The correlation ids of the workflows that succeeded."""
        return {one for one, counted in self.seen.items() if counted.status == "Succeeded"}

    @property
    def lost(self) -> int:
        """Promised triggers whose workflow has not succeeded."""
        return len(self.promised - self.succeeded)

    @property
    def doubled(self) -> int:
        """Workflows that were started twice."""
        return sum(counted.doubled for counted in self.seen.values())

    def problems(self, events: EventCounts, account: Account, reported: set[str]) -> Iterator[str]:
        """Why the demo has failed: a sentence each; empty if every promise was kept.

        Args:
            events: the agent's own account, in events.
            account: the agent's own account, in triggers.
            reported: the correlation ids that the agent reports to its devices as succeeded.
        """
        if self.lost:
            yield f"{self.lost} of {len(self.promised)} workflows that were promised have not succeeded"
        if self.doubled:
            yield f"{self.doubled} workflows were started twice"
        if strangers := self.seen.keys() - self.promised:
            yield f"{len(strangers)} workflows were requested that no event was promised"
        if missing := self.promised - reported:
            yield f"the agent does not report to the sensor that {len(missing)} workflows succeeded"
        yield from account.problems()
        yield from event_problems(events)
        if account.accepted != len(self.promised) or account.settled != account.accepted:
            promised = len(self.promised)
            yield f"the agent accepted {account.accepted} and settled {account.settled} of {promised} triggers promised"
        if events.received < self.events:
            yield f"the agent counts {events.received} events, and acknowledged {self.events}"
