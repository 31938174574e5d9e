"""Publishes the statuses of the workflows that gateways started (contract sections 5 and 7), by one leader at a time.

What it promises: each change of phase is published, and the final status of every run at least once, whatever happens
to dispatchers, broker and engine, as long as the engine or its archive still knows the workflow. A workflow that is
deleted unfinished while no dispatcher runs leaves no trace, and nothing can be reported of it.

`presence` decides who leads. A dispatcher that cannot see the engine in any namespace for a while withdraws its
presence, so that another one leads. A `watcher` follows each namespace, always, so that a new leader knows which
workflows are unfinished. `progress` decides what is due, `publisher` brings it to the broker, `cursor` records what is
done. A leader that loses its connection forgets what it has not sent: the next leader publishes that, from the cursor
on.

If so configured, the leader also writes the result of each workflow to a ConfigMap (`configmaps`), and posts statuses
to webhooks (`webhooks`). The cursor waits for those too; the statuses do not.

Its own subscriptions are at QoS 0. Messages at QoS 1 would wait while the dispatcher holds as many unacknowledged
triggers as the broker may send, and the leader must be decided just then. A message lost at QoS 0 comes again: presence
and cursor are repeated, and a query is asked again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Sequence

import msgspec

from edgeagent.common.foreign import shown
from edgeagent.dispatcher.configmaps import Apply, ConfigMaps
from edgeagent.dispatcher.cursor import parse_cursor
from edgeagent.dispatcher.namespace import DEFAULT_PACE, Active, Namespace, StatusPoster, WatchTimes
from edgeagent.dispatcher.presence import GONE, Presence
from edgeagent.dispatcher.publisher import Publisher, Send
from edgeagent.dispatcher.queries import Queries
from edgeagent.dispatcher.watcher import DEFAULT_TIMING, Timing, Watcher, Workflows
from edgeagent.ports.link import Message, PublishOutcome, Subscription, Will
from edgeagent.wire import topics
from edgeagent.wire.messages import Status

log = logging.getLogger(__name__)

# A clean stop waits this long for ConfigMaps and webhooks; what is not done by then, the next leader does.
_OTHERS_WAIT_S = 3.0


class StatusesStats(msgspec.Struct, frozen=True):
    """What was done since the start, and the present state.

    `published` and `refused` count each topic of a status; `pending`: the statuses that the broker has not answered, or
    has refused for now; `lost`: those that it refused for now until they were given up; `unfinished`: the workflows not
    known to have finished or gone. `configmaps_pending`: not yet applied;
    `configmaps_lost`: given up.
    """

    leading: bool
    published: int
    refused: int
    pending: int
    lost: int
    unfinished: int
    queries_answered: int
    queries_dropped: int
    configmaps_applied: int
    configmaps_pending: int
    configmaps_lost: int


class Statuses:
    """Owns the watchers, the lead and the statuses of all namespaces; `run` must be running.

    Only the leader publishes. A final status counts as published only once the broker has taken it, or has refused it
    for good.
    """

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
        webhooks: StatusPoster | None = None,
        published: Callable[[Sequence[Status]], None] = lambda _: None,
        pace: WatchTimes = DEFAULT_PACE,
        timing: Timing = DEFAULT_TIMING,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Begin without watching or leading.

        Args:
            client: the engine's client.
            namespaces: those to follow.
            group: the group of dispatchers, one of which leads.
            instance: this dispatcher's name in the group; a level of a topic.
            send: publishes one message.
            active: is notified which workflows are unfinished.
            configmaps: applies the result of each workflow as a ConfigMap; None if that is not configured.
            webhooks: who is posted statuses; None without any.
            published: called with statuses that the broker has taken, or refused for good.
            pace: how often to publish.
            timing: how often to ask the engine.
            now: monotonic seconds.
            wall: Unix seconds.
        """
        self._webhooks = webhooks
        self._published = published
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
                webhooks=webhooks,
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
        """The subscriptions that every connection needs."""
        cursors = tuple(topics.cursor_topic(self._group, name) for name in self._namespaces)
        return [
            Subscription(topics.presence_filter(self._group), qos=0, retained=True),
            Subscription(topics.cursor_filter(self._group), qos=0, retained=True, kept=cursors),
            Subscription(topics.STATUS_QUERY, qos=0),
        ]

    @property
    def will(self) -> Will:
        """The last will, which withdraws our presence when the connection is lost."""
        return Will(topics.presence_topic(self._group, self._instance), GONE)

    def stats(self) -> StatusesStats:
        """The counters at this moment."""
        return StatusesStats(
            leading=self._leading,
            published=self._publisher.published,
            refused=self._publisher.refused,
            pending=self._publisher.pending,
            lost=self._publisher.lost,
            unfinished=sum(len(namespace.unfinished()) for namespace in self._namespaces.values()),
            queries_answered=self._queries.answered,
            queries_dropped=self._queries.dropped,
            configmaps_applied=sum(configmaps.applied for configmaps in self._configmaps.values()),
            configmaps_pending=self._configmaps_pending(),
            configmaps_lost=sum(configmaps.lost for configmaps in self._configmaps.values()),
        )

    # Called by the broker's connection.

    def on_up(self) -> None:
        """Note that the connection is up and subscribed."""
        self._connected = True
        if not self._draining and not self._blind:
            self._send_presence(self._presence.connected(secrets.token_hex(8), self._now()))

    def on_down(self) -> None:
        """Note that the connection ended, or that an attempt failed."""
        self._connected = False
        self._presence.disconnected()
        self._update_lead()
        self._settle()

    def on_messages(self, messages: Sequence[Message]) -> list[Message]:
        """Process our own messages, which are at QoS 0 and need no acknowledgement; returns the others."""
        others: list[Message] = []
        for message in messages:
            topic, payload = message.topic, message.payload
            if topic == topics.STATUS_QUERY:
                # Gateways ask when the broker has come back, when the leader may not be known yet.
                if not self._draining and (self._leading or self._presence.leader(self._now()) is None):
                    self._queries.ask(payload)
            elif (instance := topics.instance_of_presence(self._group, topic)) is not None:
                self._hear_presence(instance, payload)
            elif (namespace := topics.namespace_of_cursor(self._group, topic)) is not None:
                self._hear_cursor(namespace, payload)
            else:
                others.append(message)
        return others

    # Running and stopping.

    async def run(self) -> None:
        """Follow the namespaces, and publish while this dispatcher leads, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for watcher in self._watchers:
                group.create_task(watcher.run())
            for configmaps in self._configmaps.values():
                group.create_task(configmaps.run())
            group.create_task(self._queries.run())
            group.create_task(self._tick())

    async def drain(self) -> None:
        """Bring what is pending to the broker, keep the cursors and hand over the lead; `run` must be running.

        Without a connection it returns at once: the will has handed over the lead, and the next leader publishes from
        the kept cursors.
        """
        self._draining = True
        if self._leading:
            await self._until(lambda: not self._publisher.pending and not self._is_cursor_out())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_OTHERS_WAIT_S):
                    await self._until(lambda: not self._configmaps_pending() and not self._webhooks_pending())
            for namespace in self._namespaces.values():
                namespace.keep_cursor()
            # Before our presence is withdrawn: the next leader must find the cursors.
            await self._until(lambda: not self._is_cursor_out())
        if self._connected:
            self._send_presence(self._presence.leave())
        self._update_lead()
        await self._until(lambda: not self._presences_out)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while self._connected and not condition():
            self._settled.clear()
            await self._settled.wait()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._pace.tick_s)
            # A presence message that the broker has not answered yet serves as well.
            if (payload := self._presence.due(self._now())) is not None and not self._presences_out:
                self._send_presence(payload)
            self._update_presence()
            self._update_lead()
            for status in self._publisher.retry(self._now()):
                _log_lost(status)
            for namespace in self._namespaces.values():
                if self._leading:
                    namespace.tick()
                elif self._presence.leader(self._now()) is not None:
                    self._queries.lead(False)
                    namespace.forget_deleted()

    # The lead.

    def _update_presence(self) -> None:
        """Withdraw our presence while no namespace can be watched, and restore it when one can."""
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
        self._update_lead()

    def _hear_cursor(self, namespace: str, payload: bytes) -> None:
        """Keep a cursor for the time when we lead. An empty one withdraws it: everything is then published again."""
        if namespace not in self._namespaces:
            return
        self._cursors.pop(namespace, None)
        if not payload:
            return
        cursor_s = parse_cursor(payload)
        if cursor_s is None:
            extra = {"event": "status_cursor_malformed", "namespace": namespace}
            log.warning("the kept cursor of %r cannot be read and is ignored", namespace, extra=extra)
        else:
            self._cursors[namespace] = cursor_s

    def _update_lead(self) -> None:
        """Take or give up the lead, as presence says."""
        leads = self._presence.leads(self._now())
        if leads == self._leading:
            return
        self._leading = leads
        self._publisher.clear()
        if self._webhooks is not None:
            self._webhooks.clear()
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

    # Publishing.

    def _put(self, status: Status) -> None:
        if not self._draining:  # the next leader publishes what is due from now on
            self._publisher.put(status)

    def _taken(self, status: Status) -> None:
        self._namespaces[status.namespace].taken(status)
        self._published([status])
        self._settle()

    def _configmaps_pending(self) -> int:
        return sum(configmaps.pending for configmaps in self._configmaps.values())

    def _webhooks_pending(self) -> int:
        return self._webhooks.pending if self._webhooks is not None else 0

    def _is_cursor_out(self) -> bool:
        return any(namespace.cursor_is_out for namespace in self._namespaces.values())

    def _settle(self) -> None:
        self._settled.set()


def _log_lost(status: Status) -> None:
    log.error(
        "the status %s of workflow %s in namespace %s is lost: the broker refused it for an hour",
        status.status,
        shown(status.workflow_id),
        shown(status.namespace),
        extra={
            "event": "status_lost",
            "namespace": status.namespace,
            "workflow_id": status.workflow_id,
            "correlation_id": status.correlation_id,
        },
    )
