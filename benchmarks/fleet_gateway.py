"""One simulated gateway: everything that an agent does on its uplink, without an outbox, a ledger or a disk.

It is made of the agent's own parts: the link (`edgeagent.mqtt`), the session that reconnects, the triggers in flight
with their retries and timeouts, the congestion limit, the questions about silent triggers. So the broker and the
dispatchers see the packets that they see of an agent, in the same order and after the same waits.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

import edgeagent
from benchmarks.engine_side import NAMESPACE, RULE, SOURCE, trigger
from edgeagent.agent.addressing import uplink_subscriptions
from edgeagent.agent.causes import BUSY, UNHEARD, disproved_by, of_answer
from edgeagent.agent.congestion import Congestion
from edgeagent.agent.inflight import InFlight, InFlightSet
from edgeagent.agent.query_schedule import QuerySchedule
from edgeagent.common.times import rfc3339
from edgeagent.config.tables import Relay, Uplink
from edgeagent.errors import UplinkError
from edgeagent.links.session import BACKOFF_BASE_S, keep_connected
from edgeagent.ports.link import TAKEN, Ack, Link, Message, Publication, PublishRefused, Will
from edgeagent.wire import messages, topics
from edgeagent.wire.agent_state import CONNECTION_LOST, AgentState
from edgeagent.wire.messages import StatusQuery

# Tokens of triggers count from 1.
_STATE, _QUERY = -1, -2
_WILL_DELAY_S = 30
_EXPIRY_S = 7 * 86400
_NEVER_TIRED = 1 << 30  # it has no parked triggers
_JSON = "application/json"
_FINAL = frozenset({"Succeeded", "Failed", "Error"})
_RELAY = Relay()


class Given(NamedTuple):
    """A trigger. `due_s`: when it was due (`time.perf_counter`), from which its answer's time counts."""

    correlation_id: str
    due_s: float


class Tally:
    """What the gateways of one fleet count together.

    Attributes:
        up: how many are connected. `ups`: how many connections there were, `lost_sessions`: how many of them found no
            session at the broker.
        given, answered, finished: triggers, those with an answer of code 200 or a status, those with a final status.
        answers_s: the seconds from each trigger to its first answer.
        duplicates: answers that said so. `sent_again`: triggers that were; `again`: those that rested, by why.
        queries: questions about silent triggers.
        problem: what ends the measurement.
    """

    def __init__(self) -> None:
        self.up = self.ups = self.lost_sessions = 0
        self.given = self.answered = self.finished = 0
        self.answers_s: list[float] = []
        self.duplicates = self.queries = self.sent_again = 0
        self.again: dict[str, int] = {}
        self.problem = ""

    def take_answers(self) -> list[float]:
        """`answers_s` since the last call."""
        answers_s, self.answers_s = self.answers_s, []
        return answers_s

    def rested(self, why: str) -> None:
        """A trigger is to be sent again."""
        self.again[why] = self.again.get(why, 0) + 1


