"""The sender: it publishes due triggers to the uplink's broker, and takes the acknowledgements."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from edgeagent.agent.clock import Clock, Moment
from edgeagent.agent.congestion import FIRST_ALLOWED, Congestion
from edgeagent.agent.feed import Feed
from edgeagent.agent.poison import Poison
from edgeagent.agent.publish_outcomes import PublishOutcomes
from edgeagent.agent.rendering import Renderer
from edgeagent.agent.route import Route
from edgeagent.agent.triggers import Triggers
from edgeagent.ports.link import Ack, Link, Publication


class Sender:
    """Publishes triggers over the current link, and takes the broker's acknowledgements. `run` must be running.

    Owns the link and the timer for the next trigger that is due. Promises that there are never more publications
    unacknowledged than the link has room for and congestion allows, and that nothing new goes out while it drains. Must
    never decide what happens to a trigger: `Renderer` and `PublishOutcomes` do, and `Triggers` carries it out.
    """

    def __init__(
        self,
        triggers: Triggers,
        feed: Feed,
        renderer: Renderer,
        pubacks: PublishOutcomes,
        congestion: Congestion,
        poison: Poison,
        route: Route,
        clock: Clock,
        *,
        at_qos_0: bool,
    ) -> None:
        """`at_qos_0`: the broker acknowledges nothing, so a written trigger counts as acknowledged."""
        self._triggers = triggers
        self._feed = feed
        self._renderer = renderer
        self._pubacks = pubacks
        self._congestion = congestion
        self._poison = poison
        self._route = route
        self._clock = clock
        self._at_qos_0 = at_qos_0
        self._now = asyncio.get_running_loop().time
        self._link: Link | None = None
        self._work = asyncio.Event()  # something must be read from the disk
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._draining = False
        self._drained = asyncio.Event()

    @property
    def suspects(self) -> bool:
        """Whether connections ended without an acknowledgement, so that the next begins with a single publication."""
        return self._poison.is_raised

    def up(self, link: Link) -> None:
        """The uplink is up: send again what was not acknowledged, then the rest."""
        self._link = link
        self._congestion.begin(1 if self._poison.is_raised else FIRST_ALLOWED)
        self._triggers.connected(link.carried)
        self._pump()

    def down(self) -> None:
        """The uplink is down; nothing is sent until `up`."""
        if self._link is not None:
            suspect = self._poison.ended(self._triggers.without_acknowledgement())
            if suspect is not None:
                self._triggers.suspected(suspect)
        self._link = None
        self._route.disconnected(self._now())
        self._triggers.disconnected()
        self._set_timer(self._now())
        self._check_drained()

    def room(self) -> None:
        """The link takes more."""
        self._pump()

    def acknowledged(self, acks: Sequence[Ack]) -> None:
        """The broker answered publications."""
        now = self._now()
        answered = self._pubacks.take(acks, now)
        if answered:
            self._congestion.acknowledged(answered, now)
            self._poison.acknowledged()
        self._pump()
        self._check_drained()

    def wake(self) -> None:
        """Send what is due in the next turn of the loop; several calls until then have one effect."""
        if self._soon is None and self._link is not None:
            self._soon = asyncio.get_running_loop().call_soon(self._pump)

    async def run(self) -> None:
        """Have triggers read from the disk when none are left in memory, until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            if self._may_add and self._feed.is_short:
                await self._feed.read()
                self._pump()
            if self._may_add and self._feed.wants_parked(self._now()):
                await self._feed.take_parked()
                self._pump()

    async def drain(self) -> None:
        """Send nothing new; return when the broker has acknowledged what was sent, or the connection is gone."""
        self._draining = True
        self._check_drained()
        await self._drained.wait()

    @property
    def _may_add(self) -> bool:
        return self._link is not None and not self._draining

    def _pump(self) -> None:
        """Take up leased triggers, send what is due, and set the timer for what is due later."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        now = self._now()
        link = self._link
        if link is not None:
            moment = self._clock.moment()
            self._fill(now, moment)
            publications = self._publications(link, now, moment)
            if publications:
                link.publish(publications)
                self._congestion.sent(self._triggers.unacknowledged, now)
                if self._at_qos_0:
                    # In the next turn, before this, the link reports what it could not write.
                    asyncio.get_running_loop().call_soon(self._written, link, publications)
            if self._may_add and (self._feed.is_short or self._feed.wants_parked(now)):
                self._work.set()
        self._set_timer(now)

    def _fill(self, now: float, moment: Moment) -> None:
        if not self._draining:
            self._feed.fill(now, moment)

    def _publications(self, link: Link, now: float, moment: Moment) -> list[Publication]:
        """What is due and has room. A trigger that ends without being sent leaves its place to another one."""
        publications: list[Publication] = []
        while True:
            room = min(link.room - len(publications), self._congestion.allowed - self._triggers.unacknowledged)
            due = self._triggers.due(now, room)
            rendered = self._renderer.render(due, moment)
            publications += rendered
            if len(rendered) == len(due):
                return publications
            self._fill(now, moment)

    def _written(self, link: Link, publications: Sequence[Publication]) -> None:
        """Count written triggers as published at QoS 0, where the broker says nothing, if still connected."""
        if link is self._link:
            self.acknowledged([Ack(publication.token) for publication in publications])

    def _check_drained(self) -> None:
        if self._draining and (self._link is None or not self._triggers.unacknowledged):
            self._drained.set()

    def _set_timer(self, now: float) -> None:
        """Set the timer for what will be due even if nothing else happens; without a link there is none."""
        deadline = None
        if self._link is not None:
            deadlines = [self._triggers.next_deadline()]
            if not self._draining:
                deadlines.append(self._feed.next_deadline(now))
            deadline = min((at for at in deadlines if at is not None), default=None)
        if self._timer is not None:
            if self._timer.when() == deadline:
                return
            self._timer.cancel()
        self._timer = None if deadline is None else asyncio.get_running_loop().call_at(deadline, self._wake_now)

    def _wake_now(self) -> None:
        self._timer = None
        self._pump()
