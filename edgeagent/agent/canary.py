"""The canary: a trigger that starts nothing, sent from time to time to see whether the whole way works. Pure.

That a connection stands says only that the broker is there. A canary takes the way of every trigger, to the dispatcher
and back, and its answer takes the way of every response. It is in no account and on no disk, and there is one at most:
the next one takes the place of one that was not answered.

Times are seconds of one monotonic clock, except those that are shown, which are texts.
"""

from __future__ import annotations

import math

import msgspec

from edgeagent.common.foreign import shown
from edgeagent.wire.messages import Response

_SUCCESS = 200


class CanaryReport(msgspec.Struct, frozen=True):
    """What is known by canaries. `sent`, `answered`: when (RFC 3339), None for never since the start.

    `round_trip_s`: of the last one that was answered. `dry_run`: a dry-run dispatcher answered it, which starts
    nothing. `problem`: why the last one was not answered; empty: it was, or none was sent yet.
    """

    interval_s: float
    sent: str | None = None
    answered: str | None = None
    round_trip_s: float | None = None
    dry_run: bool = False
    problem: str = ""


class Canary:
    """Owns the one canary that may be out, and what is known from all of them."""

    def __init__(self, interval_s: float, patience_s: float) -> None:
        """`patience_s`: how long an answer may take before its absence is a problem."""
        self._patience_s = patience_s
        self._report = CanaryReport(interval_s)
        self._out = ""  # its correlation id; empty: none is out
        self._sent_at = -math.inf

    def due_at(self) -> float:
        """When the next one is to be sent, if there is a connection."""
        return self._sent_at + self._report.interval_s

    def sent(self, correlation_id: str, now: float, at: str) -> None:
        """Note that one was sent, which is given up for the next one if it is not answered by then."""
        report = self.report(now)  # with the silence about the one before
        self._report = msgspec.structs.replace(report, sent=at)
        self._out, self._sent_at = correlation_id, now

    def lost(self, why: str) -> None:
        """Note that the one that is out will not be answered."""
        if self._out:
            self._out = ""
            self._report = msgspec.structs.replace(self._report, problem=shown(why))

    def again(self) -> None:
        """Send the one that is out again, because the dispatcher asks for another topic."""
        self._out, self._sent_at = "", -math.inf

    def is_out(self, correlation_id: str) -> bool:
        """Whether this is the one that is out."""
        return bool(self._out) and correlation_id == self._out

    def answered(self, response: Response, now: float, at: str) -> None:
        """Take the answer to the one that is out.

        A final refusal is an answer too: a dispatcher of an earlier version takes a canary for a trigger without a
        workflow.
        """
        self._out = ""
        if response.code != _SUCCESS and response.retryable:
            why = shown(f"the dispatcher answers {response.code} {response.error or response.detail}")
            self._report = msgspec.structs.replace(self._report, problem=why)
            return
        self._report = msgspec.structs.replace(
            self._report,
            answered=at,
            round_trip_s=round(now - self._sent_at, 3),
            dry_run=response.dry_run,
            problem="",
        )

    def report(self, now: float) -> CanaryReport:
        """What is known now."""
        if not self._out or now - self._sent_at < self._patience_s:
            return self._report
        return msgspec.structs.replace(self._report, problem=f"no answer came within {self._patience_s:g} s")
