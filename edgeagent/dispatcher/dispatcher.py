"""The dispatcher: triggers from the broker to the engine, responses and statuses back (contract section 7).

What it promises:

* A trigger is acknowledged to the broker only when the broker has taken its response. If the connection ends before,
  the broker brings the trigger again and the engine says `duplicate`.
* A response that the broker refuses is logged, counted, and its trigger acknowledged all the same. Kept back, it would
  not come again before the connection ends, and every later trigger would wait behind it, because acknowledgements go
  in order. The agent, which has no response, sends it again by itself.
* Statuses are published again on the next connection until a broker has taken them. While many of them wait, no new
  trigger is taken, so that triggers which arrive faster than the broker takes statuses cannot fill the memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from edgeagent.core import topics
from edgeagent.core.messages import Status
from edgeagent.dispatcher.engine import Engine, Order
from edgeagent.dispatcher.outcome import response_to
from edgeagent.dispatcher.outgoing import Outgoing, QueuedResponse
from edgeagent.dispatcher.policy import Policy
from edgeagent.dispatcher.validate import Checked, check
from edgeagent.errors import Denied, UplinkError
from edgeagent.mqtt.link import NO_MATCHING_SUBSCRIBERS, Ack, Link, Message

# About 400 bytes each. From half of it on no trigger is taken; the other half is for workflows already on their way.
MAX_STATUSES = 50_000
_FAILURE = 0x80  # reason codes from here on say that the broker did not take the publication
# How many topics in trouble are remembered, so that each is logged once and not with every message.
_MAX_TROUBLED_TOPICS = 1000

_encoder = msgspec.json.Encoder()
log = logging.getLogger(__name__)


class Stats(msgspec.Struct):
    """What was done since the start.

    `answered`: responses that the broker took, by their code; `duplicates` of them said so, and to the topics of
    `unheard` of them nobody subscribed. `unanswerable`: messages that told nobody to answer. `refused`: responses and
    statuses that the broker refused. `statuses_published` and `statuses_dropped`: a status counts for each of its two
    topics.
    """

    received: int = 0
    unanswerable: int = 0
    answered: dict[int, int] = {}
    duplicates: int = 0
    unheard: int = 0
    refused: int = 0
    statuses_published: int = 0
    statuses_dropped: int = 0


class Dispatcher:
    """One dispatcher; the `LinkOwner` of its broker connection. `run` must be running for anything to be answered."""

    def __init__(
        self, engine: Engine, policy: Policy, *, bind_agent: bool = False, max_statuses: int = MAX_STATUSES
    ) -> None:
        """A dispatcher without a connection.

        Args:
            engine: what starts the workflows; its changes of status come in by `report`.
            policy: who may start what.
            bind_agent: take the agent from the topic and refuse every other.
            max_statuses: how many status messages are kept for a broker that does not take them.
        """
        self._engine = engine
        self._policy = policy
        self._bind_agent = bind_agent
        self._max_statuses = max_statuses
        self._outgoing = Outgoing(max_statuses)
        self._received: deque[Message] = deque()
        self._in_hand: Message | None = None
        self._link: Link | None = None
        self._connections = 0
        self._work = asyncio.Event()
        self._settled = asyncio.Event()
        self._publish_scheduled = False
        self._draining = False
        self._told_unreachable = False
        self._troubled: set[str] = set()
        self._stats = Stats()

    def stats(self) -> Stats:
        """The counters at this moment; a copy."""
        return msgspec.structs.replace(self._stats, answered=dict(self._stats.answered))

    # What the link tells.

    def on_up(self, link: Link, *, session_present: bool) -> None:
        """See `LinkOwner`."""
        log.info("connected to the broker", extra={"event": "broker_connected", "session_present": session_present})
        self._told_unreachable = False
        self._link = link
        self._connections += 1
        self._publish()

    def on_down(self, error: UplinkError) -> None:
        """See `LinkOwner`."""
        self._tell_down(error)
        self._link = None
        self._received.clear()
        self._outgoing.connection_ended()
        self._settled.set()

    def on_messages(self, messages: Sequence[Message]) -> None:
        """See `LinkOwner`."""
        if self._draining:
            return  # not acknowledged, so that they come again, to us or to another dispatcher
        self._stats.received += len(messages)
        self._received.extend(messages)
        self._work.set()

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """See `LinkOwner`."""
        done: list[Message] = []
        for ack in acks:
            item = self._outgoing.taken_by_broker(ack.token)
            if isinstance(item, QueuedResponse):
                self._response_taken(item, ack)
                done.append(item.trigger)
            else:
                self._stats.statuses_published += ack.reason_code < _FAILURE
            self._tell_trouble(item.publication.topic, ack, is_response=isinstance(item, QueuedResponse))
        if self._link is not None and done:
            self._link.acknowledge(done)
        self._publish()
        self._settled.set()
        if self._received:
            self._work.set()

    def on_room(self) -> None:
        """See `LinkOwner`."""
        self._publish()

    # What the engine tells.

    def report(self, changes: Sequence[Status]) -> None:
        """Publish changes of status, for monitoring and for the gateway that each workflow belongs to."""
        dropped = 0
        for change in changes:
            payload = _encoder.encode(change)
            for topic in topics.status_topics(change.agent):
                dropped += not self._outgoing.add_status(topic, payload)
        if dropped:
            self._stats.statuses_dropped += dropped
            log.error(
                "%d status messages were lost: more than %d wait for the broker",
                dropped,
                self._max_statuses,
                extra={"event": "status_dropped", "dropped": dropped},
            )
        self._publish()

    # Life.

    async def run(self) -> None:
        """Take triggers to the engine one after another, in order of arrival, until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._received and 2 * self._outgoing.statuses < self._max_statuses:
                self._in_hand = self._received.popleft()
                await self._take(self._in_hand)
                self._in_hand = None
            self._settled.set()

    async def drain(self) -> None:
        """Take no more triggers; return when those received are answered and the broker has every status.

        Without a connection it returns as soon as the engine has nothing more to tell: nothing can be delivered then.
        """
        self._draining = True
        await self._until(lambda: not self._received and self._in_hand is None and not self._outgoing.responses)
        await self._engine.drain()
        await self._until(lambda: not self._outgoing.statuses)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while self._link is not None and not condition():
            self._settled.clear()
            await self._settled.wait()

    async def _take(self, message: Message) -> None:
        """Check one message, let the engine decide and queue the response."""
        connection = self._connections
        checked = check(message, bind_agent=self._bind_agent)
        if checked.reply_topic is None:
            self._leave_unanswered(message, checked)
            return
        decided = self._policy.decide(checked.result) if isinstance(checked.result, Order) else checked.result
        response = response_to(
            await self._engine.create(decided) if isinstance(decided, Order) else decided,
            correlation_id=checked.correlation_id,
            namespace=checked.namespace,
            dry_run=self._engine.dry_run,
        )
        extra = {
            "event": "trigger_answered",
            "correlation_id": response.correlation_id,
            "code": response.code,
            "workflow_id": response.workflow_id,
            "detail": response.detail,
        }
        log.debug("trigger on %s answered", message.topic, extra=extra)
        if self._link is None or self._connections != connection:
            return  # its connection has ended: the broker brings it again, and the engine knows it then
        self._outgoing.add_response(checked.reply_topic, response, message)
        self._publish_soon()

    def _leave_unanswered(self, message: Message, checked: Checked) -> None:
        self._stats.unanswerable += 1
        log.warning(
            "a message that is no trigger, and nothing in it tells whom to answer",
            extra={"event": "trigger_unanswerable", "topic": message.topic, "problem": str(checked.result)},
        )
        if self._link is not None:
            self._link.acknowledge([message])

    def _publish_soon(self) -> None:
        """Publish when the loop comes round: in one write what an engine that does not suspend has answered."""
        if not self._publish_scheduled:
            self._publish_scheduled = True
            asyncio.get_running_loop().call_soon(self._publish)

    def _publish(self) -> None:
        self._publish_scheduled = False
        if self._link is not None and (publications := self._outgoing.take(self._link.room)):
            self._link.publish(publications)

    def _response_taken(self, item: QueuedResponse, ack: Ack) -> None:
        if ack.reason_code < _FAILURE:
            code = item.response.code
            self._stats.answered[code] = self._stats.answered.get(code, 0) + 1
            self._stats.duplicates += bool(item.response.duplicate)
        self._stats.unheard += ack.reason_code == NO_MATCHING_SUBSCRIBERS

    # What the operator is told.

    def _tell_trouble(self, topic: str, ack: Ack, *, is_response: bool) -> None:
        """Log the first of several publications on a topic that are refused or, for responses, heard by nobody."""
        refused = ack.reason_code >= _FAILURE
        self._stats.refused += refused
        if not refused and not (is_response and ack.reason_code == NO_MATCHING_SUBSCRIBERS):
            self._troubled.discard(topic)
            return
        if topic in self._troubled:
            return
        if len(self._troubled) >= _MAX_TROUBLED_TOPICS:
            self._troubled.clear()
        self._troubled.add(topic)
        event = "publish_refused" if refused else "response_unheard"
        extra = {"event": event, "topic": topic, "reason_code": f"0x{ack.reason_code:02x}", "reason": ack.reason}
        if refused:
            log.error("the broker refused a message; may the dispatcher publish there?", extra=extra)
        else:
            log.warning("nobody subscribes to the topic of a response", extra=extra)

    def _tell_down(self, error: UplinkError) -> None:
        """One line when a connection ends, and one when no other can be had, not one for each attempt."""
        if self._link is not None:
            log.info("disconnected: %s", error, extra={"event": "broker_disconnected"})
        elif not self._told_unreachable:
            self._told_unreachable = True
            level = logging.ERROR if isinstance(error, Denied) else logging.WARNING
            log.log(level, "cannot reach the broker, retrying: %s", error, extra={"event": "broker_unreachable"})
