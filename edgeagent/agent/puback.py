"""What the broker answers to publications, and what follows for the triggers."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from edgeagent.agent import told
from edgeagent.agent.causes import BUSY, UNHEARD
from edgeagent.agent.counts import ForwarderCounts
from edgeagent.agent.endings import Endings
from edgeagent.agent.inflight import Window
from edgeagent.agent.lives import Lives, Out
from edgeagent.agent.parking import ParkedLane
from edgeagent.agent.route import Route
from edgeagent.agent.trouble import Trouble
from edgeagent.outbox.records import Leased
from edgeagent.ports.link import TAKEN, Ack, PublishRefused

# The operator is told this often, not for each trigger, that nobody subscribes.
_TOLD_AGAIN_S = 600.0

_log = logging.getLogger(__name__)


class BrokerAnswers:
    """See the module."""

    def __init__(
        self,
        window: Window[Leased],
        endings: Endings,
        lane: ParkedLane,
        lives: Lives,
        counts: ForwarderCounts,
        *,
        trouble: Trouble,
        route: Route,
        by_broker: bool,
    ) -> None:
        """`by_broker`: an acknowledgement is all that is waited for."""
        self._window = window
        self._endings = endings
        self._lane = lane
        self._lives = lives
        self._counts = counts
        self._trouble = trouble
        self._route = route
        self._by_broker = by_broker
        self._told_at: float | None = None  # when it was told that nobody subscribes, None while somebody does

    def take(self, acks: Sequence[Ack], now: float) -> int:
        """Take acknowledgements; returns how many were for triggers that are out."""
        by_token, answered, unheard, taken = self._window.by_token, 0, 0, list[Out]()
        for ack in acks:
            entry = by_token(ack.token)
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
            self._taken(taken, now)
            self._heard_again(len(taken), now)
        if taken or unheard:
            self._window.heard(BUSY, now, len(taken) + unheard)
        return answered

    def _taken(self, entries: Sequence[Out], now: float) -> None:
        acknowledged = self._window.acknowledged
        published = [entry for entry in entries if acknowledged(entry, now)]
        self._counts.published += len(published)
        rules = Counter([entry.item.rule for entry in published])
        for rule, count in rules.items():
            self._endings.count(rule).published += count
        if any(map(self._lives.tracks, rules)):
            for entry in published:
                self._lives.published(entry)
        if self._by_broker:
            self._endings.settle(published)
            self._lane.heard(now)

    def _heard_again(self, successes: int, now: float) -> None:
        """Somebody subscribes: that wakes those that were sent when nobody did."""
        self._window.heard(UNHEARD, now, successes)
        self._trouble.heard()
        if self._told_at is not None:
            self._told_at = None
            _log.info(
                "somebody subscribes to %s again: what waited for it is sent",
                self._route.topic,
                extra={"event": "uplink_heard", "topic": self._route.topic},
            )

    def _unheard(self, entry: Out, now: float) -> None:
        """The broker threw it away: nobody subscribes. Kept, and tried again."""
        self._counts.unheard += 1
        self._trouble.unheard(self._route.topic)
        self._window.rest(entry, now, cause=UNHEARD)
        if self._told_at is None or now - self._told_at >= _TOLD_AGAIN_S:
            self._told_at = now
            _log.warning(
                "nobody subscribes to %s: is `edgeagent dispatch` running? Triggers are kept and sent again",
                self._route.topic,
                extra={"event": "uplink_unheard", "topic": self._route.topic},
            )

    def _refused(self, entry: Out, refused: PublishRefused, now: float) -> None:
        self._counts.refused += 1
        if refused.over_topic and self._route.refused(entry.topic, now):
            told.topic_refused(entry, refused, self._route.topic)
            self._window.resend(entry)
            return
        if refused.permanent:
            self._endings.give_up(entry, str(refused), refused.code)
            return
        delay_s = self._window.rest(entry, now, cause=BUSY)
        told.refused(entry, refused, refused.code, delay_s)
