"""Takes the engine's responses and status updates from the uplink's broker (contract sections 4 and 5).

Messages are processed in order, as chores. Each is acknowledged to the broker when the ledger has committed what it
says, which may be a moment later. A malformed message is logged, counted and acknowledged, so it holds up no other one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from edgeagent.agent import causes, notices
from edgeagent.agent.addressing import Addressing
from edgeagent.agent.chores import Chores
from edgeagent.agent.clock import Clock
from edgeagent.agent.counts import AnswerCounts
from edgeagent.agent.inflight import TriggerInFlight
from edgeagent.agent.replies import Replies
from edgeagent.agent.route import RedirectVerdict
from edgeagent.agent.triggers import Triggers
from edgeagent.agent.trouble import Trouble
from edgeagent.common.foreign import shown
from edgeagent.errors import MessageError, StorageFailed
from edgeagent.ledger.ledger import Ledger
from edgeagent.ports.link import Link, Message, Publication
from edgeagent.rules.ruleset import RuleSet
from edgeagent.wire import lifecycle
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import (
    STATUS_INVALID,
    STATUS_RECEIVED,
    Response,
    Status,
    StatusReply,
    cut,
    parse_response,
    parse_status,
)

_SUCCESS = 200
# A member that no response to a trigger has.
_REQUEST_ID = b'"request_id"'
_FORBIDDEN = 403
# While the ledger fails, it is tried again this often.
_RETRY_S = 1.0
# So many messages at most are acknowledged together. One read may bring as many as the receive maximum; if a connection
# ended before all of them are processed and kept, the next one would bring all of them again, and so on.
PART_MESSAGES = 32
_log = logging.getLogger(__name__)


class Answers:
    """Processes what the engine says about triggers: responses, statuses, and our replies to statuses that ask for one.

    Owns the messages that are not processed yet. Promises that a message is acknowledged to the broker only when the
    ledger has committed what it says, and that a trigger which the engine has taken leaves the outbox even while the
    ledger fails. Must never publish anything but replies: a trigger that is to be sent again becomes ready, and the
    hook of `Triggers` wakes the sender.
    """

    def __init__(
        self,
        addressing: Addressing,
        triggers: Triggers,
        rules: RuleSet,
        ledger: Ledger,
        chores: Chores,
        clock: Clock,
        trouble: Trouble,
        *,
        heard: Callable[[str], None],
        is_canarys: Callable[[Response], bool],
        is_requests: Callable[[bytes, bytes | None], Awaitable[bool]] | None,
        accept_dry_run: bool,
    ) -> None:
        """`heard` is called with the correlation id of each status for this agent, changed or not.

        `is_canarys` takes a response that answers a canary, and returns False for every other one;
        `is_requests` does so for a message that answers a request about a workflow.
        """
        self.counts = AnswerCounts()
        self._replies = Replies(addressing, self.counts)
        self._addressing = addressing
        self._triggers = triggers
        self._rules = rules
        self._ledger = ledger
        self._chores = chores
        self._clock = clock
        self._trouble = trouble
        self._heard = heard
        self._is_canarys = is_canarys
        self._is_requests = is_requests
        self._accept_dry_run = accept_dry_run
        self._dry_run_noticed: set[bool] = set()  # True: logged for answers that take a trigger; False: that refuse one
        self._held: deque[tuple[Link, Sequence[Message]]] = deque()  # not processed yet: at most the receive maximum
        self._early: dict[str, Life] = {}  # lives of triggers that held messages settled while the ledger failed
        self._failing = False
        self._retry: asyncio.TimerHandle | None = None

    def received(self, link: Link, messages: Sequence[Message]) -> None:
        """Take messages from the broker; they are processed in order by a chore."""
        self._chores.leave(lambda: self._take_up(link, messages))

    async def _take_up(self, link: Link, messages: Sequence[Message]) -> None:
        # Messages of an earlier connection that are not acknowledged are delivered again on this one.
        self._held = deque(held for held in self._held if held[0] is link)
        starts = range(0, len(messages), PART_MESSAGES)
        self._held.extend((link, messages[start : start + PART_MESSAGES]) for start in starts)
        await self._work_off()

    async def _work_off(self) -> None:
        """Process the held messages in order. While the ledger fails, only their triggers leave."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        try:
            while self._held:
                link, messages = self._held[0]
                replies: list[Publication] = []
                for message in messages:
                    if message.topic == self._addressing.response_topic:
                        if not await self._answers_request(message):
                            await self._response(message)
                    elif (reply := await self._status(message)) is not None:
                        replies += self._replies.to(message, reply)
                self._held.popleft()
                self._ledger.when_kept(len(messages), partial(_done, link, messages, replies))
        except StorageFailed as exc:
            if not self._failing:
                _log.warning("answers cannot be kept, trying again: %s", exc, extra={"event": "downlink_unkept"})
            self._failing = True
            self._settle_held()
            self._retry = asyncio.get_running_loop().call_later(_RETRY_S, self._chores.leave, self._work_off)
        else:
            self._failing = False
            self._early.clear()

    def _settle_held(self) -> None:
        """Settle the triggers that the held messages settle, so that the outbox does not wait for the ledger."""
        for _, messages in self._held:
            for message in messages:
                try:
                    if message.topic == self._addressing.response_topic:
                        response = parse_response(message.payload, message.correlation_data)
                        correlation, taken, dry_run = (
                            response.correlation_id,
                            response.code == _SUCCESS,
                            response.dry_run,
                        )
                    else:
                        status = parse_status(message.payload)
                        correlation, taken, dry_run = status.correlation_id, True, status.dry_run
                except MessageError:
                    continue  # logged when it is processed
                entry = self._triggers.find(correlation)
                if entry is not None and taken and (self._accept_dry_run or not dry_run):
                    life = self._triggers.begun(entry)
                    if life is not None:
                        self._early[correlation] = life
                    self._triggers.answer_came(entry)
                    self._triggers.settle(entry)

    async def _answers_request(self, message: Message) -> bool:
        """Whether a response is not about a trigger, but about a workflow that this agent asked to manage."""
        if self._is_requests is None or _REQUEST_ID not in message.payload:
            return False
        return await self._is_requests(message.payload, message.correlation_data)

    async def _response(self, message: Message) -> None:
        try:
            response = parse_response(message.payload, message.correlation_data)
        except MessageError as exc:
            self._malformed(message, exc)
            return
        if self._is_canarys(response):
            return
        self.counts.responses += 1
        entry = self._triggers.find(response.correlation_id)
        if response.trigger_topic and self._redirected(entry, response):
            return
        rehearsal = response.dry_run and not self._accept_dry_run
        rule, namespace = self._concerns(entry)
        if not rehearsal:
            self._engine_answered(entry)
        self._triggers.answered(response.code, rule, namespace, rehearsal=rehearsal)
        if rehearsal:
            refusal = _reason(response) if response.code != _SUCCESS else ""
            self._rehearsal(response.correlation_id, refusal)
            if entry is not None:
                self._trouble.rehearsed(refusal)
                self._triggers.rest(entry, causes.REHEARSAL, response.retry_after_s, said=refusal)
        elif response.code == _SUCCESS:
            await self._taken(response)
        elif entry is None:
            extra = {"event": "response_unexpected", "foreign": True, "correlation_id": response.correlation_id}
            _log.debug("answer to a trigger that is not in flight", extra=extra)
        elif response.retryable:
            self._deferred(entry, response, causes.of_answer(response.code, namespace, rule))
        else:
            reason = cut(": ".join(text for text in (response.error, response.detail) if text))
            self._triggers.give_up(entry, reason or f"refused by the engine ({response.code})", response.code)

    def _engine_answered(self, entry: TriggerInFlight | None) -> None:
        """The whole way works: the engine, or a dispatcher, has answered."""
        self._trouble.over()
        if entry is not None:
            self._triggers.answer_came(entry)

    def _deferred(self, entry: TriggerInFlight, response: Response, cause: causes.Cause) -> None:
        """The engine, or the dispatcher, asks us to send the trigger again later."""
        _log.info(
            "trigger %s is sent again: %d %s",
            response.correlation_id,
            response.code,
            response.detail or response.error,
            extra={
                "event": "trigger_deferred",
                "foreign": True,
                "correlation_id": response.correlation_id,
                "code": response.code,
            },
        )
        self._trouble.deferred(_reason(response))
        self._triggers.rest(entry, cause, response.retry_after_s, said=_reason(response))

    def _redirected(self, entry: TriggerInFlight | None, response: Response) -> bool:
        """Whether an answer only says where to publish; anybody can provoke one in this agent's name."""
        if response.code != _FORBIDDEN or not response.retryable:
            return False
        route = self._addressing.route
        sent_on = entry.topic if entry is not None else ""
        asked = route.asked(response.trigger_topic, sent_on, asyncio.get_running_loop().time())
        if asked is RedirectVerdict.MOVED:
            notices.topic_learned(route.topic)
        if entry is not None and asked in {RedirectVerdict.MOVED, RedirectVerdict.LATE}:
            self._triggers.resend(entry)
        self.counts.redirected += asked is not RedirectVerdict.NOTHING
        self.counts.redirects_ignored += asked is RedirectVerdict.NOT_OURS
        return asked is not RedirectVerdict.NOTHING

    def _concerns(self, entry: TriggerInFlight | None) -> tuple[str, str]:
        """The rule and namespace that an answer to this trigger is about; empty if the trigger is not in flight."""
        name = entry.item.rule if entry is not None else ""
        rule = self._rules.get(name)
        return name, rule.namespace if rule is not None else ""

    async def _taken(self, response: Response) -> None:
        correlation = response.correlation_id
        begun = self._begun(correlation)
        before = await self._ledger.get(correlation)
        at = self._clock.now()

        def step(known: Life | None) -> Life | None:
            # It may have been leased only while the ledger was read: after a crash answers wait in the session.
            life = known or begun or self._begun(correlation)
            return lifecycle.answered(life, response, at) if life is not None else None

        await self._ledger.change(correlation, step)
        self._leaves(correlation)
        if before is not None:
            await self._triggers.late(before.report)

    def _begun(self, correlation: str) -> Life | None:
        """The life of a trigger that is in flight, or was settled before its messages were processed."""
        return self._early.get(correlation) or self._triggers.begun(self._triggers.find(correlation))

    def _leaves(self, correlation: str) -> None:
        """Release a trigger after what became of it was noted: see `Outbox.before_checkpoint`."""
        entry = self._triggers.find(correlation)
        if entry is not None:
            self._triggers.settle(entry)

    async def _status(self, message: Message) -> StatusReply | None:
        """Process a status; returns the reply, which is sent if asked for, or None if others reply to it."""
        alone = message.topic == self._addressing.status_topic  # otherwise other agents get it too
        try:
            status = parse_status(message.payload)
        except MessageError as exc:
            self._malformed(message, exc)
            return StatusReply(400, error=STATUS_INVALID) if alone else None
        self.counts.statuses += 1
        if status.dry_run and not self._accept_dry_run:
            self._rehearsal(status.correlation_id)
            return None
        ours = await self._progress(status)
        return StatusReply(_SUCCESS, status=STATUS_RECEIVED) if ours or alone else None

    async def _progress(self, status: Status) -> bool:
        """Advance a trigger's life; False if the status is about none of this agent's triggers."""
        known = await self._ledger.get(status.correlation_id) if status.correlation_id else None
        if known is None:
            known = await self._ledger.by_workflow(status.workflow_id)
        correlation = known.report.correlation_id if known is not None else status.correlation_id
        entry = self._triggers.find(correlation)
        if known is None and entry is None and correlation not in self._early:
            return False
        begun = self._begun(correlation)
        if entry is not None:
            self._trouble.over()
            self._triggers.answer_came(entry)
            self._triggers.answered(_SUCCESS, *self._concerns(entry), rehearsal=False)
        at = self._clock.now()

        def step(life: Life | None) -> Life | None:
            life = life or begun
            return lifecycle.progressed(life, status, at) if life is not None else None

        await self._ledger.change(correlation, step)
        self._leaves(correlation)
        self._heard(correlation)
        if known is not None:
            await self._triggers.late(known.report)
        return True

    def _rehearsal(self, correlation: str, refusal: str = "") -> None:
        """Count and log an answer of a dry-run dispatcher. `refusal`: code and reason, if it refuses the trigger."""
        self.counts.dry_run += 1
        if bool(refusal) in self._dry_run_noticed:
            return
        self._dry_run_noticed.add(bool(refusal))
        _log.warning(
            "a dry-run dispatcher %s, which does not count: triggers are kept until a real engine takes them; "
            "for a rehearsal set uplink.accept_dry_run = true",
            f"refuses trigger {correlation} ({shown(refusal)})" if refusal else f"answers (trigger {correlation})",
            extra={"event": "dry_run_ignored", "correlation_id": correlation},
        )

    def _malformed(self, message: Message, error: MessageError) -> None:
        self.counts.malformed += 1
        _log.warning(
            "ignored a message on %s: %s",
            shown(message.topic),
            error,
            extra={"event": "downlink_malformed", "foreign": True, "topic": shown(message.topic)},
        )


def _done(link: Link, messages: Sequence[Message], replies: Sequence[Publication]) -> None:
    """Acknowledge messages whose content the ledger has kept, and send the replies that they asked for."""
    link.acknowledge(messages)
    if replies and link.room:
        link.publish(replies[: link.room])


def _reason(response: Response) -> str:
    """The code and the reason of an answer, in the engine's words."""
    return " ".join([str(response.code), ": ".join(text for text in (response.error, response.detail) if text)]).strip()
