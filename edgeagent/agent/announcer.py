"""Publishes the agent's state, retained, on `edgeagent/state/{agent}` (contract section 14)."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence

import msgspec

import edgeagent
from edgeagent.agent.announcement import Announced, is_news
from edgeagent.agent.clock import Clock
from edgeagent.agent.readiness import refusal
from edgeagent.common.elapsed import Since
from edgeagent.common.foreign import shown
from edgeagent.common.times import rfc3339
from edgeagent.errors import OutboxError
from edgeagent.outbox.oldest import oldest_ms
from edgeagent.outbox.outbox import Outbox
from edgeagent.ports.link import Ack, Link, Publication, Will
from edgeagent.wire.agent_state import CONNECTION_LOST, STOPPED, AgentState, bounded_headroom_s
from edgeagent.wire.topics import state_topic

# Tokens of triggers count from 1; these are the state's, and the one below is a query's (`status_queries`).
_ONLINE, _OFFLINE = -1, -2
_WILL_DELAY_S = 30
# While the uplink is down and nothing waits, it is looked this often whether something does: the next connection tells.
_DOWN_LOOK_S = 10.0
# What is announced on a connection is corrected at once if the oldest trigger is another one by more than this.
_CORRECTED_S = 1.0
# A farewell does not wait longer than this for the disk.
_LAST_LOOK_S = 1.0


class StateAnnouncer:
    """Announces that the agent is online, how it is, and that it leaves. `run` must be running.

    Owns what was announced last. Promises that `online` is published on each connection before any trigger, and after
    that at most once in `interval_s`, and only when it is news; once more where the disk says that what was said of
    the oldest trigger on this connection was not so. Must never delay a trigger.
    """

    def __init__(
        self,
        agent: str,
        outbox: Outbox,
        clock: Clock,
        interval_s: float,
        trouble: Callable[[], str],
        config: Callable[[], str],
    ) -> None:
        """`trouble`: why triggers do not get through, empty if they do. `config`: names the configuration in force."""
        self._config = config
        self._topic = state_topic(agent)
        self._outbox = outbox
        self._trouble = trouble
        self._clock = clock
        self._interval_s = interval_s
        self._link: Link | None = None
        self._since = Since(clock.instant())
        self._oldest_ms: int | None = None
        self._now = asyncio.get_running_loop().time
        self._announced: Announced | None = None  # on this connection
        self._announced_at = -math.inf
        self._is_unchecked = False  # announced on this connection by an older look at the disk
        self._wake = asyncio.Event()
        self._leaving = False
        self._left = asyncio.Event()

    def will(self) -> Will:
        """What the broker publishes when the connection that is made now ends without a farewell."""
        lost = AgentState(
            "offline", edgeagent.__version__, self._clock.now(), reason=CONNECTION_LOST, config=self._config()
        )
        return Will(self._topic, msgspec.json.encode(lost), delay_s=_WILL_DELAY_S)

    def up(self, link: Link) -> None:
        """The uplink is up: announce it at once."""
        self._link = link
        self._since = Since(self._clock.instant())
        self._announced = None
        self._announce()
        self._is_unchecked = True
        self._wake.set()

    def down(self) -> None:
        """The uplink is down; nobody can be told."""
        self._link = None
        self._left.set()
        self._wake.set()

    def acknowledged(self, acks: Sequence[Ack]) -> None:
        """The broker answered publications: there may be room for an announcement that is still to be made."""
        if self._leaving and any(ack.token == _OFFLINE for ack in acks):
            self._left.set()
        if self._announced is None:
            self._announce()

    async def run(self) -> None:
        """Look whether there is news, in each interval and when the uplink comes or goes, until cancelled."""
        while True:
            self._wake.clear()
            is_check, self._is_unchecked = self._is_unchecked, False
            await self._look()
            wait_s = self._announced_at + self._interval_s - self._now()
            if self._is_news() if wait_s <= 0 else is_check and self._is_wrong():
                self._announce()
            wait_s = wait_s if wait_s > 0 else self._interval_s
            if self._link is None and self._oldest_ms is None:
                wait_s = min(wait_s, _DOWN_LOOK_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()

    async def _look(self) -> None:
        with contextlib.suppress(OutboxError):  # then what was known of the oldest trigger is the best there is
            self._oldest_ms = await self._outbox.beside(oldest_ms)

    def _is_news(self) -> bool:
        return self._announced is None or is_news(self._announced, self._facts(), self._interval_s)

    def _is_wrong(self) -> bool:
        """Whether something else was announced of the oldest trigger."""
        announced = self._announced
        if announced is None:
            return False
        return is_news(announced, msgspec.structs.replace(announced, oldest_ms=self._facts().oldest_ms), _CORRECTED_S)

    async def leave(self) -> None:
        """Announce that the agent goes offline, and wait until the broker has that or the connection ends."""
        if self._link is None:
            return
        self._left.clear()
        self._leaving = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_LOOK_S):
                await self._look()
        self._publish(_OFFLINE, AgentState("offline", since=self._clock.now(), reason=STOPPED), self._facts())
        await self._left.wait()

    def _announce(self) -> None:
        """Announce the facts; later if what the link still completes takes all the room."""
        if self._link is None or self._leaving or self._link.room < 1:
            return
        self._announced, self._announced_at = self._facts(), self._now()
        reason = shown(self._announced.reason)
        self._publish(
            _ONLINE, AgentState("online", since=rfc3339(self._announced.since_ms), reason=reason), self._announced
        )

    def _facts(self) -> Announced:
        health = self._outbox.health
        pending = health.account.pending
        return Announced(
            pending,
            self._oldest_ms if pending else None,
            bounded_headroom_s(self._outbox.hours_left()),
            refusal(health) or self._trouble(),
            self._since.wall_ms(self._clock.instant()),
            self._config(),
        )

    def _publish(self, token: int, state: AgentState, facts: Announced) -> None:
        if self._link is None:
            return
        whole = msgspec.structs.replace(
            state,
            version=edgeagent.__version__,
            pending=facts.pending,
            oldest=None if facts.oldest_ms is None else rfc3339(facts.oldest_ms),
            headroom_s=facts.headroom_s,
            config=facts.config,
        )
        retain = self._link.abilities.retains
        payload = msgspec.json.encode(whole)
        publication = Publication(token, self._topic, payload, retain=retain, content_type="application/json")
        self._link.publish([publication])
