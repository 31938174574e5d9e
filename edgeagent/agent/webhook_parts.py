"""Reports to webhooks (contract section 6): which go to whom, and the parts that bring them there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, NamedTuple

import msgspec

from edgeagent.common.elapsed import Instant
from edgeagent.common.names import Glob
from edgeagent.config.tables import Relay, RelayWebhook
from edgeagent.errors import StorageFailed
from edgeagent.ledger.deliveries import LedgerDeliveries, LostDeliveries
from edgeagent.ledger.ledger import Ledger
from edgeagent.ports.deliveries import LostReport
from edgeagent.webhooks.courier import Courier, WebhookCounts, WebhookReceiver
from edgeagent.webhooks.form import AgentReports, WebhookForm
from edgeagent.webhooks.lost import LostReports
from edgeagent.webhooks.poster import Poster
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import Report
from edgeagent.wire.webhook import receiver_names

_encoder = msgspec.json.Encoder()
_log = logging.getLogger(__name__)


class _Wanted(NamedTuple):
    """Which reports a receiver wants; `states` empty for all."""

    receiver: str
    source: Glob
    rule: Glob
    states: frozenset[str]

    def fits(self, report: Report) -> bool:
        return (
            (not self.states or report.state in self.states)
            and self.rule.matches(report.rule)
            and self.source.matches(report.source)
        )


class WebhookParts:
    """The webhooks of a configuration; `open` must be called before triggers change, and the `tasks` must run."""

    def __init__(self, relay: Relay, agent: str, ledger: Ledger, instant: Callable[[], Instant]) -> None:
        """Join the parts. `agent`: its id; `instant`: both clocks."""
        names = receiver_names([table.url for table in relay.webhook])
        kind = AgentReports(agent)
        self._instant = instant
        self._wanted = [
            _Wanted(name, Glob(table.source), Glob(table.rule), frozenset(table.states))
            for name, table in zip(names, relay.webhook, strict=True)
        ]
        self._deliveries = LedgerDeliveries(ledger, names, kept=self._kept, lost=self._lost)
        self._reports = LostReports()
        self._courier = Courier(
            self._deliveries,
            [_receiver(name, index, relay, kind) for index, name in enumerate(names)],
            instant=instant,
            lost=self._reports.add,
        )
        ledger.accompany(self._deliveries)
        ledger.listen(self._changed)

    @property
    def counts(self) -> WebhookCounts:
        """What became of deliveries since the start."""
        return self._courier.counts

    def lost(self, correlation_id: str) -> Sequence[LostReport]:
        """The reports about a trigger that were lost since the start, oldest first, as far as they are remembered."""
        return self._reports.of(correlation_id)

    async def open(self) -> None:
        """See what is still to be delivered. While the disk refuses, what is new is delivered all the same."""
        try:
            deleted = await self._deliveries.open()
        except StorageFailed as exc:
            _log.warning("what is to be posted to webhooks waits: %s", exc, extra={"event": "webhook_waits"})
            return
        if deleted:
            _log.warning(
                "%d deliveries are forgotten: their webhook is not in the configuration any more",
                deleted,
                extra={"event": "webhook_removed", "count": deleted},
            )

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What must run, by name."""
        return {"webhooks": self._courier.run()}

    def stats(self) -> dict[str, Any]:
        """Figures for `/v1/stats`, ready for JSON."""
        pending = self._deliveries.pending
        receivers = [
            {**state, "pending": pending.get(wanted.receiver, 0)}
            for wanted, state in zip(self._wanted, self._courier.stats(), strict=True)
        ]
        return {"outcomes": dict(self.counts.outcomes), "receivers": receivers}

    def _changed(self, life: Life) -> None:
        report = life.report
        fitting = [each.receiver for each in self._wanted if each.fits(report)]
        receivers = [
            receiver for receiver in fitting if self._courier.takes(receiver, report.correlation_id, str(report.state))
        ]
        if not receivers:
            return
        payload, created = _encoder.encode(report), self._instant()
        for receiver in receivers:
            self._deliveries.post(receiver, report.correlation_id, str(report.state), created, payload)

    def _kept(self, receivers: Collection[str]) -> None:
        self._courier.wake(receivers)

    def _lost(self, lost: LostDeliveries) -> None:
        seqs, times_ms = (lost.first_seq, lost.last_seq), (lost.first_ms, lost.last_ms)
        self._courier.dropped(lost.receiver, lost.count, seqs, times_ms, lost.about)


def _receiver(name: str, index: int, relay: Relay, kind: AgentReports) -> WebhookReceiver:
    table: RelayWebhook = relay.webhook[index]
    poster = Poster(table, WebhookForm(kind, table.body))
    return WebhookReceiver(name, f"relay.webhook[{index}]", poster, relay.give_up_after, "correlation id")
