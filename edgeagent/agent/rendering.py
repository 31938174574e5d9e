"""Renders due triggers as publications, from the current text of their rules; some end here instead of being sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeagent.agent.addressing import Addressing
from edgeagent.agent.clock import Moment
from edgeagent.agent.counts import TriggerCounts
from edgeagent.agent.event_time import with_right_time
from edgeagent.agent.inflight import TriggerInFlight
from edgeagent.agent.lifetime import Lifetime, age_s
from edgeagent.agent.permits import Permits
from edgeagent.agent.successors import Successors
from edgeagent.agent.triggers import Triggers
from edgeagent.errors import MessageError
from edgeagent.events.time_quality import DEVICE
from edgeagent.outbox.records import PARKED, Leased
from edgeagent.ports.link import Publication
from edgeagent.rules.ruleset import Rule, RuleSet

if TYPE_CHECKING:
    from edgeagent.agent.uploading import Uploading


class Renderer:
    """Makes the publications of triggers that are due.

    Owns nothing. Promises for each due trigger a publication, or its end: its rule is gone, it is too old, a newer one
    stands for it, or it cannot be rendered. Must never publish.
    """

    def __init__(
        self,
        triggers: Triggers,
        addressing: Addressing,
        rules: RuleSet,
        successors: Successors,
        permits: Permits,
        lifetime: Lifetime,
        counts: TriggerCounts,
        *,
        qos: int,
        uploading: Uploading | None = None,
    ) -> None:
        """`uploading`: makes the claims of events with large data; None: there are none."""
        self._triggers = triggers
        self._addressing = addressing
        self._rules = rules
        self._successors = successors
        self._permits = permits
        self._lifetime = lifetime
        self._counts = counts
        self._qos = qos
        self._uploading = uploading

    def render(self, due: Sequence[TriggerInFlight], moment: Moment) -> list[Publication]:
        """The publications, in the order of the triggers; fewer if some triggers end here."""
        publications: list[Publication] = []
        for entry in due:
            publication = self._publication(entry, moment)
            if publication is not None:
                publications.append(publication)
                if entry.tries > 1:
                    self._counts.republished += 1
        return publications

    def _publication(self, entry: TriggerInFlight, moment: Moment) -> Publication | None:
        """The trigger as a publication; None if it ends here instead."""
        leased = entry.item
        rule = self._rules.get(leased.rule)
        if rule is None:
            self._triggers.give_up(entry, "rule removed", 0)
            return None
        waited_s = age_s(leased, self._lifetime.boot, moment)
        left_s = self._lifetime.longest_s(rule) - waited_s
        if left_s <= 0:
            self._triggers.expire(entry)
            return None
        if rule.coalesce and entry.tries == 1 and (newer := self._successor(leased)):
            self._triggers.merge(entry, newer)
            return None
        if leased.record.artifact is not None:
            claimed = self._claimed(entry, rule)
            if claimed is None:
                return None
            leased = claimed
        if leased.record.time_quality < DEVICE:
            leased = with_right_time(leased, self._lifetime.boot, moment)
        entry.topic = self._addressing.route.topic
        try:
            publication = self._addressing.publication(
                entry.token, rule, leased, entry.correlation_id, entry.attempt, left_s, waited_s, self._qos
            )
        except MessageError as exc:
            self._triggers.give_up(entry, str(exc), 0)
            return None
        if rule.rate is not None and entry.tries == 1:
            self._permits.published(entry, rule.rate, moment)
        return publication

    def _claimed(self, entry: TriggerInFlight, rule: Rule) -> Leased | None:
        """A trigger with the claim of its large data; None if it ends here, or must wait for its upload."""
        leased = entry.item
        if self._uploading is None:
            self._triggers.give_up(entry, "its data is in the spool, and no store is configured ([artifacts])", 0)
            return None
        # A parked one was published before, so that its data is there, though nothing may be known of it here.
        if leased.log != PARKED and not self._uploading.is_there(leased):
            self._triggers.take_out(entry)
            self._uploading.put_back(leased, rule)
            return None
        return self._uploading.claimed(leased, rule)

    def _successor(self, leased: Leased) -> str:
        """Which trigger stands for this one; "" if none, or if it goes because its data was uploaded for it."""
        is_stored = self._uploading is not None and self._uploading.is_stored(leased)
        return "" if is_stored else self._successors.of(leased)
