"""Asks the dispatcher for statuses that did not come, and gives up triggers without any (contract section 5).

`agent.query_schedule` decides; this module connects it with the ledger, the link and the clock. Unfinished triggers are
read from the ledger at the start, in parts, and from then on the ledger's changes keep the set up to date.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Sequence

import msgspec

from edgeagent.agent.chores import Chores
from edgeagent.agent.clock import Clock
from edgeagent.agent.query_schedule import QuerySchedule
from edgeagent.common.foreign import shown
from edgeagent.errors import StorageFailed
from edgeagent.ledger.ledger import Ledger
from edgeagent.ports.link import Ack, Link, Publication, PublishRefused
from edgeagent.wire import lifecycle
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import State, StatusQuery
from edgeagent.wire.topics import STATUS_QUERY, status_topics

# Tokens of triggers count from 1; -1 and -2 are the state's (`uplink_owner`).
TOKEN = -3
# The wait while the link has no room, or the ledger cannot be read.
_RETRY_S = 5.0
_REASON = "nothing was heard of it, although it was asked for (relay.give_up_after)"

_log = logging.getLogger(__name__)


class StatusQueryCounts(msgspec.Struct):
    """Triggers since the agent started: how often one was asked about, and how many became `unknown`."""

    asked: int = 0
    unknown: int = 0


class StatusQueries:
    """Asks for the statuses of triggers of which nothing is heard. `run` must be running.

    Owns the set of followed triggers and the time of the next query. Promises that a trigger which the outbox may still
    send is not given up. Must never end a trigger of the outbox: it changes only what the ledger says.
    """

    def __init__(
        self,
        agent: str,
        ledger: Ledger,
        chores: Chores,
        clock: Clock,
        *,
        status_timeout_s: float,
        give_up_after_s: float,
        max_age_s: float,
    ) -> None:
        """`max_age_s`: a trigger older than this is in no outbox any more."""
        self.counts = StatusQueryCounts()
        self._agent = agent
        self._ledger = ledger
        self._chores = chores
        self._clock = clock
        self._max_age_ms = max_age_s * 1000
        self._schedule = QuerySchedule(status_timeout_s, give_up_after_s)
        self._reply_to = status_topics(agent)[-1]
        self._now = asyncio.get_running_loop().time
        self._link: Link | None = None
        self._session_lost = False
        self._whole = False  # whether everything unfinished in the ledger is followed
        self._loading = True
        self._refused = False
        self._work = asyncio.Event()

    def up(self, link: Link, *, session_present: bool) -> None:
        """The uplink is up. Without a session the broker kept no status that came meanwhile."""
        self._link = link
        self._session_lost = self._session_lost or not session_present
        if not self._loading:
            self._connected()
        self._work.set()

    def down(self) -> None:
        """The uplink is down: nothing is asked until `up`."""
        self._link = None

    def acknowledged(self, acks: Sequence[Ack]) -> None:
        """The broker answered publications; a query that it did not pass on is repeated with the next round."""
        for ack in acks:
            if ack.token == TOKEN and isinstance(ack.outcome, PublishRefused):
                if not self._refused:
                    _log.warning(
                        "statuses cannot be asked for: %s on %s",
                        shown(str(ack.outcome)),
                        STATUS_QUERY,
                        extra={"event": "status_query_refused", "code": ack.outcome.code},
                    )
                self._refused = True
            elif ack.token == TOKEN:
                self._refused = False

    def heard(self, correlation_id: str) -> None:
        """Note that a status of a trigger came, whether or not it changed anything."""
        if self._schedule.heard(correlation_id, self._now()):
            self._ledger.asked({correlation_id: 0})

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            self._work.clear()
            look_at = await self._step()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(look_at if look_at < math.inf else None):
                    await self._work.wait()

    async def _step(self) -> float:
        """Do what is due; returns the time when there is more to do, if nothing else happens."""
        try:
            if not self._whole and self._schedule.is_half_empty:
                await self._load()
        except StorageFailed:  # logged by the ledger
            return self._now() + _RETRY_S
        link, now = self._link, self._now()
        if link is None:
            return math.inf
        if link.room < 1:
            return now + _RETRY_S
        due = self._schedule.due(now)
        if due.ask:
            self._publish(link, due.ask)
        if due.asks:
            self._ledger.asked(due.asks)
        if due.give_up:
            self._chores.leave(lambda: self._end(due.give_up))
        return self._schedule.next_due(now)

    async def _load(self) -> None:
        """Follow the unfinished triggers in the ledger, as far as there is room."""
        place: tuple[int, int] | None = (0, 0)
        self._whole = True
        while place is not None and self._whole:
            try:
                page = await self._ledger.unfinished(place)
            except StorageFailed:
                self._whole = False
                raise
            for correlation_id, asks in page.triggers:
                if not self._schedule.is_followed(correlation_id):
                    self._whole = self._schedule.follow(correlation_id, self._now(), asks) and self._whole
            place = page.next_place
        if self._loading:
            self._loading = False
            if self._link is not None:
                self._connected()

    def _connected(self) -> None:
        self._schedule.connected(self._now(), session_lost=self._session_lost)
        self._session_lost = False

    def changed(self, life: Life) -> None:
        """Note that a trigger's life went on; the ledger calls this."""
        correlation_id = life.report.correlation_id
        if life.final:
            self._schedule.ended(correlation_id)
        elif not self._schedule.follow(correlation_id, self._now()):
            self._whole = False
        elif len(self._schedule) == 1:  # otherwise it is not the first that is due
            self._work.set()

    def _publish(self, link: Link, correlation_ids: Sequence[str]) -> None:
        query = StatusQuery(self._agent, tuple(correlation_ids), self._reply_to)
        payload = msgspec.json.encode(query)
        link.publish([Publication(TOKEN, STATUS_QUERY, payload, content_type="application/json")])
        self.counts.asked += len(correlation_ids)
        _log.info(
            "asked for the statuses of %d triggers of which nothing was heard",
            len(correlation_ids),
            extra={"event": "status_asked", "count": len(correlation_ids)},
        )

    async def _end(self, correlation_ids: Sequence[str]) -> None:
        """Set the state of these triggers to `unknown`, since nobody answered about them."""
        try:
            lost = [each for each in correlation_ids if await self._give_up(each)]
        except StorageFailed:
            self._whole = False  # they are read again when the ledger can be used
            self._work.set()
            raise
        if lost:
            self.counts.unknown += len(lost)
            _log.warning(
                "nothing was heard of %d triggers, so their state is unknown, the first is %s: is "
                "`edgeagent dispatch` running, and do their workflows still exist?",
                len(lost),
                lost[0],
                extra={"event": "status_unknown", "count": len(lost), "correlation_id": lost[0]},
            )

    async def _give_up(self, correlation_id: str) -> bool:
        """Give a trigger up, unless the outbox may still send it."""
        life = await self._ledger.get(correlation_id)
        if life is None or life.final:
            return False
        if life.report.state is State.PUBLISHED and self._clock.now_ms() - life.accepted_ms < self._max_age_ms:
            self._schedule.follow(correlation_id, self._now())
            self._ledger.asked({correlation_id: 0})
            self._work.set()
            return False
        at = self._clock.now()
        await self._ledger.change(correlation_id, lambda known: known and lifecycle.unknown(known, _REASON, at))
        return True
