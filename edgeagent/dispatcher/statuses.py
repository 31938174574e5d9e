"""Publishes the statuses of the workflows that gateways started (contract sections 5 and 7), by one leader at a time.

What it promises: each change of phase is published, and the final status of every run at least once, whatever happens
to dispatchers, broker and engine, as long as the engine or its archive still knows the workflow. A workflow that is
deleted unfinished while no dispatcher runs is known to nobody: nothing can be told of it.

`presence` decides who leads. Whoever cannot see the engine in any namespace for a while takes his presence back, so
that one who can see it leads. A `watcher` follows each namespace, always, so that whoever takes the lead knows what is
unfinished. `progress` decides what is due, `publisher` brings it to the broker, `cursor` says what is done. A leader
that loses its connection forgets what it has not sent: who leads next publishes that, from the cursor on.

Where the configuration wants it, the leader also writes the end of each workflow down as a ConfigMap (`configmaps`).
The cursor waits for that too, the statuses do not.

Its own subscriptions are at QoS 0. Messages at QoS 1 wait while the dispatcher holds as many triggers unacknowledged as
the broker may send, and who leads must be decided just then. What is lost at QoS 0 comes again: presence and cursor
are repeated, a query is asked again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Sequence

import msgspec

from edgeagent.dispatcher.configmaps import Apply, ConfigMaps
from edgeagent.dispatcher.cursor import parse_cursor
from edgeagent.dispatcher.namespace import DEFAULT_PACE, Active, Namespace, WatchTimes
from edgeagent.dispatcher.presence import GONE, Presence
from edgeagent.dispatcher.publisher import Publisher, Send
from edgeagent.dispatcher.queries import Queries
from edgeagent.dispatcher.watcher import DEFAULT_TIMING, Timing, Watcher, Workflows
from edgeagent.ports.link import Message, PublishOutcome, Subscription, Will
from edgeagent.wire import topics
from edgeagent.wire.messages import Status

log = logging.getLogger(__name__)

# A clean stop waits so long for ConfigMaps that are not applied; after that they are the next leader's.
_CONFIGMAPS_WAIT_S = 3.0


class StatusesStats(msgspec.Struct, frozen=True):
    """What was done since the start, and how it is now.

    `published` and `refused` count for each of a status's topics; `pending` are the statuses that the broker has not
    answered; `unfinished` are the workflows that are not known to be finished or gone. `configmaps_pending` are not yet
    applied, `configmaps_lost` were given up.
    """

    leading: bool
    published: int
    refused: int
    pending: int
    unfinished: int
    queries_answered: int
    queries_dropped: int
    configmaps_applied: int
    configmaps_pending: int
    configmaps_lost: int


class Statuses:
    """Statuses of all namespaces. `run` must be running for anything to be published."""

    def __init__(
        self,
        client: Workflows,
        namespaces: Sequence[str],
        group: str,
        instance: str,
        send: Send,
        *,
        active: Active,
        configmaps: Apply | None = None,
        pace: WatchTimes = DEFAULT_PACE,
        timing: Timing = DEFAULT_TIMING,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Follows nothing yet, leads nobody.

        Args:
            client: the engine's.
            namespaces: which to follow.
            group: of dispatchers, one of which leads.
            instance: who we are in it; a level of a topic.
            send: publishes one message.
            active: told which workflows are unfinished.
            configmaps: where the result of each workflow is applied as a ConfigMap; None: nowhere.
            pace: how often to publish.
            timing: how often to ask the engine.
            now: monotonic seconds.
            wall: Unix seconds.
        """
        self._group = group
        self._instance = instance
        self._send = send
        self._pace = pace
        self._now = now
        self._presence = Presence(instance)
        self._presences_out = 0
        self._publisher = Publisher(send, self._taken)
        self._queries = Queries(client, namespaces, self._publisher.repeat)
        self._configmaps = {name: ConfigMaps(configmaps, name) for name in namespaces} if configmaps is not None else {}
        self._namespaces = {
            name: Namespace(
                name,
                put=self._put,
                send=send,
                cursor_topic=topics.cursor_topic(group, name),
                active=active,
                pace=pace,
                now=now,
                wall=wall,
                settled=self._settle,
                configmaps=self._configmaps.get(name),
            )
            for name in namespaces
        }
        self._watchers = [Watcher(client, name, sink, timing) for name, sink in self._namespaces.items()]
        self._cursors: dict[str, float] = {}
        self._connected = False
        self._leading = False
        self._draining = False
        self._blind = False  # no namespace can be watched
        self._settled = asyncio.Event()

    @property
    def subscriptions(self) -> list[Subscription]:
        """What must be subscribed to on every connection."""
        return [
            Subscription(topics.presence_filter(self._group), qos=0, retained=True),
            Subscription(topics.cursor_filter(self._group), qos=0, retained=True),
            Subscription(topics.STATUS_QUERY, qos=0),
        ]

    @property
    def will(self) -> Will:
        """Takes our presence back when the connection is lost."""
        return Will(topics.presence_topic(self._group, self._instance), GONE)

    def stats(self) -> StatusesStats:
        """The counters at this moment."""
        return StatusesStats(
            leading=self._leading,
            published=self._publisher.published,
            refused=self._publisher.refused,
            pending=self._publisher.pending,
            unfinished=sum(len(namespace.unfinished()) for namespace in self._namespaces.values()),
            queries_answered=self._queries.answered,
            queries_dropped=self._queries.dropped,
            configmaps_applied=sum(configmaps.applied for configmaps in self._configmaps.values()),
            configmaps_pending=self._configmaps_pending(),
            configmaps_lost=sum(configmaps.lost for configmaps in self._configmaps.values()),
        )

    # What the broker's connection tells.

    def on_up(self) -> None:
        """Connected and subscribed."""
        self._connected = True
        if not self._draining and not self._blind:
            self._send_presence(self._presence.connected(secrets.token_hex(8), self._now()))

    def on_down(self) -> None:
        """The connection ended, or an attempt to connect failed."""
        self._connected = False
        self._presence.disconnected()
        self._weigh()
        self._settle()

    def on_messages(self, messages: Sequence[Message]) -> list[Message]:
        """Take in what is ours, which is at QoS 0 and needs no acknowledgement; returns the others."""
        others: list[Message] = []
        for message in messages:
            topic, payload = message.topic, message.payload
            if topic == topics.STATUS_QUERY:
                # Gateways ask when the broker has come back, and then it may not be known yet who leads.
                if not self._draining and (self._leading or self._presence.leader(self._now()) is None):
                    self._queries.ask(payload)
            elif (instance := topics.instance_of_presence(self._group, topic)) is not None:
                self._hear_presence(instance, payload)
            elif (namespace := topics.namespace_of_cursor(self._group, topic)) is not None:
                self._hear_cursor(namespace, payload)
            else:
                others.append(message)
        return others

    # Life.

    async def run(self) -> None:
        """Follow the namespaces and publish while we lead, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for watcher in self._watchers:
                group.create_task(watcher.run())
            for configmaps in self._configmaps.values():
                group.create_task(configmaps.run())
            group.create_task(self._queries.run())
            group.create_task(self._tick())

    async def drain(self) -> None:
        """Bring what is pending to the broker, keep the cursors and hand over the lead; needs `run` to be running.

        Without a connection it returns at once: the will has handed over the lead, and the next leader publishes from
        the kept cursors.
        """
        self._draining = True
        if self._leading:
            await self._until(lambda: not self._publisher.pending and not self._is_cursor_out())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CONFIGMAPS_WAIT_S):
                    await self._until(lambda: not self._configmaps_pending())
            for namespace in self._namespaces.values():
                namespace.keep_cursor()
            # Before our presence goes: the next leader must find the cursors.
            await self._until(lambda: not self._is_cursor_out())
        if self._connected:
            self._send_presence(self._presence.leave())
        self._weigh()
        await self._until(lambda: not self._presences_out)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while self._connected and not condition():
            self._settled.clear()
            await self._settled.wait()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._pace.tick_s)
            # One that the broker has not answered yet is as good.
            if (payload := self._presence.due(self._now())) is not None and not self._presences_out:
                self._send_presence(payload)
            self._see()
            self._weigh()
            for namespace in self._namespaces.values():
                if self._leading:
                    namespace.tick()
                elif self._presence.leader(self._now()) is not None:
                    self._queries.lead(False)
                    namespace.forget_deleted()

    # Who leads.

    def _see(self) -> None:
        """Take our presence back while we cannot tell anything, and be present again when we can."""
        blind = all(watcher.failing_s() >= self._pace.blind_s for watcher in self._watchers)
        if blind == self._blind:
            return
        self._blind = blind
        if blind:
            extra = {"event": "status_blind", "instance": self._instance}
            log.warning("no workflows can be watched: another dispatcher may publish their statuses", extra=extra)
        if self._connected and not self._draining:
            here = self._presence.leave() if blind else self._presence.connected(secrets.token_hex(8), self._now())
            self._send_presence(here)

    def _hear_presence(self, instance: str, payload: bytes) -> None:
        answer = self._presence.heard(instance, payload, self._now())
        if answer is not None and not self._presences_out:
            self._send_presence(answer)
        self._weigh()

    def _hear_cursor(self, namespace: str, payload: bytes) -> None:
        """Keep it for the time when we lead. An empty one takes it back: everything is published again then."""
        if namespace not in self._namespaces:
            return
        self._cursors.pop(namespace, None)
        if not payload:
            return
        cursor_s = parse_cursor(payload)
        if cursor_s is None:
            extra = {"event": "status_cursor_malformed", "namespace": namespace}
            log.warning("the kept cursor of %r cannot be read; it counts as none", namespace, extra=extra)
        else:
            self._cursors[namespace] = cursor_s

    def _weigh(self) -> None:
        """Take the lead, or give it up, as presence says."""
        leads = self._presence.leads(self._now())
        if leads == self._leading:
            return
        self._leading = leads
        self._publisher.clear()
        self._queries.lead(leads)
        extra = {"event": "status_leader", "instance": self._instance, "leading": leads}
        log.info("publishes the statuses of workflows" if leads else "leaves the statuses to others", extra=extra)
        for name, namespace in self._namespaces.items():
            if leads:
                namespace.lead(self._cursors.get(name))
            else:
                namespace.follow()
        if leads:
            for watcher in self._watchers:
                watcher.list_everything()

    def _send_presence(self, payload: bytes) -> None:
        self._presences_out += 1
        topic = topics.presence_topic(self._group, self._instance)
        self._send(topic, payload, retain=True, on_taken=self._presence_taken)

    def _presence_taken(self, _: PublishOutcome) -> None:
        self._presences_out -= 1
        self._settle()

    # What is published.

    def _put(self, status: Status) -> None:
        if not self._draining:  # what is due from now on is the next leader's
            self._publisher.put(status)

    def _taken(self, status: Status) -> None:
        self._namespaces[status.namespace].taken(status)
        self._settle()

    def _configmaps_pending(self) -> int:
        return sum(configmaps.pending for configmaps in self._configmaps.values())

    def _is_cursor_out(self) -> bool:
        return any(namespace.cursor_is_out for namespace in self._namespaces.values())

    def _settle(self) -> None:
        self._settled.set()
