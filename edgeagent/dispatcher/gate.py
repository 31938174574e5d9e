"""Whether triggers are taken to the engine: a state machine. Pure: takes values and a time, returns the new state.

    open ──unavailable──▶ holding ──unavailable for hold_s──▶ closed
     ▲                       │ answered                          │ unauthorized, from any state
     ├───────────────────────┘                                   ▼
     └──────── answered, or a probe succeeds ◀── closed    unauthorized ── only a probe that succeeds ──▶ open

* **open**, **holding**: triggers are taken. While holding, those in progress are tried again.
* **closed**: no trigger is taken. Those that were in progress have been answered with 503, or soon are.
* **unauthorized**: no trigger is taken or answered. An answer to a request that was already under way does not open the
  gate: the request may have used the old token.

An order whose creation always fails, while those of others succeed, never closes the gate: each success resets it.
"""

from __future__ import annotations

from enum import StrEnum

from edgeagent.common.backoff import full_jitter

# Contract section 7: how long an order is tried again before it is given back, and before the gate closes.
HOLD_S = 30.0
PROBE_BASE_S = 1.0
PROBE_CAP_S = 30.0


class GateState(StrEnum):
    """The states of the gate."""

    OPEN = "open"
    HOLDING = "holding"
    CLOSED = "closed"
    UNAUTHORIZED = "unauthorized"


class Gate:
    """The gate before one engine. Each method that may change the state returns the new one, or None if it stays.

    `now_s` is a monotonic time; `fraction`, a random number from 0 to 1, spreads the probes of many dispatchers.
    """

    def __init__(self, hold_s: float = HOLD_S) -> None:
        self._hold_s = hold_s
        self._state = GateState.OPEN
        self._unavailable_since_s = 0.0
        self._unavailable_last_s = 0.0
        self._probes_failed = 0
        self._next_probe_s: float | None = None

    @property
    def state(self) -> GateState:
        """The present state."""
        return self._state

    @property
    def takes(self) -> bool:
        """Whether new triggers are taken to the engine."""
        return self._state in {GateState.OPEN, GateState.HOLDING}

    @property
    def next_probe_s(self) -> float | None:
        """When to probe the engine next; None while triggers are taken, which serve as probes."""
        return self._next_probe_s

    def answered(self) -> GateState | None:
        """Note that the engine has answered an order, whatever the answer."""
        if self._state in {GateState.OPEN, GateState.UNAUTHORIZED}:
            return None
        return self._to(GateState.OPEN)

    def unavailable(self, now_s: float, fraction: float) -> GateState | None:
        """Note that the engine has not answered an order, or not as an engine does."""
        if not self.takes:
            return None
        # No order was tried between two failures so far apart: the first does not show how long the second has lasted.
        if self._state is GateState.OPEN or now_s - self._unavailable_last_s > self._hold_s:
            self._unavailable_since_s = now_s
        self._unavailable_last_s = now_s
        if now_s - self._unavailable_since_s < self._hold_s:
            return self._to(GateState.HOLDING)
        return self._close(GateState.CLOSED, now_s, fraction)

    def unauthorized(self, now_s: float, fraction: float) -> GateState | None:
        """Note that the engine refused our credentials, for an order or for a probe."""
        if self._state is GateState.CLOSED:
            return self._to(GateState.UNAUTHORIZED)  # the probes continue as scheduled
        if self._state is GateState.UNAUTHORIZED:
            return None
        return self._close(GateState.UNAUTHORIZED, now_s, fraction)

    def probe_failed(self, now_s: float, fraction: float) -> None:
        """Note that a probe failed: the next one comes later."""
        self._probes_failed += 1
        self._next_probe_s = now_s + full_jitter(self._probes_failed, fraction, base_s=PROBE_BASE_S, cap_s=PROBE_CAP_S)

    def probe_succeeded(self) -> GateState | None:
        """Note that the engine is available and accepts our credentials."""
        return self._to(GateState.OPEN)

    def _close(self, state: GateState, now_s: float, fraction: float) -> GateState | None:
        self._probes_failed = -1
        self.probe_failed(now_s, fraction)
        return self._to(state)

    def _to(self, state: GateState) -> GateState | None:
        if state is self._state:
            return None
        self._state = state
        if self.takes:
            self._next_probe_s = None
        return state
