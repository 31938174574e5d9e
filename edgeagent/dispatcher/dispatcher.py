"""The dispatcher: triggers from the broker to the engine, responses and statuses back (contract section 7).

What it promises:

* A trigger is acknowledged to the broker only after the broker has accepted its response. If the connection ends before
  that, the broker delivers the trigger again and the engine answers `duplicate`.
* So a dispatcher may end at any moment, cancelled or killed: triggers in progress are not acknowledged, and the next
  dispatcher that receives one finds the workflow that was started, or starts it.
* A trigger that cannot be started now stays here, unacknowledged. The broker then stops by itself, at the receive
  maximum. This is so while the engine is away or refuses our credentials, and for triggers for which `max_active` is
  reached; others continue until the waiting ones fill the receive maximum.
* If the broker refuses a response, that is logged and counted, and the trigger is acknowledged all the same. Otherwise
  it would not be delivered again before the connection ends, and every later trigger would wait behind it, because
  acknowledgements go in order. The agent, which got no response, sends it again by itself.
* Messages given to `send` are published again on the next connection until a broker has answered them, as long as they
  are wanted. So are the statuses of a dry run, up to a limit; while many wait, no new trigger is taken, and while one
  that the broker refused for now rests for a few seconds, the others rest too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec

from edgeagent.dispatcher.capacity import Capacity, Limit, full
from edgeagent.dispatcher.engine import Engine, Order
from edgeagent.dispatcher.gate import HOLD_S
from edgeagent.dispatcher.intake import Intake, Ready
from edgeagent.dispatcher.link_sharer import LinkSharer
from edgeagent.dispatcher.outcome import Created, Crowded, Duplicate, Outcome, Unbound, response_to
from edgeagent.dispatcher.outgoing import QueuedMessage, QueuedResponse, QueuedStatus, SendQueue
from edgeagent.dispatcher.policy import Policy
from edgeagent.dispatcher.shares import Shares
from edgeagent.dispatcher.starter import Starter
from edgeagent.dispatcher.stats import DispatcherStats
from edgeagent.dispatcher.traces import PASSED_ON, WorkflowTraces
from edgeagent.dispatcher.troubles import Troubles
from edgeagent.dispatcher.validate import Checked, check, sender
from edgeagent.errors import UplinkError
from edgeagent.ports.link import PREFETCH, Ack, Link, Message, PublishOutcome, PublishRefused
from edgeagent.wire import topics
from edgeagent.wire.messages import Status

MAX_CONCURRENT = 16
# About 400 bytes each. Above half of it no trigger is taken; the other half is for workflows already begun.
MAX_STATUSES = 50_000
# The share of the receive maximum that one agent's triggers may take while they wait for room: others' still arrive.
WAITING_SHARE = 2
# The statuses of a dry run rest for so long when the broker refuses one for now.
_REST_S = 5.0

_encoder = msgspec.json.Encoder()
log = logging.getLogger(__name__)


class Dispatcher:
    """Owns the triggers received and not acknowledged; the `LinkOwner` of its connection. `run` must be running."""

    def __init__(
        self,
        engine: Engine,
        policy: Policy,
        *,
        bind_agent: bool = True,
        max_concurrent: int = MAX_CONCURRENT,
        max_active: int | Mapping[str, int] | None = None,
        watched: Collection[str] = (),
        max_statuses: int = MAX_STATUSES,
        hold_s: float = HOLD_S,
        prefetch: int = PREFETCH,
        traces: WorkflowTraces = PASSED_ON,
    ) -> None:
        """A dispatcher without a connection.

        Args:
            engine: the engine that starts the workflows.
            policy: decides who may start what.
            bind_agent: take the agent from the topic and refuse a message that names another one.
            max_concurrent: how many triggers are in progress at once; `Shares` divides them among the agents.
            max_active: how many unfinished workflows there may be, as far as `capacity` knows of them; see there.
            watched: the namespaces that `capacity` is kept up to date for.
            max_statuses: how many status messages of `report` are kept for a broker that does not accept them.
            hold_s: how long a trigger is held while the engine does not answer.
            prefetch: how many unacknowledged triggers the broker sends.
            traces: what workflows are told of them, and what is told of triggers.
        """
        self._engine = engine
        self._policy = policy
        self._traces = traces
        self._bind_agent = bind_agent
        self._shares = Shares(max_concurrent)
        self._max_statuses = max_statuses
        self._max_waiting_of_one = prefetch // WAITING_SHARE
        self._starter = Starter(engine, opened=self._recheck, hold_s=hold_s)
        self.capacity = Capacity(max_active, watched, changed=self._recheck)
        self._reported_full: set[Limit] = set()
        self._intake = Intake()
        self._numbered = 0
        self._outgoing = SendQueue(max_statuses)
        self._sharers: tuple[LinkSharer, ...] = ()
        self._link: Link | None = None
        self._connections = 0
        self._work = asyncio.Event()
        self._settled = asyncio.Event()
        self._publish_scheduled = False
        self._draining = False
        self._troubles = Troubles()
        self._stats = DispatcherStats()

    def share_with(self, *sharers: LinkSharer) -> None:
        """Notify these parts of the link's events too. Must be called before the connection is made."""
        self._sharers = sharers

    def stats(self) -> DispatcherStats:
        """A copy of the counters at this moment."""
        return msgspec.structs.replace(
            self._stats,
            answered=dict(self._stats.answered),
            connected=self._link is not None,
            gate=self._starter.state,
            waiting=self._intake.waiting,
            limits=self.capacity.uses(),
        )

    # Called by the link.

    def on_up(self, link: Link, *, session_present: bool) -> None:
        """See `LinkOwner`."""
        self._troubles.connected(session_present=session_present)
        self._link = link
        self._connections += 1
        for sharer in self._sharers:
            sharer.on_up()
        self._publish()

    def on_down(self, error: UplinkError) -> None:
        """See `LinkOwner`."""
        self._troubles.down(error, was_up=self._link is not None)
        self._link = None
        self._intake.clear()
        self._traces.forget()
        self._outgoing.connection_ended()
        for sharer in self._sharers:
            sharer.on_down()
        self._settled.set()

    def on_messages(self, messages: Sequence[Message]) -> None:
        """See `LinkOwner`."""
        for sharer in self._sharers:
            messages = sharer.on_messages(messages)
        if self._draining:
            return  # not acknowledged, so they are delivered again, here or to another dispatcher
        self._stats.received += len(messages)
        self._traces.received(messages)
        for message in messages:
            self._intake.add(sender(message, bind_agent=self._bind_agent), message)
        self._work.set()

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """See `LinkOwner`."""
        done: list[Message] = []
        for ack in acks:
            item = self._outgoing.taken_by_broker(ack.token)
            outcome = ack.outcome
            is_refused = isinstance(outcome, PublishRefused)
            self._stats.refused += is_refused
            match item:
                case QueuedResponse():
                    self._stats.response_taken(item.response, outcome)
                    done.append(item.trigger)
                case QueuedStatus() if isinstance(outcome, PublishRefused) and not outcome.permanent:
                    if self._outgoing.rest(item):
                        asyncio.get_running_loop().call_later(_REST_S, self._end_rest)
                case QueuedStatus():
                    self._stats.statuses_published += not is_refused
                case QueuedMessage(on_taken=on_taken) if on_taken is not None:
                    on_taken(outcome)
            self._troubles.published(item.publication.topic, outcome, is_response=isinstance(item, QueuedResponse))
        self.acknowledge(done)
        self._publish()
        self._recheck()

    def _end_rest(self) -> None:
        self._outgoing.end_rest()
        self._publish()

    def on_room(self) -> None:
        """See `LinkOwner`."""
        self._publish()

    # Publishing for other parts.

    def send(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        on_taken: Callable[[PublishOutcome], None] | None = None,
        wanted: Callable[[], bool] | None = None,
        correlation_data: bytes | None = None,
    ) -> None:
        """Publish a message at QoS 1, behind the responses, on this connection or on a later one.

        It is dropped only when it is no longer wanted: the caller must bound the number of messages outstanding.

        Args:
            topic: the topic.
            payload: JSON; empty to clear the topic's retained message.
            retain: whether the broker keeps it.
            on_taken: called once with the broker's answer, which may be a refusal.
            wanted: called before each publication; after a False nothing is published and `on_taken` is not called.
            correlation_data: that of the message which this one answers.
        """
        self._outgoing.add_message(topic, payload, retain, on_taken, wanted, correlation_data)
        self._publish_soon()

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge messages that a sharer took; those of an earlier connection are ignored."""
        if self._link is not None and messages:
            self._link.acknowledge(messages)

    def report(self, changes: Sequence[Status]) -> None:
        """Publish status changes, for monitoring and for the gateway that each workflow belongs to."""
        self._add_statuses((topic, change) for change in changes for topic in topics.status_topics(change.agent))
        self._publish()

    def _add_statuses(self, statuses: Iterable[tuple[str, Status]]) -> None:
        dropped = sum(not self._outgoing.add_status(topic, _encoder.encode(status)) for topic, status in statuses)
        if dropped:
            self._stats.statuses_dropped += dropped
            log.error(
                "%d status messages were lost: more than %d wait for the broker",
                dropped,
                self._max_statuses,
                extra={"event": "status_dropped", "dropped": dropped},
            )

    # Running and stopping.

    async def run(self) -> None:
        """Start the triggers' workflows until cancelled: each agent's in order, at most `max_concurrent` at once."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._starter.run())
            while True:
                while (trigger := self._next()) is not None:
                    if ready := trigger if isinstance(trigger, Ready) else self._checked(trigger):
                        self._take(ready, group)
                self._work.clear()
                self._settled.set()
                await self._work.wait()

    async def drain(self) -> None:
        """Take no more triggers; return when those received are answered and the broker has accepted everything.

        Triggers that cannot be answered now, because the engine is away or the namespace is full, are left to the
        broker. Without a connection, nothing can be delivered: it returns once the engine has nothing left to report.
        """
        self._draining = True
        self._starter.stop_holding()
        self._intake.forget_waiting()
        await self._until(self._is_idle)
        await self._engine.drain()
        for sharer in self._sharers:
            await sharer.drain()
        await self._until(lambda: self._outgoing.is_empty)

    def _is_idle(self) -> bool:
        left = len(self._intake) if self._starter.takes else 0
        return not left and not self._shares.taken and not self._outgoing.responses

    async def _until(self, condition: Callable[[], bool]) -> None:
        while self._link is not None and not condition():
            self._settled.clear()
            await self._settled.wait()

    def _recheck(self) -> None:
        """Check again whether triggers may be taken or `drain` is done, because something has changed."""
        self._work.set()
        self._settled.set()
        for limit in [limit for limit in self._reported_full if limit.is_relaxed]:
            if not self._intake.waits_for(limit):
                self._reported_full.discard(limit)
                self._troubles.relaxed(limit)

    # Handling one trigger.

    def _next(self) -> Message | Ready | None:
        """The next trigger to handle, if one may be handled now."""
        if self._shares.full or not self._starter.takes or 2 * self._outgoing.statuses >= self._max_statuses:
            return None
        found = self._intake.next(self._shares.next)
        if found is None:
            return None
        agent, trigger = found
        self._shares.served(agent)
        return trigger

    def _checked(self, message: Message) -> Ready | None:
        """Check one message; None if it was answered, or left unanswered, without the engine."""
        checked = check(message, bind_agent=self._bind_agent, traces=self._traces)
        decided = self._policy.decide(checked.result) if isinstance(checked.result, Order) else checked.result
        if isinstance(decided, Unbound) and decided.trigger_topic:
            self._troubles.redirected(decided.trigger_topic)
        elif isinstance(decided, Unbound):
            self._troubles.unbound(message.topic, decided.detail, checked.correlation_id)
        if isinstance(decided, Order):
            self._numbered += 1
            return Ready(
                self._numbered, message, checked, decided, self.capacity.pool(decided.namespace, decided.template)
            )
        self._answer(message, checked, decided)
        return None

    def _take(self, trigger: Ready, group: asyncio.TaskGroup) -> None:
        if (limit := full(trigger.pool)) is not None:
            self._wait_for_room(trigger, limit)
        else:
            self.capacity.reserve(trigger.order.namespace, trigger.pool)
            self._shares.take(trigger.order.agent)
            group.create_task(self._start(trigger, self._connections))

    async def _start(self, trigger: Ready, connection: int) -> None:
        """Start the trigger's workflow and answer, unless the trigger's connection has ended since."""
        order = trigger.order
        outcome: Outcome | None = None
        try:
            outcome = await self._starter.start(order, lambda: self._is_up(connection))
        finally:
            self._shares.give_back(order.agent)
            created = outcome.workflow_id if isinstance(outcome, Created) else None
            self.capacity.release(order.namespace, trigger.pool, created)
            self._recheck()
        if not self._is_up(connection):
            return  # the broker delivers it again, and by then the engine knows the workflow
        if outcome is not None:
            self._answer(trigger.message, trigger.checked, outcome)
        elif not self._draining:
            self._intake.wait(trigger)

    def _is_up(self, connection: int) -> bool:
        return self._link is not None and self._connections == connection

    def _wait_for_room(self, trigger: Ready, limit: Limit) -> None:
        if self._draining:
            return
        if self._intake.waiting_of(trigger.order.agent) >= self._max_waiting_of_one:
            crowded = Crowded(f"{limit}, and {self._max_waiting_of_one} triggers wait")
            self._answer(trigger.message, trigger.checked, crowded)
            return
        self._intake.wait(trigger)
        if limit not in self._reported_full:
            self._reported_full.add(limit)
            self._troubles.full(limit)

    def _answer(self, message: Message, checked: Checked, outcome: Outcome) -> None:
        if checked.reply_topic is None:
            self._leave_unanswered(message, outcome)
            return
        response = response_to(
            outcome,
            correlation_id=checked.correlation_id,
            namespace=checked.namespace,
            dry_run=self._engine.dry_run,
        )
        self._troubles.answered(message.topic, response)
        self._traces.answered(message, checked, response)
        self._outgoing.add_response(checked.reply_topic, response, message)
        if isinstance(outcome, Duplicate) and outcome.status is not None:
            # The sender may have missed earlier statuses. This one goes to the sender alone: it was read a while ago,
            # and the leader may have published newer ones by now. An agent ignores a status that goes back.
            self._add_statuses([(topics.status_topics(outcome.status.agent)[-1], outcome.status)])
        self._publish_soon()

    def _leave_unanswered(self, message: Message, outcome: Outcome) -> None:
        self._stats.unanswerable += 1
        log.warning(
            "a message that is no trigger, and nothing in it tells whom to answer",
            extra={"event": "trigger_unanswerable", "foreign": True, "topic": message.topic, "problem": str(outcome)},
        )
        self.acknowledge([message])

    # Publishing.

    def _publish_soon(self) -> None:
        """Publish in the loop's next turn: one write for all the answers of an engine that does not suspend."""
        if not self._publish_scheduled:
            self._publish_scheduled = True
            asyncio.get_running_loop().call_soon(self._publish)

    def _publish(self) -> None:
        self._publish_scheduled = False
        if self._link is not None and (publications := self._outgoing.take(self._link.room)):
            self._link.publish(publications)
