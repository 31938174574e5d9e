"""Brings deliveries to their receivers: the driver of `deliveries`.

Each receiver has a task, a queue and connections of its own, so that none waits for another. What was begun and is not
done when the process ends is sent again by the next one: at least once.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from edgeagent.common.elapsed import Instant, Since
from edgeagent.common.foreign import line as on_one_line
from edgeagent.common.plural import counted
from edgeagent.common.times import rfc3339
from edgeagent.errors import StorageFailed, WebhookFailed
from edgeagent.ports.deliveries import DeliverySource, LostReport, WebhookDelivery
from edgeagent.webhooks.answer import DeliveryVerdict, verdict
from edgeagent.webhooks.deliveries import DeliveryQueue
from edgeagent.webhooks.poster import WebhookAnswer
from edgeagent.webhooks.refusals import RefusalLines, UntoldRefusals, advice

# While the disk fails, it is tried again this often.
_RETRY_S = 5.0
OUTCOMES = ("delivered", "retried", "refused", "gone", "given_up", "dropped")

_log = logging.getLogger(__name__)


class Posts(Protocol):
    """Makes the requests to one receiver (`Poster`)."""

    shown: str

    async def post(self, delivery: WebhookDelivery) -> WebhookAnswer:
        """Make the request.

        Raises:
            WebhookFailed: there was no answer.
        """


class WebhookReceiver(NamedTuple):
    """A receiver: its name in the `DeliverySource`, its place in the configuration, and how it is reached.

    `key`: what a delivery's key is, as the log says it.
    """

    name: str
    table: str
    poster: Posts
    give_up_s: float
    key: str


class WebhookCounts:
    """What became of deliveries since the start.

    `outcomes`: `delivered`; `retried`, tries that failed and are made again; and the losses: `refused` by the receiver,
    `gone` with a receiver that wants no more, `given_up` after `give_up_after`, `dropped` for lack of room.
    """

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = dict.fromkeys(OUTCOMES, 0)


class _Line:
    """One receiver's queue, and what its task waits for."""

    def __init__(self, receiver: WebhookReceiver) -> None:
        self.receiver = receiver
        self.queue = DeliveryQueue(receiver.give_up_s)
        self.work = asyncio.Event()
        self.has_more = True  # than was fetched
        self.refusals = RefusalLines()
        self.lost = 0  # refused, gone, given up or dropped
        self.last_error = ""
        self.since: Since | None = None  # when it began to fail


