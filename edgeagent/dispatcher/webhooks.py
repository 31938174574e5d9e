"""Statuses to webhooks (contract section 7): which go to whom, kept in memory until they are done.

A dispatcher has no disk. What makes a final status arrive at least once is the cursor of its namespace, which waits
until each receiver that wants it has taken it, refused it, or has let its `give_up_after` pass; whoever leads next
posts again from there. A status that is not final may be lost with the dispatcher.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from edgeagent.common.elapsed import Instant
from edgeagent.common.names import Glob
from edgeagent.config.tables import DispatcherWebhook
from edgeagent.ports.deliveries import WebhookDelivery
from edgeagent.webhooks.courier import Courier, WebhookReceiver
from edgeagent.webhooks.form import WebhookForm, WorkflowStatuses
from edgeagent.webhooks.poster import Poster
from edgeagent.wire.messages import Status
from edgeagent.wire.webhook import receiver_names

# Over all receivers, about 1 KiB each.
MAX_DELIVERIES = 10_000

# What is in memory is of one run of the process, whose monotonic clock is right.
_RUN = b"process"

Done = Callable[[], None]
_encoder = msgspec.json.Encoder()


def _now() -> Instant:
    return Instant(time.time_ns() // 1_000_000, time.monotonic_ns() // 1_000_000, _RUN)


class _Wanted(NamedTuple):
    """Which statuses a receiver wants; `states` empty for all."""

    receiver: str
    agent: Glob
    namespace: Glob
    states: frozenset[str]

    def fits(self, status: Status) -> bool:
        return (
            (not self.states or status.status.lower() in self.states)
            and self.agent.matches(status.agent)
            and self.namespace.matches(status.namespace)
        )


class _Kept(NamedTuple):
    delivery: WebhookDelivery
    done: Done


class MemoryDeliveries:
    """Owns deliveries in memory; a `DeliverySource`. Each has a callback for when it is done, however that came."""

    def __init__(self, receivers: Sequence[str], lost: Callable[[str, WebhookDelivery], None]) -> None:
        """`receivers`: all there are; `lost`: called with a delivery for which there was no room."""
        self._share = MAX_DELIVERIES // max(len(receivers), 1)
        self._kept: dict[str, dict[int, _Kept]] = {receiver: {} for receiver in receivers}
        self._newest: dict[tuple[str, str, str], int] = {}
        self._lost = lost
        self._seq = 0

    @property
    def pending(self) -> int:
        """How many are not done."""
        return sum(map(len, self._kept.values()))

    def post(self, receiver: str, key: str, state: str, created: Instant, payload: bytes, done: Done) -> None:
        """Keep a delivery. It takes the place of one of the same receiver, key and state, which is done then."""
        kept = self._kept[receiver]
        place = (receiver, key, state)
        if (earlier := self._newest.get(place)) is not None:
            self.delivered(receiver, [earlier])
        elif len(kept) >= self._share:
            oldest = next(iter(kept.values())).delivery
            self.delivered(receiver, [oldest.seq])
            self._lost(receiver, oldest)
        self._seq += 1
        kept[self._seq] = _Kept(WebhookDelivery(self._seq, key, state, created, payload), done)
        self._newest[place] = self._seq

    def clear(self) -> None:
        """Forget everything, without calling any callback."""
        for kept in self._kept.values():
            kept.clear()
        self._newest.clear()

    async def deliveries(self, receiver: str, after: int, limit: int) -> Sequence[WebhookDelivery]:
        """See `DeliverySource`."""
        found = [each.delivery for seq, each in self._kept[receiver].items() if seq > after]
        return found[:limit]

    def delivered(self, receiver: str, seqs: Sequence[int]) -> None:
        """See `DeliverySource`."""
        for seq in seqs:
            each = self._kept[receiver].pop(seq, None)
            if each is None:
                continue
            place = (receiver, each.delivery.key, each.delivery.state)
            if self._newest.get(place) == seq:
                del self._newest[place]
            each.done()

    async def forget(self, receiver: str) -> int:
        """See `DeliverySource`."""
        seqs = [*self._kept[receiver]]
        self.delivered(receiver, seqs)
        return len(seqs)


class StatusWebhooks:
    """The webhooks of a dispatcher; its `run` must be running."""

    def __init__(
        self,
        tables: Sequence[DispatcherWebhook],
        group: str,
        *,
        instant: Callable[[], Instant] = _now,
    ) -> None:
        """Join the parts. `group`: the group of dispatchers; `instant`: both clocks."""
        names = receiver_names([table.url for table in tables])
        kind = WorkflowStatuses(group)
        self._instant = instant
        self._wanted = [
            _Wanted(name, Glob(table.agent), Glob(table.namespace), frozenset(table.states))
            for name, table in zip(names, tables, strict=True)
        ]
        self._deliveries = MemoryDeliveries(names, self._lost)
        self._courier = Courier(
            self._deliveries,
            [
                WebhookReceiver(
                    name,
                    f"webhook[{index}]",
                    Poster(table, WebhookForm(kind, table.body)),
                    table.give_up_after,
                    "workflow",
                )
                for index, (name, table) in enumerate(zip(names, tables, strict=True))
            ],
            instant=instant,
        )

    @property
    def pending(self) -> int:
        """How many deliveries are not done."""
        return self._deliveries.pending

    @property
    def outcomes(self) -> Mapping[str, int]:
        """What became of deliveries since the start."""
        return self._courier.counts.outcomes

    def put(self, status: Status, done: Done) -> None:
        """Post a status to each receiver that wants it; `done` is called once, perhaps at once."""
        fitting = [each.receiver for each in self._wanted if each.fits(status)]
        key, state = f"{status.namespace}/{status.workflow_id}", status.status.lower()
        receivers = [receiver for receiver in fitting if self._courier.takes(receiver, key, state)]
        left = len(receivers)

        def one_done() -> None:
            nonlocal left
            left -= 1
            if not left:
                done()

        if not receivers:
            done()
            return
        payload, created = _encoder.encode(status), self._instant()
        for receiver in receivers:
            self._deliveries.post(receiver, key, state, created, payload, one_done)
        self._courier.wake(receivers)

    def report(self, statuses: Sequence[Status]) -> None:
        """Post statuses that nothing waits for: those of a dry run."""
        for status in statuses:
            self.put(status, lambda: None)

    def clear(self) -> None:
        """Forget what is to be posted, because another term begins, or none; no `done` of it is called any more."""
        self._deliveries.clear()
        self._courier.clear()

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What must run, by name."""
        return {"webhooks": self._courier.run()}

    def _lost(self, receiver: str, delivery: WebhookDelivery) -> None:
        seqs, times_ms = (delivery.seq, delivery.seq), (delivery.created.wall_ms, delivery.created.wall_ms)
        self._courier.dropped(receiver, 1, seqs, times_ms, [(delivery.key, delivery.state)])
