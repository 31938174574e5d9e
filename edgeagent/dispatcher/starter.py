"""Brings orders to the engine through the gate: holds them during a short outage, and probes during a long one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

import msgspec

from edgeagent.common.backoff import full_jitter
from edgeagent.dispatcher.engine import Engine, Order
from edgeagent.dispatcher.gate import HOLD_S, Gate, GateState
from edgeagent.dispatcher.outcome import Created, EngineForbade, Outcome, Overloaded
from edgeagent.dispatcher.refusals import Refusals
from edgeagent.dispatcher.verdict import UNAUTHORIZED, verdict
from edgeagent.errors import EngineRefused, EngineUnavailable

# The waits between the attempts of one order. The last attempt is made when the order may be held no longer.
_RETRY_BASE_S = 0.5
_RETRY_CAP_S = 5.0

log = logging.getLogger(__name__)


class Starter:
    """Owns one engine's gate. `run` must be running, or a gate that has closed never opens again.

    An order without a name is tried once only, since a second attempt could start a second workflow.
    """

    def __init__(self, engine: Engine, *, opened: Callable[[], None], hold_s: float = HOLD_S) -> None:
        """A starter with an open gate.

        Args:
            engine: the engine that starts the workflows.
            opened: called when orders are taken again.
            hold_s: how long an order is tried again while the engine does not answer, and how long that must have
                lasted before the gate closes.
        """
        self._engine = engine
        self._opened = opened
        self._hold_s = hold_s
        self._gate = Gate(hold_s)
        self._refusals = Refusals()
        self._closed = asyncio.Event()
        self._reported_closed = False
        self._stop_holding = asyncio.Event()

    @property
    def state(self) -> GateState:
        """The gate's state."""
        return self._gate.state

    @property
    def takes(self) -> bool:
        """Whether orders are taken now."""
        return self._gate.takes

    def stop_holding(self) -> None:
        """From now on give back at once an order that the engine does not answer: the process is about to end."""
        self._stop_holding.set()

    async def start(self, order: Order, wanted: Callable[[], bool]) -> Outcome | None:
        """Start the order's workflow, trying again for `hold_s` while the engine does not answer.

        An order without a name is tried once only: the request whose answer was lost may have started the workflow, and
        another request would start a second one.

        Args:
            order: what to start.
            wanted: whether the answer is still wanted; called before each further attempt.

        Returns:
            The outcome; None if there is no answer now, because the engine refuses our credentials or because the
            answer is no longer wanted. The workflow may then have been started.
        """
        loop = asyncio.get_running_loop()
        give_up_s: float | None = None
        failures = 0
        while True:
            outcome = await self._attempt(order)
            if not isinstance(outcome, Overloaded):
                return outcome
            now_s = loop.time()
            if give_up_s is None:
                give_up_s = now_s + self._hold_s
            if not order.name or now_s >= give_up_s:
                return outcome
            wait_s = full_jitter(failures, _fraction(), base_s=_RETRY_BASE_S, cap_s=_RETRY_CAP_S)
            await self._pause(min(wait_s, give_up_s - now_s))
            if self._stop_holding.is_set() or not wanted():
                return None
            failures += 1
            order = msgspec.structs.replace(order, attempt=0)  # the attempt that failed may have started it

    async def run(self) -> None:
        """Probe the engine while the gate is closed, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = self._gate.next_probe_s
            if due_s is None:
                self._closed.clear()
                await self._closed.wait()
            elif due_s > loop.time():
                await asyncio.sleep(due_s - loop.time())
            else:
                await self._probe()

    async def _attempt(self, order: Order) -> Outcome | None:
        outcome: Outcome | None
        try:
            outcome = await self._engine.create(order)
        except (EngineRefused, EngineUnavailable) as exc:
            outcome = verdict(exc, order)
            now_s = asyncio.get_running_loop().time()
            if outcome is None:
                self._report(self._gate.unauthorized(now_s, _fraction()), exc)
                return None
            if isinstance(outcome, Overloaded):
                self._report(self._gate.unavailable(now_s, _fraction()), exc)
                return outcome
        self._report(self._gate.answered())
        return self._with_wait(order, outcome)

    def _with_wait(self, order: Order, outcome: Outcome) -> Outcome:
        """The outcome, with the wait that fits if it is a refusal."""
        key = order.namespace, order.template
        if isinstance(outcome, Created):
            self._refusals.allowed(key)
        elif isinstance(outcome, EngineForbade) and not outcome.by_quota:
            wait_s = self._refusals.refused(key, asyncio.get_running_loop().time())
            return msgspec.structs.replace(outcome, retry_after_s=wait_s)
        return outcome

    async def _probe(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self._engine.probe()
        except (EngineRefused, EngineUnavailable) as exc:
            self._gate.probe_failed(loop.time(), _fraction())
            log.debug("a probe of the engine failed: %s", exc, extra={"event": "engine_probe_failed"})
            if isinstance(exc, EngineRefused) and exc.status == UNAUTHORIZED:
                self._report(self._gate.unauthorized(loop.time(), _fraction()), exc)
        else:
            self._report(self._gate.probe_succeeded())

    async def _pause(self, wait_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._stop_holding.wait()

    def _report(self, state: GateState | None, error: EngineRefused | EngineUnavailable | None = None) -> None:
        """Act on a change of the gate. Holding is not logged: it usually ends after one more attempt."""
        if state in {GateState.CLOSED, GateState.UNAUTHORIZED}:
            self._reported_closed = True
            self._closed.set()
        match state:
            case GateState.CLOSED:
                log.warning(
                    "the workflow engine is not available, so no triggers are taken until it is: %s",
                    error,
                    extra={"event": "engine_unavailable"},
                )
            case GateState.UNAUTHORIZED:
                log.error(
                    "the workflow engine refuses our credentials, so no triggers are taken and none is answered until "
                    "the token is corrected: %s",
                    error,
                    extra={"event": "engine_unauthorized"},
                )
            case GateState.OPEN:
                if self._reported_closed:
                    log.info("the workflow engine is back, triggers are taken", extra={"event": "engine_available"})
                self._reported_closed = False
                self._opened()
            case _:
                pass


def _fraction() -> float:
    return random.random()  # noqa: S311  jitter is no secret
