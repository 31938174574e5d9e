"""The relay to devices: reports about triggers, each at least once, surviving restarts (contract section 6).

There are two ways, the local broker and the agent's own listener. A report that devices do not have yet is marked in
the ledger for each of them, until it is taken there.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Sequence
from typing import Protocol

import msgspec

from edgeagent.errors import StorageFailed
from edgeagent.ledger.ledger import Ledger
from edgeagent.ledger.schema import LOCAL
from edgeagent.ports.link import Abilities, Ack, Publication, PublishRefused
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.topics import report_topic

# How many reports may wait for the broker's acknowledgement.
_MAX_INFLIGHT = 64
# How many more may wait because the broker refused them for now. While there are so many, the others wait too.
_MAX_RESTING = 256
_RETRY_S = 5.0
# The broker need not keep a retained report for ever: its source may never report again.
_RETAINED_S = 30 * 86_400

_log = logging.getLogger(__name__)


class ReportLink(Protocol):
    """What reports go by: a `Link`, or what takes them in its place."""

    @property
    def room(self) -> int:
        """How many more it takes now."""

    @property
    def abilities(self) -> Abilities:
        """What it can do."""

    def publish(self, publications: Sequence[Publication]) -> None:
        """Take these; each is acknowledged later (`LocalRelay.acknowledged`)."""


class LocalRelay:
    """Publishes reports by one of the ways to devices, retained if that is configured. `run` must be running.

    Owns which reports are unacknowledged. Promises that a report is marked as relayed by this way only when it was
    taken or refused for good; one that is refused for now is published again. Must never change what a report says:
    that is the ledger's. The callbacks of the link to the local broker come through `agent.local`.
    """

    def __init__(self, ledger: Ledger, topic: str, *, retain: bool, way: int = LOCAL) -> None:
        """`way`: whose marks in the ledger are meant, `LOCAL` or `LISTENER`."""
        self._ledger = ledger
        self._topic = topic
        self._retain = retain
        self._way = way
        self._link: ReportLink | None = None
        self._tokens = itertools.count(1)
        self._out: dict[int, tuple[str, int]] = {}
        self._resting: set[tuple[str, int]] = set()  # refused for now
        self._retry: asyncio.TimerHandle | None = None
        self._told = False  # that the broker refuses reports for now
        self._work = asyncio.Event()

    def changed(self, _: Life) -> None:
        """Note that a trigger's life went on, so that there may be a report; the ledger calls this."""
        self._work.set()

    def up(self, link: ReportLink) -> None:
        """The way is open: publish on this link."""
        self._link = link
        self._work.set()

    def down(self) -> None:
        """The way is closed: what was not acknowledged will be published again."""
        self._link = None
        self._out.clear()
        self._resting.clear()

    def more(self) -> None:
        """The link takes more."""
        self._work.set()

    def acknowledged(self, acks: Sequence[Ack]) -> None:
        """Note which reports the broker answered. One refused for good is logged, not repeated; others rest."""
        for ack in acks:
            report = self._out.pop(ack.token, None)
            if report is None:
                continue
            if isinstance(ack.outcome, PublishRefused) and not ack.outcome.permanent:
                self._rest(report, ack.outcome)
                continue
            if isinstance(ack.outcome, PublishRefused):
                _log.error("report of trigger %s: %s", report[0], ack.outcome, extra=_refusal(report, ack.outcome))
            self._ledger.relayed(*report, self._way)
        if self._told and not self._resting and not self._out:
            self._told = False
            _log.info("the local broker takes reports again", extra={"event": "report_taken_again"})
        self._work.set()

    def _rest(self, report: tuple[str, int], refused: PublishRefused) -> None:
        """Publish it again after a while, with all others that rest by then. The operator hears of the first one."""
        self._resting.add(report)
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(_RETRY_S, self._end_rest)
        if not self._told:
            self._told = True
            _log.warning(
                "report of trigger %s: %s; it is kept and published again every %g s, as others that are refused so",
                report[0],
                refused,
                _RETRY_S,
                extra=_refusal(report, refused),
            )

    def _end_rest(self) -> None:
        self._retry = None
        self._resting.clear()
        self._work.set()

    async def run(self) -> None:
        """Publish reports until cancelled."""
        waits = False
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._publish()
                waits = False
            except StorageFailed as exc:
                if not waits:
                    _log.warning("reports wait: %s", exc, extra={"event": "relay_waits"})
                waits = True
                asyncio.get_running_loop().call_later(_RETRY_S, self._work.set)

    async def _publish(self) -> None:
        if self._link is None or len(self._out) >= _MAX_INFLIGHT or len(self._resting) >= _MAX_RESTING:
            return
        out = set(self._out.values())  # taken now: one acknowledged during the read may still be read as unrelayed
        waiting = await self._ledger.unrelayed(2 * _MAX_INFLIGHT + len(self._resting), self._way)
        link = self._link
        if link is None:
            return
        out |= set(self._out.values()) | self._resting
        room = min(link.room, _MAX_INFLIGHT - len(self._out))
        publications: list[Publication] = []
        for each in waiting:
            if len(publications) >= room:
                break
            report = each.report
            name = report.correlation_id, each.version
            if name in out:
                continue
            token = next(self._tokens)
            self._out[token] = name
            is_kept = self._retain and each.newest
            publications.append(
                Publication(
                    token=token,
                    topic=report_topic(self._topic, report.source),
                    payload=msgspec.json.encode(report),
                    retain=is_kept and link.abilities.retains,
                    content_type="application/json",
                    expiry_s=_RETAINED_S if is_kept else None,
                    traceparent=report.traceparent or None,
                )
            )
        if publications:
            link.publish(publications)


def _refusal(report: tuple[str, int], refused: PublishRefused) -> dict[str, object]:
    return {"event": "report_refused", "foreign": True, "correlation_id": report[0], "code": refused.code}