class Gateway:
    """The `LinkOwner` of one gateway's uplink. Owns its triggers from `give` to their final status."""

    def __init__(self, agent: str, tally: Tally) -> None:
        uplink = Uplink()
        self.agent = agent
        self._tally = tally
        self._topic = topics.with_agent(topics.AGENTS_TRIGGER, agent)
        self._response_topic = topics.response_topic(agent)
        self._properties = (("agent", agent), ("rule", RULE), ("source", SOURCE))
        self._in_flight: InFlightSet[Given] = InFlightSet(
            uplink.max_unanswered,
            wait_for_engine=True,
            response_timeout_s=uplink.response_timeout,
            random=random.random,
        )
        self._congestion = Congestion(uplink.max_inflight)
        self._queries = QuerySchedule(_RELAY.status_timeout, _RELAY.give_up_after)
        self._backlog: deque[Given] = deque()
        self._unfinished: set[str] = set()
        self._link: Link | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._now = asyncio.get_running_loop().time

    def session(self, url: str, *, first_wait_s: float) -> Coroutine[Any, Any, None]:
        """What keeps it connected until cancelled, with the waits that a broker on another machine gets."""
        uplink = Uplink(url=url)
        return keep_connected(
            uplink,
            self,
            client_id=topics.with_agent(uplink.client_id, self.agent),
            subscriptions=uplink_subscriptions(uplink, self.agent),
            will=self._will,
            mark=self.agent,
            first_wait_s=first_wait_s,
            base_s=BACKOFF_BASE_S,
        )

    def give(self, correlation_id: str, due_s: float) -> None:
        """Start a workflow: publish a trigger as soon as its turn comes."""
        self._tally.given += 1
        self._unfinished.add(correlation_id)
        self._backlog.append(Given(correlation_id, due_s))
        self._pump()

    def stop(self) -> None:
        """Do nothing more by itself."""
        if self._timer is not None:
            self._timer.cancel()

    # What the link tells.

    def on_up(self, link: Link, *, session_present: bool) -> None:
        """See `LinkOwner`."""
        self._link = link
        self._tally.up += 1
        self._tally.ups += 1
        self._tally.lost_sessions += not session_present
        link.publish([self._state()])
        self._congestion.begin()
        now = self._now()
        self._in_flight.reconnected(now)
        self._queries.connected(now, session_lost=not session_present)
        self._pump()

    def on_down(self, error: UplinkError) -> None:
        """See `LinkOwner`."""
        del error
        if self._link is not None:
            self._tally.up -= 1
        self._link = None
        self._in_flight.disconnected(self._now())
        self._set_timer()

    def on_messages(self, messages_: Sequence[Message]) -> None:
        """See `LinkOwner`."""
        for message in messages_:
            if message.topic == self._response_topic:
                self._take_response(message)
            else:
                self._take_status(message)
        if self._link is not None:
            self._link.acknowledge(messages_)
        self._pump()

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """See `LinkOwner`."""
        now, triggers = self._now(), 0
        for ack in acks:
            entry = self._in_flight.by_token(ack.token)
            if entry is None:
                continue
            triggers += 1
            if ack.outcome is TAKEN:
                self._in_flight.acknowledged([entry], now)
                self._queries.follow(entry.correlation_id, now)
                self._in_flight.heard(UNHEARD, now)
            elif isinstance(ack.outcome, PublishRefused):
                self._in_flight.rest(entry, now, cause=BUSY)
                self._tally.rested(f"refused: {ack.outcome.reason}")
            else:
                self._in_flight.rest(entry, now, cause=UNHEARD)
                self._tally.rested("nobody subscribed")
        self._congestion.acknowledged(triggers, now)
        self._pump()

    def on_room(self) -> None:
        """See `LinkOwner`."""
        self._pump()

    # Receiving.

    def _take_response(self, message: Message) -> None:
        response, now = messages.parse_response(message.payload, message.correlation_data), self._now()
        entry = self._in_flight.find(response.correlation_id)
        for cause in disproved_by(response.code, NAMESPACE, RULE):
            self._in_flight.heard(cause, now)
        if response.code == HTTPStatus.OK:
            self._tally.duplicates += bool(response.duplicate)
            self._settle(entry)
        elif entry is not None and response.retryable:
            cause = of_answer(response.code, NAMESPACE, RULE)
            self._in_flight.rest(entry, now, response.retry_after_s, cause)
            self._tally.rested(f"answered {response.code}")
        else:
            self._tally.problem = f"a trigger was refused: {message.payload!r}"

    def _take_status(self, message: Message) -> None:
        status = messages.parse_status(message.payload)
        self._settle(self._in_flight.find(status.correlation_id))
        if status.status not in _FINAL:
            self._queries.heard(status.correlation_id, self._now())
        elif status.correlation_id in self._unfinished:
            self._unfinished.discard(status.correlation_id)
            self._queries.ended(status.correlation_id)
            self._tally.finished += 1

    def _settle(self, entry: InFlight[Given] | None) -> None:
        if entry is not None:
            self._in_flight.remove([entry])
            self._tally.answered += 1
            self._tally.answers_s.append(time.perf_counter() - entry.item.due_s)

    # Sending.

    def _pump(self) -> None:
        """Publish what is due and has room, and set the timer for what is due later."""
        link, now = self._link, self._now()
        while self._backlog and self._in_flight.vacancy > 0:
            given = self._backlog.popleft()
            self._in_flight.add(given.correlation_id, given, lane=None, known=True, patience=_NEVER_TIRED)
        if link is not None:
            room = min(link.room, self._congestion.allowed - self._in_flight.sent)
            if publications := [self._publication(entry) for entry in self._in_flight.due(now, room)]:
                link.publish(publications)
                self._congestion.sent(self._in_flight.sent, now)
            if link.room:
                self._ask(link, now)
        self._set_timer()

    def _ask(self, link: Link, now: float) -> None:
        """Ask about triggers that nothing is heard of."""
        if ask := self._queries.due(now).ask:
            self._tally.queries += 1
            payload = msgspec.json.encode(StatusQuery(self.agent, tuple(ask), topics.status_topics(self.agent)[-1]))
            link.publish([Publication(_QUERY, topics.STATUS_QUERY, payload, content_type=_JSON)])

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._link is None:
            return
        deadline = self._in_flight.next_deadline()
        at = min(self._queries.next_due(self._now()), deadline if deadline is not None else float("inf"))
        if at < float("inf"):
            self._timer = asyncio.get_running_loop().call_at(at, self._pump)

    def _publication(self, entry: InFlight[Given]) -> Publication:
        correlation_id = entry.correlation_id
        self._tally.sent_again += entry.tries > 1
        return Publication(
            entry.token,
            self._topic,
            trigger(self.agent, correlation_id),
            content_type=_JSON,
            correlation_data=correlation_id.encode(),
            response_topic=self._response_topic,
            expiry_s=_EXPIRY_S,
            user_properties=self._properties,
            attempt=entry.attempt,
        )

    def _state(self) -> Publication:
        online = AgentState("online", edgeagent.__version__, _now(), len(self._in_flight), reason="", config="0" * 12)
        payload = msgspec.json.encode(online)
        return Publication(_STATE, topics.state_topic(self.agent), payload, retain=True, content_type=_JSON)

    def _will(self) -> Will:
        lost = AgentState("offline", edgeagent.__version__, _now(), reason=CONNECTION_LOST, config="0" * 12)
        return Will(topics.state_topic(self.agent), msgspec.json.encode(lost), delay_s=_WILL_DELAY_S)


def _now() -> str:
    return rfc3339(time.time_ns() // 1_000_000)
