"""Takes requests about workflows from the broker and answers them (contract section 15).

What it promises is what `dispatcher` promises for triggers: a request is acknowledged only after the broker has
accepted its answer, so whatever happens in between, the broker delivers it again. A repeated request gets the answer
that the first one got, from the memory of `answered` or because the engine's state shows what was done
(`operations`).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import NamedTuple, Protocol

import msgspec

from edgeagent.common.backoff import full_jitter
from edgeagent.dispatcher.answered import Answered, Key
from edgeagent.dispatcher.gate import HOLD_S
from edgeagent.dispatcher.manage_check import CheckedRequest, check_request
from edgeagent.dispatcher.operations import Operations
from edgeagent.dispatcher.policy import Policy
from edgeagent.dispatcher.verdict import RETRY_AFTER_S, UNAUTHORIZED
from edgeagent.errors import EngineRefused, EngineUnavailable
from edgeagent.ports.link import Message, PublishOutcome
from edgeagent.wire import topics
from edgeagent.wire.manage import ManageRequest, ManageResponse

# Requests are few, and starting workflows comes first.
MAX_CONCURRENT = 4
_BASE_S, _CAP_S = 0.5, 5.0
_SUCCESS = 200

_encoder = msgspec.json.Encoder()
log = logging.getLogger(__name__)


class SendAnswer(Protocol):
    """See `Dispatcher.send`."""

    def __call__(
        self,
        topic: str,
        payload: bytes,
        *,
        on_taken: Callable[[PublishOutcome], None] | None = None,
        wanted: Callable[[], bool] | None = None,
        correlation_data: bytes | None = None,
    ) -> None:
        """Publish a message at QoS 1."""


class _Received(NamedTuple):
    message: Message
    checked: CheckedRequest
    connection: int


class Manager:
    """Owns the requests that were received and not acknowledged; shares the dispatcher's connection (`LinkSharer`).

    `run` must be running. Requests of an earlier connection are forgotten, but what was begun is finished, and its
    answer remembered.

    Attributes:
        counts: the requests since the start, by operation ("unknown" if it cannot be read) and outcome: `done`,
            `refused`, `later` (to be asked again), `repeated` (answered as before), `unanswerable`.
    """

    def __init__(
        self,
        operations: Operations | None,
        policy: Policy,
        *,
        bind_agent: bool,
        send: SendAnswer,
        acknowledge: Callable[[Sequence[Message]], None],
        hold_s: float = HOLD_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """A manager without a connection.

        Args:
            operations: does what is asked for; None: nothing can be managed, because this is a dry run.
            policy: decides who may do what.
            bind_agent: take the agent from the topic and refuse a message that names another one.
            send: publishes an answer.
            acknowledge: acknowledges requests; those of an earlier connection it ignores.
            hold_s: how long an operation is tried again while the engine does not answer.
            now: monotonic seconds.
        """
        self._operations = operations
        self._policy = policy
        self._bind_agent = bind_agent
        self._send = send
        self._acknowledge = acknowledge
        self._hold_s = hold_s
        self._now = now
        self._answered = Answered()
        self._waiting: deque[_Received] = deque()
        self._in_progress: dict[Key, list[_Received]] = {}
        self._connection = 0
        self._connected = False
        self._away = False  # the engine did not answer for `hold_s`: until it does, each request is tried once
        self._draining = False
        self._work = asyncio.Event()
        self._settled = asyncio.Event()
        self._unanswered = 0
        self.counts: Counter[tuple[str, str]] = Counter()

    # Called by the dispatcher.

    def on_up(self) -> None:
        """Note that the connection is up and subscribed."""
        self._connected = True

    def on_down(self) -> None:
        """Forget what was received: the broker delivers it again."""
        self._connected = False
        self._connection += 1
        self._waiting.clear()
        self._unanswered = 0
        self._settled.set()

    def on_messages(self, messages: Sequence[Message]) -> list[Message]:
        """Take the requests about workflows; returns the other messages."""
        others = [message for message in messages if not topics.is_manage(message.topic)]
        if len(others) == len(messages) or self._draining:
            return others
        for message in messages:
            if topics.is_manage(message.topic):
                self._unanswered += 1
                checked = check_request(message, self._policy, bind_agent=self._bind_agent)
                self._waiting.append(_Received(message, checked, self._connection))
        self._work.set()
        return others

    async def drain(self) -> None:
        """Take no more requests; return when those in progress are answered, or the connection is gone."""
        self._draining = True
        self._unanswered -= len(self._waiting)
        self._waiting.clear()
        while self._connected and self._unanswered:
            self._settled.clear()
            await self._settled.wait()

    async def run(self) -> None:
        """Answer requests until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                while self._waiting and len(self._in_progress) < MAX_CONCURRENT:
                    self._take(self._waiting.popleft(), group)
                self._work.clear()
                await self._work.wait()

    # One request.

    def _take(self, received: _Received, group: asyncio.TaskGroup) -> None:
        result = received.checked.result
        if received.checked.reply_topic is None:
            self._leave_unanswered(received)
        elif isinstance(result, ManageResponse):
            self._answer(received, result, _encoder.encode(result))
        else:
            self._begin(received, result, group)

    def _begin(self, received: _Received, request: ManageRequest, group: asyncio.TaskGroup) -> None:
        key, digest = (request.agent, request.request_id), _digest(request)
        known = self._answered.find(key, digest, self._now())
        if isinstance(known, bytes):
            self.counts[request.operation, "repeated"] += 1
            self._publish(received, known)
        elif known or self._is_another(key, digest):
            detail = "this request_id was used for another request: each one needs its own"
            refused = ManageResponse(request.request_id, 409, error="Request id is taken", detail=detail)
            refused = msgspec.structs.replace(refused, retryable=False)
            self._answer(received, refused, _encoder.encode(refused))
        elif key in self._in_progress:
            self._in_progress[key].append(received)  # it was delivered again meanwhile
        else:
            self._in_progress[key] = [received]
            group.create_task(self._perform(key, digest, request))

    def _is_another(self, key: Key, digest: bytes) -> bool:
        """Whether the request in progress under this id is another one."""
        if (begun := self._in_progress.get(key)) is None:
            return False
        first = begun[0].checked.result
        return isinstance(first, ManageRequest) and _digest(first) != digest

    async def _perform(self, key: Key, digest: bytes, request: ManageRequest) -> None:
        try:
            response = await self._outcome(request)
        finally:
            everyone = self._in_progress.pop(key)
            self._work.set()
        payload = _encoder.encode(response)
        if not response.retryable:
            self._answered.keep(key, digest, payload, self._now())
        for received in everyone:
            self._answer(received, response, payload)

    async def _outcome(self, request: ManageRequest) -> ManageResponse:
        """The answer; the operation is tried again for a while if the engine does not answer."""
        if self._operations is None:
            detail = "a dry-run dispatcher starts no workflows, so there are none to manage"
            return ManageResponse(
                request.request_id, 501, error="Dry run", detail=detail, retryable=False, dry_run=True
            )
        give_up_s, failures = self._now() + self._hold_s, 0
        while True:
            try:
                response = await self._operations.perform(request)
            except (EngineUnavailable, EngineRefused) as exc:
                wait_s = full_jitter(failures, random.random(), base_s=_BASE_S, cap_s=_CAP_S)  # noqa: S311  jitter
                unauthorized = isinstance(exc, EngineRefused) and exc.status == UNAUTHORIZED
                if unauthorized or self._away or self._draining or self._now() + wait_s >= give_up_s:
                    return self._unavailable(request, exc)
            else:
                self._away = False
                return response
            await asyncio.sleep(wait_s)
            failures += 1

    def _unavailable(self, request: ManageRequest, error: EngineUnavailable | EngineRefused) -> ManageResponse:
        self._away = True
        if isinstance(error, EngineRefused):
            said, wait_s = error.message, RETRY_AFTER_S
        else:
            said, wait_s = error.reason, error.retry_after_s or RETRY_AFTER_S
        log.warning(
            "a request to %s a workflow is to be tried again: %s",
            request.operation,
            error,
            extra={"event": "manage_engine_unavailable", "agent": request.agent, "request_id": request.request_id},
        )
        detail = f"the workflow engine does not answer at the moment, try again. {' '.join(said.split())}"
        return ManageResponse(
            request.request_id,
            503,
            error="Engine is not available",
            detail=detail[:500],
            retryable=True,
            retry_after_s=wait_s,
        )

    def _answer(self, received: _Received, response: ManageResponse, payload: bytes) -> None:
        result = received.checked.result
        self.counts[received.checked.operation, _outcome_of(response)] += 1
        extra = {
            "event": "manage_answered",
            "foreign": True,
            "operation": received.checked.operation,
            "agent": result.agent if isinstance(result, ManageRequest) else "",
            "request_id": response.request_id,
            "code": response.code,
            "workflow_id": response.workflow.workflow_id if response.workflow is not None else "",
            "detail": response.detail,
        }
        log.info("request on %s answered: %d", received.message.topic, response.code, extra=extra)
        self._publish(received, payload)

    def _publish(self, received: _Received, payload: bytes) -> None:
        connection, message = received.connection, received.message
        topic = received.checked.reply_topic
        if connection != self._connection or topic is None:
            return

        def taken(_: PublishOutcome) -> None:
            if connection == self._connection:
                self._acknowledge([message])
                self._settle()

        self._send(
            topic,
            payload,
            on_taken=taken,
            wanted=lambda: connection == self._connection,
            correlation_data=message.correlation_data,
        )

    def _leave_unanswered(self, received: _Received) -> None:
        result = received.checked.result
        self.counts[received.checked.operation, "unanswerable"] += 1
        log.warning(
            "a message that is no request about a workflow, and nothing in it tells which one to answer",
            extra={
                "event": "manage_unanswerable",
                "foreign": True,
                "topic": received.message.topic,
                "problem": result.detail if isinstance(result, ManageResponse) else "",
            },
        )
        self._acknowledge([received.message])
        self._settle()

    def _settle(self) -> None:
        self._unanswered -= 1
        self._settled.set()


def _outcome_of(response: ManageResponse) -> str:
    if response.code == _SUCCESS:
        return "done"
    return "later" if response.retryable else "refused"


def _digest(request: ManageRequest) -> bytes:
    """What two deliveries of one request have in common."""
    return blake2b(_encoder.encode(msgspec.structs.replace(request, reply_to="")), digest_size=16).digest()
