"""The dispatcher's counters."""

from __future__ import annotations

import msgspec

from edgeagent.dispatcher.capacity import LimitUse
from edgeagent.dispatcher.gate import GateState
from edgeagent.ports.link import UNHEARD, PublishOutcome, PublishRefused
from edgeagent.wire.messages import Response


class DispatcherStats(msgspec.Struct):
    """What was done since the start, and the present state.

    `answered`: responses that the broker accepted, by their code, without those to `canaries`; `duplicates`: those of
    them that reported a duplicate; `unheard`: responses whose topic nobody subscribed to. `unanswerable`: messages that
    name no sender to answer. `refused`: responses and statuses that the broker refused. `statuses_published` and
    `statuses_dropped`: of a dry run; a status counts for each of its two topics. Present state: `connected` to
    the broker, the `gate` to the engine, how many triggers are `waiting` for it or for room, and how much of the
    `limits` of `engine.max_active` is used.
    """

    received: int = 0
    unanswerable: int = 0
    answered: dict[int, int] = {}
    duplicates: int = 0
    canaries: int = 0
    unheard: int = 0
    refused: int = 0
    statuses_published: int = 0
    statuses_dropped: int = 0
    connected: bool = False
    gate: GateState = GateState.OPEN
    waiting: int = 0
    limits: tuple[LimitUse, ...] = ()

    def response_taken(self, response: Response, outcome: PublishOutcome) -> None:
        """Count a response that the broker has answered."""
        if response.canary:
            self.canaries += not isinstance(outcome, PublishRefused)
        elif not isinstance(outcome, PublishRefused):
            self.answered[response.code] = self.answered.get(response.code, 0) + 1
            self.duplicates += bool(response.duplicate)
        self.unheard += outcome is UNHEARD
