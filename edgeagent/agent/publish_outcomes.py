"""Handles the broker's acknowledgements of triggers.

A trigger that was taken waits for the engine's answer, or is settled. One that nobody subscribes to rests. One that was
refused rests, goes back to the configured topic, or becomes a dead letter if the broker would refuse it again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from edgeagent.agent import notices
from edgeagent.agent.causes import BUSY, UNHEARD
from edgeagent.agent.counts import TriggerCounts
from edgeagent.agent.inflight import TriggerInFlight
from edgeagent.agent.route import Route
from edgeagent.agent.triggers import Triggers
from edgeagent.agent.trouble import Trouble
from edgeagent.ports.link import TAKEN, Ack, PublishRefused

# That nobody subscribes is logged this often, not for each trigger.
_REPEATED_AFTER_S = 600.0

_log = logging.getLogger(__name__)


class PublishOutcomes:
    """Applies the broker's acknowledgements to triggers in flight.

    Owns whether it is logged that nobody subscribes. Promises that each acknowledgement of a trigger in flight is
    counted once: as taken, unheard or refused. Must never take an acknowledgement for the engine's answer.
    """

    def __init__(self, triggers: Triggers, route: Route, trouble: Trouble, counts: TriggerCounts) -> None:
        self._triggers = triggers
        self._route = route
        self._trouble = trouble
        self._counts = counts
        self._unheard_noticed_at: float | None = None  # None while somebody subscribes

    def take(self, acks: Sequence[Ack], now: float) -> int:
        """Apply acknowledgements; returns how many were for triggers in flight."""
        answered, unheard, taken = 0, 0, list[TriggerInFlight]()
        for ack, entry in zip(acks, self._triggers.by_tokens([ack.token for ack in acks]), strict=True):
            if entry is None:
                continue
            answered += 1
            outcome = ack.outcome
            if outcome is TAKEN:
                taken.append(entry)
            elif isinstance(outcome, PublishRefused):
                self._refused(entry, outcome, now)
            else:
                unheard += 1
                self._unheard(entry, now)
        if taken:
            if not self._route.is_proven:
                self._route.taken(entry.topic for entry in taken)
            self._triggers.published(taken)
            self._heard_again(len(taken))
        if taken or unheard:
            self._triggers.disproved(BUSY, len(taken) + unheard)
        return answered

    def _heard_again(self, successes: int) -> None:
        """Note that somebody subscribes, which wakes the triggers that were sent when nobody did."""
        self._triggers.disproved(UNHEARD, successes)
        self._trouble.heard()
        if self._unheard_noticed_at is not None:
            self._unheard_noticed_at = None
            _log.info(
                "somebody subscribes to %s again: the triggers that waited are sent",
                self._route.topic,
                extra={"event": "uplink_heard", "topic": self._route.topic},
            )

    def _unheard(self, entry: TriggerInFlight, now: float) -> None:
        """The broker discarded it, because nobody subscribes: keep it, and try again."""
        self._counts.unheard += 1
        self._trouble.unheard(self._route.topic)
        self._triggers.rest(entry, UNHEARD)
        if self._unheard_noticed_at is None or now - self._unheard_noticed_at >= _REPEATED_AFTER_S:
            self._unheard_noticed_at = now
            _log.warning(
                "nobody subscribes to %s: is `edgeagent dispatch` running? Triggers are kept and sent again",
                self._route.topic,
                extra={"event": "uplink_unheard", "topic": self._route.topic},
            )

    def _refused(self, entry: TriggerInFlight, refused: PublishRefused, now: float) -> None:
        """The broker refused it: on this topic, for now, or for good."""
        self._counts.refused += 1
        if refused.over_topic and self._route.refused(entry.topic, now):
            notices.topic_refused(entry, refused, self._route.topic)
            self._triggers.resend(entry)
            return
        if refused.permanent:
            self._triggers.give_up(entry, str(refused), refused.code)
            return
        delay_s = self._triggers.rest(entry, BUSY, said=str(refused))
        if delay_s is not None:
            notices.refused(entry, refused, refused.code, delay_s)