class Courier:
    """Owns the queues of all receivers; `run` must be running. What is to be delivered is the source's."""

    def __init__(
        self,
        source: DeliverySource,
        receivers: Sequence[WebhookReceiver],
        *,
        chance: Callable[[], float] = random.random,
        now_s: Callable[[], float] = time.monotonic,
        instant: Callable[[], Instant],
        lost: Callable[[str, LostReport], None] = lambda *_: None,
    ) -> None:
        """`chance`: a random number from 0 to 1; `now_s`: monotonic seconds; `instant`: both clocks.

        `lost`: called for each delivery that is lost, as far as it is known, with its key.
        """
        self.counts = WebhookCounts()
        self._source = source
        self._lines = {receiver.name: _Line(receiver) for receiver in receivers}
        self._chance = chance
        self._now_s = now_s
        self._instant = instant
        self._tell_lost = lost

    def stats(self) -> list[dict[str, Any]]:
        """The state of each receiver, ready for JSON."""
        return [
            {
                "webhook": line.receiver.table,
                "receiver": line.receiver.poster.shown,
                "failures": line.queue.failures,
                "failing_since": (
                    rfc3339(line.since.wall_ms(self._instant())) if line.queue.failures and line.since else None
                ),
                "lost": line.lost,
                "last_error": line.last_error,
                "gone": line.queue.is_gone,
            }
            for line in self._lines.values()
        ]

    def takes(self, name: str, key: str, state: str) -> bool:
        """Whether a delivery for this receiver is to be kept. If the receiver is gone, it is counted as lost here."""
        line = self._lines[name]
        if line.queue.is_gone:
            self._count(line, "gone", 1)
            self._lose(line, [(key, state)], "the receiver wants no more (410)")
        return not line.queue.is_gone

    def wake(self, names: Collection[str]) -> None:
        """Note that there are new deliveries for these receivers."""
        for name in names:
            self._lines[name].has_more = True
            self._lines[name].work.set()

    def clear(self) -> None:
        """Forget what is not under way, because its source has forgotten it."""
        for line in self._lines.values():
            line.queue.drop_to(line.queue.last_seq)

    def dropped(
        self,
        name: str,
        count: int,
        seqs: tuple[int, int],
        times_ms: tuple[int, int],
        about: Sequence[tuple[str, str]],
    ) -> None:
        """Note that a receiver's oldest deliveries were lost, because there was no room for more.

        `about`: key and state of each, perhaps not of all.
        """
        line = self._lines[name]
        self._count(line, "dropped", count)
        self._lose(line, about, "as many waited as may")
        line.queue.drop_to(seqs[1])
        _log.error(
            "%s: %d deliveries are lost, those from %s to %s: as many wait as may",
            _name(line),
            count,
            rfc3339(times_ms[0]),
            rfc3339(times_ms[1]),
            extra={
                "event": "webhook_dropped",
                "webhook": line.receiver.table,
                "count": count,
                "first": seqs[0],
                "last": seqs[1],
            },
        )

    def _lose(self, line: _Line, about: Iterable[tuple[str, str]], why: str) -> None:
        """Tell which deliveries were lost."""
        at = rfc3339(self._instant().wall_ms)
        for key, state in about:
            self._tell_lost(key, LostReport(line.receiver.table, state, at, on_one_line(why)))

    def _count(self, line: _Line, loss: str, count: int) -> None:
        self.counts.outcomes[loss] += count
        line.lost += count

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for line in self._lines.values():
                    group.create_task(self._serve(line, group))
        finally:
            for line in self._lines.values():
                self._tell_refusals(line, line.refusals.rest())

    async def _serve(self, line: _Line, group: asyncio.TaskGroup) -> None:
        while True:
            line.work.clear()
            self._tell_refusals(line, line.refusals.due(self._now_s()))
            wait_s = None if await self._fetch(line) else _RETRY_S
            while (delivery := line.queue.next(self._now_s())) is not None:
                group.create_task(self._deliver(line, delivery))
            due_s, told_s = line.queue.wait_s(self._now_s()), line.refusals.wait_s(self._now_s())
            waits = [max(each, 0.0) for each in (wait_s, due_s, told_s) if each is not None]
            try:
                async with asyncio.timeout(min(waits, default=None)):
                    await line.work.wait()
            except TimeoutError:
                pass

    async def _fetch(self, line: _Line) -> bool:
        """Fill the queue from the source; False if the disk refuses."""
        room = line.queue.room
        if not line.has_more or room <= 0:
            return True
        line.has_more = False
        try:
            found = await self._source.deliveries(line.receiver.name, line.queue.last_seq, room)
        except StorageFailed as exc:
            line.has_more = True
            _log.warning("webhooks wait: %s", exc, extra={"event": "webhook_waits"})
            return False
        line.queue.add(found)
        line.has_more = line.has_more or len(found) == room
        return True

    async def _deliver(self, line: _Line, delivery: WebhookDelivery) -> None:
        try:
            answer = await line.receiver.poster.post(delivery)
        except WebhookFailed as exc:
            self._failed(line, delivery, exc.reason, 0.0)
        else:
            if not line.queue.is_gone:
                await self._answered(line, delivery, answer)
        line.work.set()

    async def _answered(self, line: _Line, delivery: WebhookDelivery, answer: WebhookAnswer) -> None:
        match verdict(answer.status):
            case DeliveryVerdict.DONE:
                self.counts.outcomes["delivered"] += 1
                self._alive(line)
                line.queue.done(delivery.seq)
                self._source.delivered(line.receiver.name, [delivery.seq])
            case DeliveryVerdict.REFUSED:
                self._refused(line, delivery, answer)
            case DeliveryVerdict.GONE:
                await self._stop(line)
            case DeliveryVerdict.AGAIN:
                self._failed(line, delivery, _said(answer), answer.retry_after_s)

    def _alive(self, line: _Line) -> None:
        if line.queue.failures:
            extra = {"event": "webhook_recovered", "webhook": line.receiver.table}
            _log.info("%s takes deliveries again", _name(line), extra=extra)
        line.last_error = ""

    def _refused(self, line: _Line, delivery: WebhookDelivery, answer: WebhookAnswer) -> None:
        self._count(line, "refused", 1)
        self._alive(line)
        line.queue.refused(delivery.seq)
        hint = advice(answer.status)
        line.last_error = f"{_said(answer)}; {hint}" if hint else _said(answer)
        self._source.delivered(line.receiver.name, [delivery.seq])
        self._lose(line, [(delivery.key, delivery.state)], line.last_error)
        if not line.refusals.is_told(delivery, self._now_s()):
            return
        extra = {
            "event": "webhook_refused",
            "webhook": line.receiver.table,
            "about": f"{line.receiver.key} {delivery.key}",
            line.receiver.key.replace(" ", "_"): delivery.key,
            "state": delivery.state,
            "status": answer.status,
        }
        _log.error(
            "%s refuses the delivery of %s %s, %s: %s; it is not sent again, and more like it are told once a minute",
            _name(line),
            line.receiver.key,
            delivery.key,
            delivery.state,
            line.last_error,
            extra=extra,
        )

    def _tell_refusals(self, line: _Line, untold: UntoldRefusals | None) -> None:
        if untold is None:
            return
        _log.error(
            "%s refused %s more, made from %s to %s, which are not sent again: %s",
            _name(line),
            counted(untold.count, "delivery", "deliveries"),
            rfc3339(untold.first_ms),
            rfc3339(untold.last_ms),
            line.last_error or "it takes deliveries again",
            extra={
                "event": "webhook_refused",
                "webhook": line.receiver.table,
                "count": untold.count,
                "first": untold.first_seq,
                "last": untold.last_seq,
            },
        )

    def _failed(self, line: _Line, delivery: WebhookDelivery, reason: str, wait_s: float) -> None:
        if line.queue.is_gone:
            return
        self.counts.outcomes["retried"] += 1
        line.last_error = reason
        if not line.queue.failures:
            line.since = Since(self._instant())
            extra = {"event": "webhook_failing", "webhook": line.receiver.table}
            _log.warning("%s takes no delivery, it is tried again: %s", _name(line), reason, extra=extra)
        lost = line.queue.failed(
            delivery.seq, self._now_s(), self._instant(), retry_after_s=wait_s, fraction=self._chance()
        )
        if not lost:
            return
        self._count(line, "given_up", len(lost))
        self._lose(line, ((each.key, each.state) for each in lost), f"given up: {reason}")
        self._source.delivered(line.receiver.name, [each.seq for each in lost])
        _log.error(
            "%s: %d deliveries are given up, those from %s to %s: %s",
            _name(line),
            len(lost),
            rfc3339(lost[0].created.wall_ms),
            rfc3339(lost[-1].created.wall_ms),
            reason,
            extra={
                "event": "webhook_given_up",
                "webhook": line.receiver.table,
                "count": len(lost),
                "first": lost[0].seq,
                "last": lost[-1].seq,
            },
        )

    async def _stop(self, line: _Line) -> None:
        """The receiver answered 410: nothing is sent to it until the program starts again."""
        count = line.queue.stop()
        try:
            count = await self._source.forget(line.receiver.name)
        except StorageFailed as exc:
            _log.warning("webhooks wait: %s", exc, extra={"event": "webhook_waits"})
        self._count(line, "gone", count)
        _log.error(
            "%s is gone (410): %d deliveries are dropped, and nothing is posted there until this program starts again; "
            "take the table out of the configuration, or correct its url",
            _name(line),
            count,
            extra={"event": "webhook_gone", "webhook": line.receiver.table, "count": count},
        )


def _name(line: _Line) -> str:
    return f"{line.receiver.table} ({line.receiver.poster.shown})"


def _said(answer: WebhookAnswer) -> str:
    redirect = " (redirects are not followed: write the new address into url)"
    status = f"it answered {answer.status}" + (redirect if answer.status // 100 == 3 else "")  # noqa: PLR2004
    return f"{status}: {answer.text}" if answer.text else status
