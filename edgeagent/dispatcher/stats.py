"""What a dispatcher counts."""

from __future__ import annotations

import msgspec

from edgeagent.dispatcher.gate import GateState
from edgeagent.ports.link import UNHEARD, PublishOutcome, PublishRefused
from edgeagent.wire.messages import Response


class DispatcherStats(msgspec.Struct):
    """What was done since the start, and how things stand.

    `answered`: responses that the broker took, by their code; `duplicates` of them said so, and to the topics of
    `unheard` of them nobody subscribed. `unanswerable`: messages that told nobody to answer. `refused`: responses and
    statuses that the broker refused. `statuses_published` and `statuses_dropped`: of a dry run; a status counts for
    each of its two topics. Now: `connected` to the broker, the `gate` to the engine, and how many triggers are
    `waiting` for it or for room in their namespace.
    """

    received: int = 0
    unanswerable: int = 0
    answered: dict[int, int] = {}
    duplicates: int = 0
    unheard: int = 0
    refused: int = 0
    statuses_published: int = 0
    statuses_dropped: int = 0
    connected: bool = False
    gate: GateState = GateState.OPEN
    waiting: int = 0

    def response_taken(self, response: Response, outcome: PublishOutcome) -> None:
        """The broker has answered the publication of a response."""
        if not isinstance(outcome, PublishRefused):
            self.answered[response.code] = self.answered.get(response.code, 0) + 1
            self.duplicates += bool(response.duplicate)
        self.unheard += outcome is UNHEARD
